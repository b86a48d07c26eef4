"""Solutions of notebook 04. Made by `make notebooks`; do not edit."""

from __future__ import annotations

from collections.abc import Sequence

from skd_lab import course


# 04.1: a function replacement_rate(sources) that gives a number in [0, 1].
def replacement_rate(sources: Sequence[str]) -> float:
    """The share of tokens the teacher wrote; 0 for a text without tokens."""
    if not sources:
        return 0.0
    return sum(who == "teacher" for who in sources) / len(sources)


course.check("04.1", replacement_rate)


# 04.2: a function longest_kept_run(sources) that gives a whole number.
def longest_kept_run(sources: Sequence[str]) -> int:
    """How many of the student's tokens stand in a row, at most."""
    longest = current = 0
    for who in sources:
        current = current + 1 if who == "student" else 0
        longest = max(longest, current)
    return longest


course.check("04.2", longest_kept_run)


# 04.3: the record of a run at K = 3 is what a run at K = 1 writes, a, b or c
course.check("04.3", "b")
