"""Exercises of notebook 07, Train the student."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question


def distil_loss(student: Callable, teacher: Callable, ids: Any, prompt_length: int) -> Any:
    """Mean forward KL over the tokens behind the prompt, nats; only the student is trained."""
    with torch.no_grad():
        theirs = torch.log_softmax(teacher(ids), dim=-1)
    mine = torch.log_softmax(student(ids), dim=-1)
    nats = (theirs.exp() * (theirs - mine)).sum(dim=-1)
    return nats[prompt_length - 1 : -1].mean()


def _nats(p: Callable, q: Callable, ids: Any) -> Any:
    first, second = (torch.log_softmax(model(ids), dim=-1) for model in (p, q))
    return (first.exp() * (first - second)).sum(dim=-1)


def _swapped(student: Callable, teacher: Callable, ids: Any, prompt_length: int) -> Any:
    return distil_loss(teacher, student, ids, prompt_length)


def _a_place_late(student: Callable, teacher: Callable, ids: Any, prompt_length: int) -> Any:
    return _nats(teacher, student, ids)[prompt_length:].mean()


def _with_the_prompt(student: Callable, teacher: Callable, ids: Any, prompt_length: int) -> Any:
    return _nats(teacher, student, ids)[:-1].mean()


def _summed(student: Callable, teacher: Callable, ids: Any, prompt_length: int) -> Any:
    return _nats(teacher, student, ids)[prompt_length - 1 : -1].sum()


def _by_heart(student: Callable, teacher: Callable, ids: Any, prompt_length: int) -> Any:
    logs = torch.log_softmax(student(ids), dim=-1)[:-1]
    return -logs.gather(1, ids[1:, None])[prompt_length - 1 :].mean()


def _model(seed: int) -> torch.nn.Embedding:
    """A model that looks one token back: row i holds the logits behind token i."""
    numbers = torch.randn(7, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.Embedding.from_pretrained(numbers, freeze=False)


_TEXT = torch.tensor([2, 5, 3, 3, 6, 0])


def _only_the_student_learns(answer: Callable) -> str | None:
    student, teacher = _model(1), _model(2)
    loss = answer(student, teacher, _TEXT, 3)
    if not getattr(loss, "requires_grad", False):
        return (
            "the value is right, but no gradient reaches the student: give back the tensor, and "
            "call the student outside of torch.no_grad()."
        )
    loss.backward()
    if teacher.weight.grad is not None:
        return (
            "the value is right, but the teacher would be trained too: call it inside "
            "torch.no_grad()."
        )
    return None


add(
    Exercise(
        number="07.1",
        asks="a function distil_loss(student, teacher, ids, prompt_length) that gives a tensor.",
        answer=distil_loss,
        cases=(
            Case("three tokens of an answer", (_model(1), _model(2), _TEXT, 3)),
            Case("an answer of one token", (_model(3), _model(4), _TEXT, 5)),
            Case("zero for equals", (_model(5), _model(5), _TEXT, 2)),
        ),
        mistakes=(
            Mistake(_swapped, "Teacher and student are swapped: the teacher's law comes first."),
            Mistake(_a_place_late, "One place late: a token's logits stand one place before it."),
            Mistake(_with_the_prompt, "The prompt is in it: nobody learns to write the prompt."),
            Mistake(_summed, "That is the sum. Take the mean: a long answer should weigh no more."),
            Mistake(_by_heart, "That is the cross-entropy of the text; no teacher is in it."),
        ),
        holds=_only_the_student_learns,
    )
)


def ends(shares: Sequence[float]) -> tuple[float, float]:
    """Mean of the first tenth and of the last tenth of a run's values, an update at least."""
    tenth = max(1, len(shares) // 10)
    return sum(shares[:tenth]) / tenth, sum(shares[-tenth:]) / tenth


def _first_and_last(shares: Sequence[float]) -> tuple[float, float]:
    return shares[0], shares[-1]


def _halves(shares: Sequence[float]) -> tuple[float, float]:
    half = max(1, len(shares) // 2)
    return sum(shares[:half]) / half, sum(shares[-half:]) / half


def _largest_and_smallest(shares: Sequence[float]) -> tuple[float, float]:
    return max(shares), min(shares)


def _of_ten(shares: Sequence[float]) -> tuple[float, float]:
    first, last = shares[:10], shares[-10:]
    return sum(first) / len(first), sum(last) / len(last)


def _nothing_of_a_short_one(shares: Sequence[float]) -> tuple[float, float]:
    tenth = len(shares) // 10
    return sum(shares[:tenth]) / tenth, sum(shares[-tenth:]) / tenth


_FALLING = [0.5 - n / 50 + (n % 3) / 40 for n in range(24)]

add(
    Exercise(
        number="07.2",
        asks="a function ends(shares) that gives two numbers.",
        answer=ends,
        cases=(
            Case("24 updates: two at each end", (_FALLING,)),
            Case("ten updates: one at each end", ([n / 10 for n in range(10)],)),
            Case("fewer than ten: one all the same", ([0.3, 0.2, 0.1],)),
        ),
        mistakes=(
            Mistake(_first_and_last, "Two single updates are mostly chance. Average a tenth."),
            Mistake(_halves, "Those are halves: what changed early is averaged away."),
            Mistake(_largest_and_smallest, "The largest and smallest may stand anywhere, by luck."),
            Mistake(_of_ten, "A tenth of the updates, not ten updates."),
            Mistake(_nothing_of_a_short_one, "Of fewer than ten updates still take one."),
        ),
    )
)
add_question(
    "07.3",
    "how near does it come to the teacher on prompts it never trained on? a, b or c",
    "b",
    {
        "a": "part of what it learnt is these prompts by heart: on new ones it gains less.",
        "b": "it learnt something of the task and something of these prompts by heart.",
        "c": "matching the teacher on some prompts does carry over to others.",
    },
)
add_question(
    "07.4",
    "is the method with the lowest training loss the best one? a, b or c",
    "c",
    {
        "a": "each loss is a mean over its own text: an easy text has a low loss.",
        "b": "they are nats a token all of them, but of different tokens.",
        "c": "each is measured on another text. Compare on the same held-out prompts.",
    },
)
