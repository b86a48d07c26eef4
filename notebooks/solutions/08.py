"""Solutions of notebook 08. Made by `make notebooks`; do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skd_lab import course


# 08.1: K is 1 and the teacher draws its replacements. Whose text is it? a, b or c
course.check("08.1", "c")


# 08.2: a function favourite_at_one(student, teacher) that gives a chance in [0, 1].
def favourite_at_one(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    """With what chance the teacher's most likely word stands at a place, if K is 1."""
    best = max(teacher, key=lambda word: teacher[word])
    return student[best] + (1 - student[best]) * teacher[best]


course.check("08.2", favourite_at_one)


# 08.3: a function k_at(done, steps, first, last) that gives a whole number.
def k_at(done: int, steps: int, first: int, last: int) -> int:
    """K of the update that comes after `done` others, on a straight line over a run, rounded."""
    return round(first + (last - first) * done / max(steps - 1, 1))


course.check("08.3", k_at)


# 08.4: a function left_over(law, temperature, top_p) that gives a count.
def left_over(law: Sequence[float], temperature: float, top_p: float) -> int:
    """How many tokens a teacher has left that is sharpened first, and cut to its nucleus then."""
    sharp = sorted((p ** (1 / temperature) for p in law), reverse=True)
    reached, wanted = 0.0, top_p * sum(sharp)
    for count, p in enumerate(sharp, start=1):
        reached += p
        if reached >= wanted:
            return count
    return len(sharp)


course.check("08.4", left_over)


# 08.5: one token is left and K is 25. Which proposals stand in the released code? a, b or c
course.check("08.5", "b")
