"""Solutions of notebook 03. Made by `make notebooks`; do not edit."""

from __future__ import annotations

from fractions import Fraction
from skd_lab.course import toy
from skd_lab.course.toy import Law

from skd_lab import course


# 03.1: a function skd_step(student_law, teacher_law, k, u, v) that gives (word, who).
def skd_step(student_law: Law, teacher_law: Law, k: int, u: float, v: float) -> tuple[str, str]:
    """One place of Algorithm 1: the word that stands, and who wrote it."""
    proposed = toy.draw(student_law, u)
    # Python's sort keeps the order of equal ones: the word that comes first is ahead
    top = sorted(teacher_law, key=lambda word: -teacher_law[word])[:k]
    if proposed in top:
        return proposed, "student"
    return toy.draw(teacher_law, v), "teacher"


course.check("03.1", skd_step)


# 03.2: behind which text is the next proposal drawn? a, b or c
course.check("03.2", "b")


# 03.3: a probability, as a number such as 0.25 or Fraction(1, 4).
course.check("03.3", Fraction(11, 25))
