"""What a student minimises: divergences from the teacher by name, or the tokens' own likelihood."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from skd_lab.errors import UsageError
from skd_lab.losses import (
    forward_kl,
    generalized_jsd,
    reverse_kl,
    skewed_forward_kl,
    skewed_reverse_kl,
    total_variation,
)

Divergence = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is averaged over completion tokens."""

    name: str
    divergence: Divergence | None
    """(student log-probs, teacher log-probs) -> one number a token, nats (total_variation: a
    probability); None for token_nll, which asks no teacher."""


_PLAIN: dict[str, Divergence] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "total_variation": total_variation,
}
_WEIGHTED: dict[str, tuple[Callable[..., Tensor], str, float]] = {
    # objective: function, the option that weights it, the option's default
    "generalized_jsd": (generalized_jsd, "beta", 0.5),
    "skewed_forward_kl": (skewed_forward_kl, "skew", 0.1),
    "skewed_reverse_kl": (skewed_reverse_kl, "skew", 0.1),
}
DIVERGENCES: tuple[str, ...] = ("forward_kl", "reverse_kl", *_WEIGHTED, "total_variation")
"""Objectives that ask the teacher."""
OBJECTIVES: tuple[str, ...] = (*DIVERGENCES, "token_nll")
"""Names for --objective."""


def get_objective(name: str, beta: float | None = None, skew: float | None = None) -> Objective:
    """The objective of that name.

    Args:
        name: one of OBJECTIVES.
        beta: generalized_jsd's weight of the teacher, inside (0, 1); 0.5 if None.
        skew: the weight that the skewed divergences mix in (alpha in DistiLLM, Ko et al. 2024),
            inside (0, 1); 0.1 if None.

    Raises:
        UsageError: for an unknown name, a weight outside (0, 1), or one this objective has not.
    """
    if name not in OBJECTIVES:
        raise UsageError(f"Unknown objective '{name}'. Choose one of: {', '.join(OBJECTIVES)}.")
    function, option, default = _WEIGHTED.get(name, (None, "", 0.0))
    for other, value in (("beta", beta), ("skew", skew)):
        if value is not None and other != option:
            users = [user for user, (_, own, _) in _WEIGHTED.items() if own == other]
            raise UsageError(
                f"{other} is {value}, but objective '{name}' has no {other}. Leave it out, or "
                f"choose {' or '.join(users)}."
            )
    if function is None:
        return Objective(name=name, divergence=_PLAIN.get(name))
    given = beta if option == "beta" else skew
    weight = default if given is None else given
    if not 0 < weight < 1:
        raise UsageError(
            f"{option} must be in (0, 1), got {weight}. Use forward_kl or reverse_kl for the end "
            "points."
        )
    if option == "beta":
        return Objective(name=name, divergence=functools.partial(function, beta=weight))
    return Objective(name=name, divergence=functools.partial(function, alpha=weight))
