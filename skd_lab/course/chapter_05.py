"""Exercises of notebook 05, Five at a time: block verification."""

from collections.abc import Sequence

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question


def first_rejection(ranks: Sequence[int], k: int) -> int | None:
    """The index of the first proposal whose rank is larger than k; None if all stand."""
    for place, rank in enumerate(ranks):
        if rank > k:
            return place
    return None


def _at_least(ranks: Sequence[int], k: int) -> int | None:
    return first_rejection(ranks, k - 1)


def _the_worst(ranks: Sequence[int], k: int) -> int | None:
    return ranks.index(max(ranks)) if max(ranks) > k else None


def _how_many(ranks: Sequence[int], k: int) -> int:
    found = first_rejection(ranks, k)
    return len(ranks) if found is None else found


def _from_one(ranks: Sequence[int], k: int) -> int | None:
    found = first_rejection(ranks, k)
    return None if found is None else found + 1


add(
    Exercise(
        number="05.1",
        asks="a function first_rejection(ranks, k) that gives an index or None.",
        answer=first_rejection,
        cases=(
            Case("the third of five", ([1, 3, 7, 2, 9], 3)),
            Case("all stand", ([1, 2, 1], 3)),
            Case("the first one", ([4, 1], 3)),
            Case("rank k itself stands", ([3, 3, 3, 4], 3)),
        ),
        mistakes=(
            Mistake(_at_least, "Rank k stands: only larger ranks are refused."),
            Mistake(_the_worst, "The first refused one is asked for, not the worst."),
            Mistake(_how_many, "Where all stand the answer is None."),
            Mistake(_from_one, "Count from 0, as Python does."),
        ),
    )
)
add_question(
    "05.2",
    "the texts for gamma 1, 3, 5 and 8 are a, b or c",
    "b",
    {
        "a": "each place has its own number, which does not move when the blocks do.",
        "b": "a place is decided by its own two numbers and what stands before it, nothing else.",
        "c": "a text ends where an end token stands, wherever a block ends.",
    },
)


def teacher_forwards(stands: Sequence[bool], gamma: int) -> int:
    """How many blocks the teacher verifies until the whole text stands."""
    blocks = length = 0
    for accepted in stands:
        length += 1
        if length == 1:
            blocks += 1
        if length == gamma or not accepted:
            length = 0
    return blocks


def _whole_blocks(stands: Sequence[bool], gamma: int) -> int:
    return -(-len(stands) // gamma)


def _refusals_too(stands: Sequence[bool], gamma: int) -> int:
    return _whole_blocks(stands, gamma) + sum(not accepted for accepted in stands)


def _every_token(stands: Sequence[bool], gamma: int) -> int:
    return len(stands)


def _full_blocks_only(stands: Sequence[bool], gamma: int) -> int:
    blocks = length = 0
    for accepted in stands:
        length += 1
        if length == gamma or not accepted:
            blocks, length = blocks + 1, 0
    return blocks


_STANDS = [True, True, False, True, True, True, True, True, False, True, True, True]

add(
    Exercise(
        number="05.3",
        asks="a function teacher_forwards(stands, gamma) that gives a whole number.",
        answer=teacher_forwards,
        cases=(
            Case("the text above, blocks of five", (_STANDS, 5)),
            Case("gamma 1 is token by token", (_STANDS, 1)),
            Case("all stand", ([True] * 10, 5)),
            Case("the last block is not full", ([True] * 7, 5)),
            Case("a refusal at a block's end", ([True, True, False, True], 3)),
            Case("nothing stands", ([False] * 4, 5)),
        ),
        mistakes=(
            Mistake(
                _whole_blocks, "A refusal ends its block early, and the next starts behind it."
            ),
            Mistake(
                _refusals_too, "A refusal ends a block; it does not cost a forward of its own."
            ),
            Mistake(_every_token, "One forward verifies a whole block."),
            Mistake(_full_blocks_only, "The last block counts too, even if it is not full."),
        ),
    )
)
