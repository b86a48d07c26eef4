"""Solutions of notebook 09. Made by `make notebooks`; do not edit."""

from __future__ import annotations

from collections.abc import Sequence
import numpy as np

from skd_lab import course


# 09.1: what do one run of each method and 2,000 prompts show? a, b or c
course.check("09.1", "b")


# 09.2: a function paired_interval(a, b, draws) that gives (low, high).
def paired_interval(
    a: Sequence[float], b: Sequence[float], draws: Sequence[Sequence[int]]
) -> tuple[float, float]:
    """95% bootstrap interval of the mean of a - b; each draw lists the prompts it holds."""
    differences = np.subtract(a, b)
    means = [differences[list(draw)].mean() for draw in draws]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


course.check("09.2", paired_interval)


# 09.3: a function verdict(intervals) that gives one of four texts.
def verdict(intervals: Sequence[tuple[float, float]]) -> str:
    """The rule of the claims page; an interval above 0 is on the claimed side."""
    if not intervals:
        return "not run"
    if any(high < 0 for _, high in intervals):
        return "does not hold here"
    clear = sum(low > 0 for low, _ in intervals)
    return "holds" if 2 * clear >= len(intervals) else "cannot be told at this size"


course.check("09.3", verdict)


# 09.4: 80 comparisons without any difference: how many speak for? a, b or c
course.check("09.4", "b")
