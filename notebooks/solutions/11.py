"""Solutions of notebook 11. Made by `make notebooks`; do not edit."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from skd_lab import course


# 11.1: a function skewed_kl(teacher, student, skew) that gives nats.
def skewed_kl(teacher: Sequence[float], student: Sequence[float], skew: float) -> float:
    """KL(teacher || mixture), the mixture being `skew` teacher and the rest student; nats."""
    total = 0.0
    for p, q in zip(teacher, student, strict=True):
        mixed = skew * p + (1 - skew) * q
        total += p * math.log(p / mixed) if p > 0 else 0.0
    return total


course.check("11.1", skewed_kl)


# 11.2: a function expected_gradient(student, teacher) that gives a number for each word.
def expected_gradient(student: Sequence[float], teacher: Sequence[float]) -> list[float]:
    """Of -A log q(y) by the student's logits, over all its draws y; A = log p(y) - log q(y)."""
    words = range(len(student))
    gain = [math.log(teacher[y] / student[y]) for y in words]
    return [sum(student[y] * -gain[y] * ((i == y) - student[i]) for y in words) for i in words]


course.check("11.2", expected_gradient)


# 11.3: which control would show that the weights do nothing? a, b or c
course.check("11.3", "b")


# 11.4: a function verdict(differences) that gives "held", "tied" or "lost".
def verdict(differences: Sequence[float]) -> str:
    """held, tied or lost: the mean of five seeds against its 95% interval (t = 2.776)."""
    mean = statistics.fmean(differences)
    half = 2.776 * statistics.stdev(differences) / math.sqrt(len(differences))
    return "held" if mean - half > 0 else "lost" if mean + half < 0 else "tied"


course.check("11.4", verdict)
