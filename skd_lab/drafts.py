"""A student as a speculative draft for its teacher: how much of what it proposes stands.

Under the lossless rule a proposal stands with probability min(1, p/q), so at a given prefix the
chance is sum(min(p, q)) = 1 - TV(p, q) (Leviathan et al. 2023, Corollary 3.6). Both are measured
on the same prefixes, the share that stood and the chance that it would: they differ by the luck of
the draws alone, which says that sampler and models mean the same distributions.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.batch import collate, completion_hidden
from skd_lab.decode import sampling_mode
from skd_lab.encode import Encoded
from skd_lab.errors import UsageError
from skd_lab.models import Pair
from skd_lab.projection import Projection
from skd_lab.records import Rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms, warp
from skd_lab.speculative import speculative_rollout

PLAIN = SamplingPolicy(temperature=1.0)
AGREE = 4.0
"""Standard errors: chance alone goes beyond them once in 16,000 measurements."""
_LOGITS = 1 << 23
"""Logits of one role that are held at once, in float64."""


@dataclass(frozen=True, kw_only=True)
class DraftReport:
    """What drafting under the lossless rule gave; lists have an entry a prompt."""

    name: str
    n: int
    """Prompts."""
    gamma: int | str
    """Tokens a block drafts, or "adaptive"."""
    accepted: list[int]
    verified: list[int]
    """Proposals that the teacher judged: those behind a refused one and bonus tokens are none."""
    expected: list[float]
    """Sum of 1 - TV over the prefixes of the verified proposals."""
    spread: float
    """Standard deviation of the accepted count, were every chance what `expected` says."""
    tokens: list[int]
    """Of the completions, bonus tokens among them."""
    blocks: list[int]
    """Forwards of the teacher."""

    @property
    def acceptance_rate(self) -> float:
        """Accepted / verified proposals."""
        return sum(self.accepted) / sum(self.verified)

    @property
    def expected_acceptance(self) -> float:
        """Mean of 1 - TV over the same prefixes."""
        return sum(self.expected) / sum(self.verified)

    @property
    def tokens_per_block(self) -> float:
        """Tokens a teacher's forward gives; the teacher alone writes 1."""
        return sum(self.tokens) / sum(self.blocks)

    @property
    def z(self) -> float:
        """(accepted - expected) in standard errors; 0 where nothing was left to chance."""
        apart = sum(self.accepted) - sum(self.expected)
        if self.spread > 0:
            return apart / self.spread
        return 0.0 if abs(apart) < 1e-6 * sum(self.verified) else math.copysign(math.inf, apart)

    @property
    def agrees(self) -> bool:
        """Whether the two rates are as near as chance has them."""
        return abs(self.z) < AGREE

    def to_dict(self) -> dict[str, Any]:
        """Fields and rates, as JSON holds them."""
        rates = ("acceptance_rate", "expected_acceptance", "tokens_per_block", "z", "agrees")
        return {**asdict(self), **{name: getattr(self, name) for name in rates}}


def draft_report(
    pair: Pair,
    encoded: Sequence[Encoded],
    *,
    student: PreTrainedModel | None = None,
    max_new_tokens: int,
    gamma: int | str = 5,
    student_policy: SamplingPolicy = PLAIN,
    teacher_policy: SamplingPolicy = PLAIN,
    seed: int = 0,
    batch_size: int = 64,
    name: str = "",
) -> DraftReport:
    """Let a student draft the teacher's own text, and count what stands.

    Args:
        pair: teacher, eos ids, shared vocabulary.
        encoded: prompts; references are not used.
        student: the draft; the pair's own if None.
        max_new_tokens: length limit of every completion.
        gamma: tokens a block drafts, or "adaptive".
        student_policy: makes q of the student's logits.
        teacher_policy: makes p of the teacher's logits.
        seed: of the uniforms; the same seed gives every student the same.
        batch_size: rows at once. Changes cost, not the report.
        name: of the report.

    Raises:
        UsageError: there are no prompts, or gamma is below 1.
    """
    if not encoded:
        raise UsageError("There is nothing to draft: no prompts are left. Pass one or more.")
    student = pair.student if student is None else student
    rollouts = speculative_rollout(
        student,
        pair.teacher,
        [row.prompt_ids for row in encoded],
        gamma=gamma,
        max_new_tokens=max_new_tokens,
        eos_token_ids=pair.eos_token_ids,
        student_policy=student_policy,
        teacher_policy=teacher_policy,
        uniforms=draw_uniforms(seed, len(encoded), max_new_tokens),
        vocab_size=pair.vocab_size,
        batch_size=batch_size,
    )
    chances = _chances(student, pair, rollouts, student_policy, teacher_policy, batch_size)
    return DraftReport(
        name=name,
        n=len(encoded),
        gamma=gamma,
        accepted=[rollout.accepted for rollout in rollouts],
        verified=[rollout.verified for rollout in rollouts],
        expected=[float(chance.sum()) for chance in chances],
        spread=math.sqrt(sum(float((chance * (1 - chance)).sum()) for chance in chances)),
        tokens=[len(rollout.completion_ids) for rollout in rollouts],
        blocks=[len(set(rollout.trace.block.tolist())) for rollout in rollouts],
    )


def draft_difference(
    after: DraftReport, before: DraftReport, seed: int = 0, draws: int = 2000
) -> tuple[float, float, float]:
    """Acceptance of one student minus that of another, (difference, low, high).

    The 95% interval is over the prompts, which both drafted: they are drawn anew together.

    Raises:
        UsageError: the reports are of different numbers of prompts.
    """
    if after.n != before.n:
        raise UsageError(
            f"two drafts are compared on the same prompts, got {after.n} and {before.n}."
        )
    rng = np.random.Generator(np.random.Philox(seed))
    drawn = rng.multinomial(after.n, np.full(after.n, 1 / after.n), draws)
    rates = [
        (drawn @ np.array(one.accepted)) / np.maximum(drawn @ np.array(one.verified), 1)
        for one in (after, before)
    ]
    low, high = np.quantile(rates[0] - rates[1], [0.025, 0.975])
    return after.acceptance_rate - before.acceptance_rate, float(low), float(high)


def overlap(
    student_logits: Float[Tensor, "*shape vocab"],
    teacher_logits: Float[Tensor, "*shape vocab"],
    student_policy: SamplingPolicy = PLAIN,
    teacher_policy: SamplingPolicy = PLAIN,
) -> Float[Tensor, "*shape"]:
    """sum(min(p, q)) = 1 - TV(p, q): the chance that a proposal of the student stands."""
    q, p = (
        made / made.sum(dim=-1, keepdim=True)
        for made in (warp(student_logits, student_policy), warp(teacher_logits, teacher_policy))
    )
    return torch.minimum(p, q).sum(dim=-1)


def _chances(
    student: PreTrainedModel,
    pair: Pair,
    rollouts: Sequence[Rollout],
    student_policy: SamplingPolicy,
    teacher_policy: SamplingPolicy,
    batch_size: int,
) -> list[Float[Tensor, " verified"]]:
    """1 - TV at the prefix of every verified proposal, row by row, from forwards of their own."""
    heads = [Projection.of(model, pair.vocab_size) for model in (student, pair.teacher)]
    width = max(1, _LOGITS // heads[0].size)
    found: list[Tensor] = []
    with sampling_mode(student, pair.teacher):
        for first in range(0, len(rollouts), batch_size):
            part = rollouts[first : first + batch_size]
            batch = collate(part, pair.pad_token_id).to(student.device)
            states = [completion_hidden(model, batch) for model in (student, pair.teacher)]
            chances = torch.cat(
                [
                    overlap(
                        heads[0].logits(states[0][start : start + width]),
                        heads[1].logits(states[1][start : start + width]),
                        student_policy,
                        teacher_policy,
                    ).cpu()
                    for start in range(0, batch.tokens, width)
                ]
            )
            rows = chances.split(batch.lengths.tolist())
            found += [
                row[rollout.trace.teacher_rank > 0] for row, rollout in zip(rows, part, strict=True)
            ]
    return found
