"""The table of methods: who writes the completions, and what the student minimises on them.

A method is a row of data; train.py has one loop for all of them. Names are checked here, before
any model is loaded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from skd_lab.config import RunConfig
from skd_lab.errors import UsageError
from skd_lab.models import Pair
from skd_lab.objectives import DIVERGENCES, OBJECTIVES, get_objective
from skd_lab.records import Rollout
from skd_lab.sources import SOURCES, RolloutRequest, write_completions


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the table."""

    name: str
    completions: tuple[str, ...]
    """Who writes the text trained on: one key of SOURCES, or two that take turns."""
    turns: Literal["", "per_prompt", "halves", "both"] = ""
    """How two sources take turns: a throw of the dice for every prompt, the first source in the
    first half of the run's updates and the second one after it, or both write to every prompt."""
    second_share: float | None = None
    """Per prompt: how often the second source writes, if --on-policy-fraction does not say."""
    share_is_free: bool = False
    """Whether --on-policy-fraction may say."""
    objectives: tuple[str, ...]
    """What --objective may be; the first is the default. Those that join every method come on
    top."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """Numbers its sources can be given, with their defaults."""
    load: Callable[[RunConfig], Pair] | None = None
    """Loads the models, where they need not be a pair that shares its ids."""
    source: str
    """Where the method comes from."""
    summary: str
    """One sentence for the help text."""

    @property
    def needs_reference(self) -> bool:
        """Whether every prompt needs the data set's own answer."""
        return "reference" in self.completions

    def objective_name(self, asked: str | None) -> str:
        """The asked objective, or the default.

        Raises:
            UsageError: if the method is not defined with that objective.
        """
        if asked is None:
            return self.objectives[0]
        if not self.takes(asked):
            own = [*self.objectives, *(name for name in OBJECTIVES if self.takes(name))]
            raise UsageError(
                f"Method '{self.name}' is not defined with objective '{asked}'. "
                f"Choose one of: {', '.join(dict.fromkeys(own))}."
            )
        return asked

    def takes(self, objective: str) -> bool:
        """Whether the method can be run with that objective."""
        if objective in self.objectives:
            return True
        row = OBJECTIVES.get(objective)
        if row is None or not row.joins or self.objectives[0] == "token_nll":
            return False
        if self.load is not None:  # its models need not mean the same by an id
            return False
        return not row.texts or set(self.completions) <= set(row.texts)

    def share(self, asked: float | None) -> float:
        """The asked on-policy fraction, or the method's own.

        Raises:
            UsageError: if the method has none to be asked for.
        """
        if asked is not None and not self.share_is_free:
            free = [method.name for method in METHODS.values() if method.share_is_free]
            fixed = f"always {self.second_share}" if self.second_share is not None else "not mixed"
            raise UsageError(
                f"--on-policy-fraction is {asked}, but the completions of method '{self.name}' are "
                f"{fixed}. Leave it out, or choose {' or '.join(free)}."
            )
        return asked if asked is not None else self.second_share or 0.0

    def write(self, request: RolloutRequest, share: float = 0.0) -> list[Rollout]:
        """The completions of a window's prompts, in their order.

        Args:
            request: prompts, models, limits, numbers.
            share: how often the second source writes, where turns are taken per prompt.
        """
        first, last = self.completions[0], self.completions[-1]
        request.memory["progress"] = request.progress
        if self.turns == "both":
            texts = [write_completions([who] * len(request.rows), request) for who in (first, last)]
            return [rollout for pair in zip(*texts, strict=True) for rollout in pair]
        if self.turns == "per_prompt":
            chosen = [last if number < share else first for number in request.mixing]
        else:
            late = self.turns == "halves" and request.progress >= 0.5
            chosen = [last if late else first] * len(request.rows)
        return write_completions(chosen, request)


METHODS: dict[str, Method] = {}
"""Methods by name."""


def register(method: Method) -> Method:
    """Add a row to the table.

    Raises:
        UsageError: if the name is taken, the row names an unknown source or objective, or two
            sources without saying how they take turns.
    """
    if method.name in METHODS:
        raise UsageError(f"There is already a method '{method.name}'. Choose another name.")
    for source in method.completions:
        if source not in SOURCES:
            raise UsageError(
                f"Method '{method.name}' takes completions from '{source}'. "
                f"Choose one of: {', '.join(SOURCES)}."
            )
    if len(method.completions) != (2 if method.turns else 1):
        raise UsageError(
            f"Method '{method.name}' has {len(method.completions)} sources and turns "
            f"{method.turns!r}: one source takes no turns, two take turns 'per_prompt', 'halves' "
            "or 'both'."
        )
    for objective in method.objectives:
        get_objective(objective)
    METHODS[method.name] = method
    return method


def read_settings(
    text: str | None, method: Method, objective: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Numbers given as "budget=120,rank=4", for the method's sources and for the objective.

    Raises:
        UsageError: for what is no number, or a name that neither of the two has.
    """
    known = {**method.settings, **OBJECTIVES[objective].settings}
    known = {name: value for name, value in known.items() if name not in ("beta", "skew")}
    given: dict[str, float] = {}
    for part in (text or "").split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not part.strip():
            continue
        if name not in known:
            defaults = ", ".join(f"{key}={default:g}" for key, default in known.items())
            raise UsageError(
                f"--settings {part.strip()}: method '{method.name}' with objective '{objective}' "
                f"has no setting {name!r}. It has: {defaults or 'none'}."
            )
        try:
            given[name] = float(value)
        except ValueError:
            raise UsageError(
                f"--settings {part.strip()}: {value!r} is no number. Write {name}={known[name]:g}."
            ) from None
    of_objective = {k: v for k, v in given.items() if k in OBJECTIVES[objective].settings}
    of_method = {k: v for k, v in given.items() if k in method.settings}
    return {**method.settings, **of_method}, of_objective


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        UsageError: for an unknown name; lists those there are.
    """
    if name not in METHODS:
        raise UsageError(f"Unknown method '{name}'. Choose one of: {', '.join(METHODS)}.")
    return METHODS[name]


for _method in (
    Method(
        name="sft",
        completions=("reference",),
        objectives=("token_nll",),
        source="-",
        summary="Learn the reference answers by heart: cross-entropy, no teacher.",
    ),
    Method(
        name="seq_kd",
        completions=("teacher",),
        objectives=("token_nll",),
        source="Kim and Rush 2016",
        summary="Learn the teacher's own samples by heart; drawn anew for every visit of a prompt.",
    ),
    Method(
        name="supervised_kd",
        completions=("reference",),
        objectives=("forward_kl",),
        source="Hinton et al. 2015, Sanh et al. 2020",
        summary="Match the teacher's distributions on the reference answers.",
    ),
    Method(
        name="teacher_kd",
        completions=("teacher",),
        objectives=("forward_kl",),
        source="the K -> 0 end of SKD",
        summary="Match the teacher's distributions on the teacher's own samples.",
    ),
    Method(
        name="on_policy_kd",
        completions=("student",),
        objectives=DIVERGENCES,
        source="Agarwal et al. 2024",
        summary="Match the teacher's distributions on the student's own samples.",
    ),
    Method(
        name="imit_kd",
        completions=("reference", "student"),
        turns="per_prompt",
        second_share=0.5,
        objectives=("forward_kl",),
        source="Lin et al. 2020",
        summary="Reference or student's sample, half and half by prompt.",
    ),
    Method(
        name="gkd",
        completions=("reference", "student"),
        turns="per_prompt",
        second_share=0.5,
        share_is_free=True,
        objectives=("generalized_jsd", "forward_kl", "reverse_kl"),
        source="Agarwal et al. 2024",
        summary="Reference or student's sample by prompt, generalized Jensen-Shannon divergence.",
    ),
    Method(
        name="two_stage",
        completions=("reference", "student"),
        turns="halves",
        objectives=("forward_kl",),
        source="Xu et al. 2025, section 5.5",
        summary="Supervised KD in the first half of the updates, on-policy KD in the second.",
    ),
    Method(
        name="skd",
        completions=("interleaved",),
        objectives=DIVERGENCES,
        source="Xu et al. 2025, Algorithm 1",
        summary="The student proposes each token, the teacher keeps or replaces it.",
    ),
    Method(
        name="mixed_skd",
        completions=("reference", "interleaved"),
        turns="per_prompt",
        second_share=0.5,
        share_is_free=True,
        objectives=DIVERGENCES,
        source="the released code of Xu et al. 2025",
        summary="Reference or interleaved text by prompt.",
    ),
):
    register(_method)

CORE_METHODS: tuple[str, ...] = tuple(METHODS)
"""The rows that are always there; packages above may register more."""
