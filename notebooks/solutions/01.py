"""Solutions of notebook 01. Made by `make notebooks`; do not edit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from skd_lab.course.toy import Reader, library, teacher

from skd_lab import course


# 01.1: a function teacher_logprob(words) that gives a number of nats, 0 or below.
def teacher_logprob(words: Sequence[str]) -> float:
    """The logarithm of the probability the teacher gives to a text, in nats (never above 0)."""
    return sum(math.log(teacher(words[:i])[word]) for i, word in enumerate(words))


course.check("01.1", teacher_logprob)


# 01.2: a function first_lost(words, has_read) that gives an index or None.
def first_lost(words: Sequence[str], has_read: Callable[[Sequence[str]], bool]) -> int | None:
    """The first place whose prefix ends in two words the student never read together."""
    for place in range(len(words)):
        if not has_read(words[:place]):
            return place
    return None


course.check("01.2", first_lost)


# 01.3: ten times as many sentences read: the surprise at its own text is a, b or c
course.check("01.3", "b")
