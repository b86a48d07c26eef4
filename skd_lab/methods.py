"""The table of methods: who writes the completions, and what the student minimises on them.

A method is a row of data; train.py has one loop for all of them. Names are checked here, before
any model is loaded.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.clock import PhaseClock
from skd_lab.errors import UsageError
from skd_lab.losses import forward_kl, generalized_jsd, reverse_kl
from skd_lab.records import Rollout
from skd_lab.rollout import reference_rollout, student_rollout
from skd_lab.sampling import SamplingPolicy
from skd_lab.speculative import interleaved_rollout

Divergence = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is averaged over completion tokens: a divergence, or the tokens' own likelihood."""

    name: str
    divergence: Divergence | None
    """(student log-probs, teacher log-probs) -> nats; None for token_nll, which asks no teacher."""


_DIVERGENCES: dict[str, Callable[[float], Divergence]] = {
    "forward_kl": lambda beta: forward_kl,
    "reverse_kl": lambda beta: reverse_kl,
    "generalized_jsd": lambda beta: functools.partial(generalized_jsd, beta=beta),
}
OBJECTIVES: tuple[str, ...] = (*_DIVERGENCES, "token_nll")
"""Names for --objective."""


def get_objective(name: str, beta: float = 0.5) -> Objective:
    """The objective of that name; beta is generalized_jsd's weight of the teacher.

    Raises:
        UsageError: for an unknown name, or a beta outside (0, 1) with generalized_jsd.
    """
    if name not in OBJECTIVES:
        raise UsageError(f"Unknown objective '{name}'. Choose one of: {', '.join(OBJECTIVES)}.")
    if name == "token_nll":
        return Objective(name=name, divergence=None)
    if name == "generalized_jsd" and not 0 < beta < 1:
        raise UsageError(
            f"beta must be in (0, 1), got {beta}. Use forward_kl or reverse_kl for the end points."
        )
    return Objective(name=name, divergence=_DIVERGENCES[name](beta))


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the table."""

    name: str
    completions: str
    """Who writes the text trained on: a key of SOURCES."""
    objectives: tuple[str, ...]
    """What --objective may be; the first is the default."""
    source: str
    """Where the method comes from."""
    summary: str
    """One sentence for the help text."""

    @property
    def needs_reference(self) -> bool:
        """Whether every prompt needs the data set's own answer."""
        return self.completions == "reference"

    def objective_name(self, asked: str | None) -> str:
        """The asked objective, or the default.

        Raises:
            UsageError: if the method is not defined with that objective.
        """
        if asked is None:
            return self.objectives[0]
        if asked not in self.objectives:
            raise UsageError(
                f"Method '{self.name}' is not defined with objective '{asked}'. "
                f"Choose one of: {', '.join(self.objectives)}."
            )
        return asked


_ANY_DIVERGENCE = tuple(_DIVERGENCES)

METHODS: dict[str, Method] = {}
"""Methods by name."""


def register(method: Method) -> Method:
    """Add a row to the table.

    Raises:
        UsageError: if the name is taken, or the row names an unknown source or objective.
    """
    if method.name in METHODS:
        raise UsageError(f"There is already a method '{method.name}'. Choose another name.")
    if method.completions not in SOURCES:
        raise UsageError(
            f"Method '{method.name}' takes completions from '{method.completions}'. "
            f"Choose one of: {', '.join(SOURCES)}."
        )
    for objective in method.objectives:
        get_objective(objective)
    METHODS[method.name] = method
    return method


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        UsageError: for an unknown name; lists those there are.
    """
    if name not in METHODS:
        raise UsageError(f"Unknown method '{name}'. Choose one of: {', '.join(METHODS)}.")
    return METHODS[name]


@dataclass(frozen=True, kw_only=True)
class RolloutRequest:
    """Everything a source may need to write one window's completions."""

    student: PreTrainedModel
    teacher: PreTrainedModel | None
    prompt_ids: Sequence[Sequence[int]]
    reference_ids: Sequence[Sequence[int] | None]
    accept_top_k: int
    gamma: int
    max_new_tokens: int
    eos_token_ids: Sequence[int]
    student_policy: SamplingPolicy
    teacher_policy: SamplingPolicy
    uniforms: Tensor
    vocab_size: int | None
    keep_teacher_hidden: bool
    clock: PhaseClock
    first_row: int


def _references(request: RolloutRequest) -> list[Rollout]:
    references = [ids for ids in request.reference_ids if ids is not None]
    return reference_rollout(
        request.prompt_ids, references, request.eos_token_ids, first_row=request.first_row
    )


def _by_student(request: RolloutRequest) -> list[Rollout]:
    return student_rollout(
        request.student,
        request.prompt_ids,
        max_new_tokens=request.max_new_tokens,
        policy=request.student_policy,
        uniforms=request.uniforms[0],
        eos_token_ids=request.eos_token_ids,
        vocab_size=request.vocab_size,
        clock=request.clock,
        first_row=request.first_row,
    )


def _interleaved(request: RolloutRequest) -> list[Rollout]:
    assert request.teacher is not None
    return interleaved_rollout(
        request.student,
        request.teacher,
        request.prompt_ids,
        accept_top_k=request.accept_top_k,
        gamma=request.gamma,
        max_new_tokens=request.max_new_tokens,
        eos_token_ids=request.eos_token_ids,
        student_policy=request.student_policy,
        teacher_policy=request.teacher_policy,
        uniforms=request.uniforms,
        vocab_size=request.vocab_size,
        keep_teacher_hidden=request.keep_teacher_hidden,
        clock=request.clock,
        first_row=request.first_row,
    )


SOURCES: dict[str, Callable[[RolloutRequest], list[Rollout]]] = {
    "reference": _references,
    "student": _by_student,
    "interleaved": _interleaved,
}
"""Who can write completions."""


register(
    Method(
        name="sft",
        completions="reference",
        objectives=("token_nll",),
        source="-",
        summary="Learn the reference answers by heart: cross-entropy, no teacher.",
    )
)
register(
    Method(
        name="supervised_kd",
        completions="reference",
        objectives=("forward_kl",),
        source="Hinton et al. 2015, Sanh et al. 2020",
        summary="Match the teacher's distributions on the reference answers.",
    )
)
register(
    Method(
        name="on_policy_kd",
        completions="student",
        objectives=_ANY_DIVERGENCE,
        source="Agarwal et al. 2024",
        summary="Match the teacher's distributions on the student's own samples.",
    )
)
register(
    Method(
        name="skd",
        completions="interleaved",
        objectives=_ANY_DIVERGENCE,
        source="Xu et al. 2025, Algorithm 1",
        summary="The student proposes each token, the teacher keeps or replaces it.",
    )
)
