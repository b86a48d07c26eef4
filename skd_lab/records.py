"""Plain data that outlives a step: rollouts, their token traces, step records.

Nothing here runs a model. Ids stay ids: text is made by tasks (to score) and views (to show).
"""

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

STUDENT, TEACHER, REFERENCE = "student", "teacher", "reference"


@dataclass(kw_only=True)
class TokenTrace:
    """How each token of one completion came about; column t of every field is token t.

    Ranks and log-probabilities are of the raw models at temperature 1 (never of the warped
    sampling distributions), so they do not change with the sampling policy.
    """

    source: list[str]
    """Who wrote the kept token: "student", "teacher" or "reference"."""
    proposed_id: Int[Tensor, " tokens"]
    """The student's proposal; equals kept_id where it stood. -1 where nothing was proposed."""
    kept_id: Int[Tensor, " tokens"]
    """The token in the completion, the one trained on."""
    teacher_rank: Int[Tensor, " tokens"]
    """The teacher's rank of the proposal, 1 = most likely. 0 where nothing was verified."""
    student_log_prob: Float[Tensor, " tokens"]
    """log p_student(kept | prefix), nats. nan where the student did not look."""
    teacher_log_prob: Float[Tensor, " tokens"]
    """log p_teacher(kept | prefix), nats. nan where the teacher did not look."""
    block: Int[Tensor, " tokens"]
    """Draft block the token came from, counted from 0. -1 where there are no blocks."""
    discarded: list[list[int]] = field(default_factory=list)
    """Proposals thrown away unverified behind token t (after a refusal, an eos, the limit)."""

    def __len__(self) -> int:
        return len(self.source)


@dataclass(kw_only=True)
class Rollout:
    """One prompt, one completion, and how the completion came about."""

    prompt_ids: list[int]
    completion_ids: Int[Tensor, " tokens"]
    """Ends with an eos id if one was kept; never empty."""
    trace: TokenTrace
    finished: bool
    """True if the completion ends with an eos id, False if the length limit cut it."""
    row: int = 0
    """Global row number: with the token's position it keys the uniforms."""
    teacher_hidden: Float[Tensor, "tokens hidden"] | None = None
    """Teacher's last hidden state that judged token t (kept to spare a second forward)."""

    @property
    def verified(self) -> int:
        """Proposals the teacher looked at; each became exactly one kept token."""
        return int((self.trace.teacher_rank > 0).sum())

    @property
    def replaced(self) -> int:
        """Proposals the teacher refused: tokens the teacher wrote in the student's place."""
        return sum(
            source == TEACHER and rank > 0
            for source, rank in zip(self.trace.source, self.trace.teacher_rank.tolist(), strict=True)
        )

    @property
    def accepted(self) -> int:
        """Proposals that stood: verified - replaced."""
        return self.verified - self.replaced

    @property
    def discarded(self) -> int:
        """Proposals never verified. Proposed = accepted + replaced + discarded."""
        return sum(map(len, self.trace.discarded))


@dataclass(frozen=True)
class StepRecord:
    """What one optimizer step measured; one line of steps.jsonl."""

    step: int
    metrics: dict[str, float]

    def to_json(self) -> str:
        """One flat JSON object. A value that is not finite is written as null."""
        finite = {k: v if math.isfinite(v) else None for k, v in self.metrics.items()}
        return json.dumps({"step": self.step, **finite})

    @classmethod
    def from_json(cls, line: str) -> "StepRecord":
        """Read a line written by to_json; null becomes nan."""
        record = json.loads(line)
        step = record.pop("step")
        return cls(step, {k: math.nan if v is None else float(v) for k, v in record.items()})


@dataclass(kw_only=True)
class EvalReport:
    """What one evaluation of one model measured. A value that was not measured is nan."""

    name: str
    n: int
    """Prompts scored."""
    metrics: dict[str, dict[str, float]]
    """By metric: its mean over prompts, "value", and a 95% bootstrap interval, "low" and "high"."""
    kl_references: float
    """KL(teacher || student) on the references, nats per token."""
    kl_samples: float
    """The same on the student's own samples at temperature 1."""
    replacement_rate: float
    """Teacher tokens / completion tokens of interleaved rollouts on the same prompts."""
    acceptance_rate: float
    """Accepted / verified proposals of the same rollouts."""
    mean_length: float
    """Tokens of the scored (greedy) completions."""
    seconds: float
    """Wall time."""
    completions: list[dict[str, str | float]]
    """Of each scored completion: "id" of the example, "text", "score" (the headline metric)."""

    def to_json(self) -> str:
        """One JSON object on one line; nan is written as null."""
        nothing = {k: None for k, v in vars(self).items() if isinstance(v, float) and v != v}
        return json.dumps({**vars(self), **nothing}, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "EvalReport":
        """Read a line written by to_json; null becomes nan, and keys it does not know are left."""
        record = json.loads(line)
        known: dict[str, Any] = {}
        for column in fields(cls):
            value = record[column.name]
            known[column.name] = math.nan if value is None else value
        return cls(**known)
