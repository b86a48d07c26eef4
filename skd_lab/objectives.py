"""The table of objectives: what a student minimises, by name.

Divergences from the teacher, the text's own likelihood, and whatever else is registered.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

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
from skd_lab.scored import Scored

Divergence = Callable[[Tensor, Tensor], Tensor]
OnBatch = Callable[[Scored], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is averaged over completion tokens."""

    name: str
    divergence: Divergence | None = None
    """(student log-probs, teacher log-probs) -> one number a token, nats (total_variation: a
    probability)."""
    on_batch: OnBatch | None = None
    """In the place of a divergence, for what one token does not decide: a scored microbatch ->
    loss with a gradient, number of every token, student entropy of every token; see
    Scored.nats. Where both are None, the tokens' own likelihood is minimised (token_nll)."""

    @property
    def asks_teacher(self) -> bool:
        """Whether the teacher has to score the completions."""
        return self.divergence is not None or self.on_batch is not None

    def of(self, scored: Scored) -> tuple[Tensor, Tensor, Tensor]:
        """Loss with a gradient, number of every token, student entropy of every token.

        Only for an objective that asks the teacher.
        """
        if self.on_batch is not None:
            return self.on_batch(scored)
        divergence = self.divergence
        assert divergence is not None
        return scored.nats(lambda student, teacher, _: divergence(student, teacher))


@dataclass(frozen=True, kw_only=True)
class ObjectiveRow:
    """One row of the table."""

    name: str
    make: Callable[..., Objective]
    """Takes the settings by name; raises UsageError for a value that cannot be."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """Numbers it can be given, with their defaults."""
    joins: bool = True
    """Whether every method that asks the teacher can be run with it; if not, only those that list
    it."""
    texts: tuple[str, ...] = ()
    """Whose completions it is defined on (keys of SOURCES); anybody's if empty."""
    source: str = ""
    """Where it comes from."""
    summary: str = ""
    """One sentence for people."""


OBJECTIVES: dict[str, ObjectiveRow] = {}
"""Names for --objective."""


def register(row: ObjectiveRow) -> ObjectiveRow:
    """Add a row to the table.

    Raises:
        UsageError: if the name is taken, or its default settings make no objective.
    """
    if row.name in OBJECTIVES:
        raise UsageError(f"There is already an objective '{row.name}'. Choose another name.")
    row.make(**row.settings)
    OBJECTIVES[row.name] = row
    return row


def get_objective(
    name: str,
    beta: float | None = None,
    skew: float | None = None,
    settings: Mapping[str, float] = MappingProxyType({}),
) -> Objective:
    """The objective of that name.

    Args:
        name: one of OBJECTIVES.
        beta: generalized_jsd's weight of the teacher, inside (0, 1); 0.5 if None.
        skew: the weight that the skewed divergences mix in (alpha in DistiLLM, Ko et al. 2024),
            inside (0, 1); 0.1 if None.
        settings: other numbers of the row, by name.

    Raises:
        UsageError: for an unknown name, a value that cannot be, or one this objective has not.
    """
    if name not in OBJECTIVES:
        raise UsageError(f"Unknown objective '{name}'. Choose one of: {', '.join(OBJECTIVES)}.")
    row = OBJECTIVES[name]
    given = {"beta": beta, "skew": skew, **settings}
    given = {option: value for option, value in given.items() if value is not None}
    for option, value in given.items():
        if option not in row.settings:
            users = [other.name for other in OBJECTIVES.values() if option in other.settings]
            choose = f", or choose {' or '.join(users)}" if users else ""
            raise UsageError(
                f"{option} is {value}, but objective '{name}' has no {option}. "
                f"Leave it out{choose}."
            )
    return row.make(**{**row.settings, **given})


def _weighted(name: str, function: Callable[..., Tensor], option: str, keyword: str) -> Callable:
    def make(**settings: float) -> Objective:
        weight = settings[option]
        if not 0 < weight < 1:
            raise UsageError(
                f"{option} must be in (0, 1), got {weight}. Use forward_kl or reverse_kl for the "
                "end points."
            )
        return Objective(name=name, divergence=functools.partial(function, **{keyword: weight}))

    return make


def _core(name: str, make: Callable[..., Objective], **settings: float) -> None:
    register(ObjectiveRow(name=name, make=make, settings=settings, joins=False))


_core("forward_kl", lambda: Objective(name="forward_kl", divergence=forward_kl))
_core("reverse_kl", lambda: Objective(name="reverse_kl", divergence=reverse_kl))
_core("generalized_jsd", _weighted("generalized_jsd", generalized_jsd, "beta", "beta"), beta=0.5)
for _name, _function in (
    ("skewed_forward_kl", skewed_forward_kl),
    ("skewed_reverse_kl", skewed_reverse_kl),
):
    _core(_name, _weighted(_name, _function, "skew", "alpha"), skew=0.1)
_core("total_variation", lambda: Objective(name="total_variation", divergence=total_variation))

DIVERGENCES: tuple[str, ...] = tuple(OBJECTIVES)
"""The core's objectives that ask the teacher."""

_core("token_nll", lambda: Objective(name="token_nll"))
