"""Solutions of notebook 02. Made by `make notebooks`; do not edit."""

from __future__ import annotations

from collections.abc import Sequence

from skd_lab import course


# 02.1: a function in_top_k(logits, token, k) that gives True or False.
def in_top_k(logits: Sequence[float], token: int, k: int) -> bool:
    """Whether the token is among the k largest logits; of equal ones the lower id is ahead."""
    ahead = sum(
        other > logits[token] or (other == logits[token] and i < token)
        for i, other in enumerate(logits)
    )
    return ahead < k


course.check("02.1", in_top_k)


# 02.2: does dividing the logits by a temperature of 0.5 change who is in the top K? a, b or c
course.check("02.2", "b")


# 02.3: a function mass_above(probabilities, k) that gives a number in [0, 1].
def mass_above(probabilities: Sequence[float], k: int) -> float:
    """How much probability the k most likely tokens hold together."""
    return sum(sorted(probabilities, reverse=True)[:k])


course.check("02.3", mass_above)
