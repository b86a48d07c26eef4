"""Who can write completions: the data set, the student, the teacher, or both together."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.clock import PhaseClock
from skd_lab.errors import UsageError
from skd_lab.records import Rollout
from skd_lab.rollout import reference_rollout, student_rollout, teacher_rollout
from skd_lab.sampling import SamplingPolicy
from skd_lab.speculative import interleaved_rollout


@dataclass(frozen=True, kw_only=True)
class RolloutRequest:
    """Everything a source may need to write the completions of some prompts."""

    student: PreTrainedModel
    teacher: PreTrainedModel
    prompt_ids: Sequence[Sequence[int]]
    reference_ids: Sequence[Sequence[int] | None]
    rows: Sequence[int]
    """Global row number of each prompt's visit: keys everything random about it."""
    mixing: Sequence[float]
    """One uniform a row: which source writes it, where a method mixes two."""
    progress: float
    """Updates done / updates of the run, in [0, 1)."""
    accept_top_k: int | Sequence[int]
    gamma: int | str
    replacement: str
    variant: str
    max_new_tokens: int
    eos_token_ids: Sequence[int]
    student_policy: SamplingPolicy
    teacher_policy: SamplingPolicy
    uniforms: Tensor
    """[2, rows, max_new_tokens]."""
    vocab_size: int | None
    keep_teacher_hidden: bool
    clock: PhaseClock
    settings: Mapping[str, float] = field(default_factory=dict)
    """The method's numbers, by name."""
    memory: dict[str, Any] = field(default_factory=dict)
    """What the run keeps from update to update; see Scored.memory."""

    def only(self, places: Sequence[int]) -> "RolloutRequest":
        """The same request for some of its rows."""
        return dataclasses.replace(
            self,
            prompt_ids=[self.prompt_ids[i] for i in places],
            reference_ids=[self.reference_ids[i] for i in places],
            rows=[self.rows[i] for i in places],
            mixing=[self.mixing[i] for i in places],
            uniforms=self.uniforms[:, list(places)],
        )


def write_completions(source_of_row: Sequence[str], request: RolloutRequest) -> list[Rollout]:
    """Rollouts in the order of the request, each by its own source.

    Args:
        source_of_row: a key of SOURCES for each row.
        request: the rows.
    """
    written: dict[int, Rollout] = {}
    for source in dict.fromkeys(source_of_row):
        places = [i for i, name in enumerate(source_of_row) if name == source]
        for place, rollout in zip(places, SOURCES[source](request.only(places)), strict=True):
            written[place] = dataclasses.replace(rollout, row=request.rows[place])
    return [written[place] for place in range(len(source_of_row))]


def _references(request: RolloutRequest) -> list[Rollout]:
    references = [ids for ids in request.reference_ids if ids is not None]
    return reference_rollout(request.prompt_ids, references, request.eos_token_ids)


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
    )


def _by_teacher(request: RolloutRequest) -> list[Rollout]:
    return teacher_rollout(
        request.teacher,
        request.prompt_ids,
        max_new_tokens=request.max_new_tokens,
        policy=request.teacher_policy,
        uniforms=request.uniforms[1],
        eos_token_ids=request.eos_token_ids,
        vocab_size=request.vocab_size,
        keep_teacher_hidden=request.keep_teacher_hidden,
        clock=request.clock,
    )


def _interleaved(request: RolloutRequest) -> list[Rollout]:
    return interleaved_rollout(
        request.student,
        request.teacher,
        request.prompt_ids,
        accept_top_k=request.accept_top_k,
        gamma=request.gamma,
        replacement=request.replacement,
        variant=request.variant,
        max_new_tokens=request.max_new_tokens,
        eos_token_ids=request.eos_token_ids,
        student_policy=request.student_policy,
        teacher_policy=request.teacher_policy,
        uniforms=request.uniforms,
        vocab_size=request.vocab_size,
        keep_teacher_hidden=request.keep_teacher_hidden,
        clock=request.clock,
    )


Source = Callable[[RolloutRequest], list[Rollout]]

SOURCES: dict[str, Source] = {
    "reference": _references,
    "student": _by_student,
    "teacher": _by_teacher,
    "interleaved": _interleaved,
}
"""Who can write completions."""


def register(name: str, source: Source) -> None:
    """Add somebody who writes completions: one rollout a row of the request, in its order.

    Raises:
        UsageError: if the name is taken.
    """
    if name in SOURCES:
        raise UsageError(f"There is already a source '{name}'. Choose another name.")
    SOURCES[name] = source
