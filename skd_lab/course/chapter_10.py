"""Exercises of notebook 10, Real tokenizers, real teachers: memory, adapters, shared ids."""

from collections.abc import Mapping

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question


def training_bytes(frozen: int, trained: int, frozen_bytes: int) -> int:
    """Frozen weights; and of each trained one its weight, its gradient and AdamW's two means."""
    return frozen * frozen_bytes + trained * (4 + 4 + 4 + 4)


def _weights_alone(frozen: int, trained: int, frozen_bytes: int) -> int:
    return frozen * frozen_bytes + trained * 4


def _no_optimizer(frozen: int, trained: int, frozen_bytes: int) -> int:
    return frozen * frozen_bytes + trained * 8


def _three_of_four(frozen: int, trained: int, frozen_bytes: int) -> int:
    return frozen * frozen_bytes + trained * 12


def _all_trained(frozen: int, trained: int, frozen_bytes: int) -> int:
    return (frozen + trained) * 16


def _frozen_left_out(frozen: int, trained: int, frozen_bytes: int) -> int:
    return trained * 16


def _bits(frozen: int, trained: int, frozen_bytes: int) -> int:
    return 8 * training_bytes(frozen, trained, frozen_bytes)


add(
    Exercise(
        number="10.1",
        asks="a function training_bytes(frozen, trained, frozen_bytes) that gives bytes.",
        answer=training_bytes,
        cases=(
            Case("all weights are trained", (0, 1_000, 2)),
            Case("adapters beside weights in 16 bits", (1_000, 16, 2)),
            Case("adapters beside weights in 32 bits", (1_000, 16, 4)),
            Case("a teacher: nothing is trained", (1_000, 0, 2)),
        ),
        mistakes=(
            Mistake(_weights_alone, "A trained weight also has a gradient and two means of AdamW."),
            Mistake(
                _no_optimizer, "AdamW keeps two numbers for every trained weight, 4 bytes each."
            ),
            Mistake(
                _three_of_four,
                "Weight, gradient, and two means of AdamW: that is four numbers, not three.",
            ),
            Mistake(_all_trained, "A frozen weight has no gradient and nothing in the optimizer."),
            Mistake(_frozen_left_out, "Frozen weights lie in memory too, frozen_bytes each."),
            Mistake(_bits, "That is in bits. A byte has eight of them."),
        ),
    )
)
add_question(
    "10.2",
    "adapters take the place of training all weights. Which part shrinks least? a, b or c",
    "c",
    {
        "a": "the optimizer holds two numbers for each trained weight: few are left.",
        "b": "gradients are held for trained weights: few are left.",
        "c": "the text still runs through every layer, and most of what a layer computes is kept "
        "for the backward pass.",
    },
)


def shared_ids(student: Mapping[str, int], teacher: Mapping[str, int]) -> int | None:
    """How many ids, from 0 on, both know; None if one of them means two things."""
    mine = {number: token for token, number in student.items()}
    theirs = {number: token for token, number in teacher.items()}
    shared = min(len(mine), len(theirs))
    if any(mine[number] != theirs[number] for number in range(shared)):
        return None
    return shared


def _by_token(student: Mapping[str, int], teacher: Mapping[str, int]) -> int | None:
    return len(set(student) & set(teacher))


def _the_larger(student: Mapping[str, int], teacher: Mapping[str, int]) -> int | None:
    return None if shared_ids(student, teacher) is None else max(len(student), len(teacher))


def _equal_sizes(student: Mapping[str, int], teacher: Mapping[str, int]) -> int | None:
    return shared_ids(student, teacher) if len(student) == len(teacher) else None


def _only_sizes(student: Mapping[str, int], teacher: Mapping[str, int]) -> int | None:
    return min(len(student), len(teacher))


def _up_to_the_first(student: Mapping[str, int], teacher: Mapping[str, int]) -> int | None:
    theirs = {number: token for token, number in teacher.items()}
    ordered = sorted(student, key=lambda token: student[token])
    return next((i for i, token in enumerate(ordered) if theirs.get(i) != token), len(ordered))


_SMALL = {"the": 0, "cat": 1, "sat": 2, "<end>": 3}

add(
    Exercise(
        number="10.3",
        asks="a function shared_ids(student, teacher) that gives a count, or None.",
        answer=shared_ids,
        cases=(
            Case("the same tokenizer", (_SMALL, dict(_SMALL))),
            Case("the teacher knows one more at the end", (_SMALL, {**_SMALL, "<think>": 4})),
            Case("the student knows one more at the end", ({**_SMALL, "<think>": 4}, _SMALL)),
            Case("two ids are exchanged", (_SMALL, {"the": 0, "sat": 1, "cat": 2, "<end>": 3})),
            Case(
                "another word in the middle", (_SMALL, {"the": 0, "dog": 1, "sat": 2, "<end>": 3})
            ),
        ),
        mistakes=(
            Mistake(_by_token, "The same word under another id is another token to the models."),
            Mistake(_the_larger, "An id that one of the two does not know cannot be shared."),
            Mistake(_equal_sizes, "More tokens at the end do no harm: they are cut off."),
            Mistake(_only_sizes, "Equal sizes are not enough: compare what each id means."),
            Mistake(
                _up_to_the_first,
                "A text would hold ids behind the first difference too: give None there.",
            ),
        ),
    )
)
add_question(
    "10.4",
    "thinking is off: where does the empty <think> block stand? a, b or c",
    "a",
    {
        "a": "the template writes it before the answer begins, so there is no loss on it.",
        "b": "that is so with thinking on: the student would learn to write an empty block first.",
        "c": "a model reads or writes everything in a chat. This block is there to be read.",
    },
)
