"""Solutions of notebook 05. Made by `make notebooks`; do not edit."""

from __future__ import annotations

from collections.abc import Sequence

from skd_lab import course


# 05.1: a function first_rejection(ranks, k) that gives an index or None.
def first_rejection(ranks: Sequence[int], k: int) -> int | None:
    """The index of the first proposal whose rank is larger than k; None if all stand."""
    for place, rank in enumerate(ranks):
        if rank > k:
            return place
    return None


course.check("05.1", first_rejection)


# 05.2: the texts for gamma 1, 3, 5 and 8 are a, b or c
course.check("05.2", "b")


# 05.3: a function teacher_forwards(stands, gamma) that gives a whole number.
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


course.check("05.3", teacher_forwards)
