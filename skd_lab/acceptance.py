"""Which proposals stand, and what takes the place of a refused one.

A rule looks at one drafted block at a time. Everything random in it comes from the block's own
uniforms, so that a rule's text does not change with the batch or the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skd_lab.errors import UsageError
from skd_lab.sampling import GREEDY, SamplingPolicy, draw, sample, teacher_rank, top_k_mask, warp

REPLACEMENTS = ("teacher_sample", "teacher_argmax", "student_in_top_k")
"""What a refused proposal becomes: a draw from the teacher (Algorithm 1), the teacher's most likely
token, or a new draw from the student among the teacher's top K (asked for by a
reviewer of the paper)."""

VARIANTS = ("paper", "released")
"""Algorithm 1 as printed, or the published code's way of testing, for study."""


@dataclass(kw_only=True)
class Block:
    """One draft of every active row, as both models see it."""

    proposals: Int[Tensor, "rows width"]
    student_logits: Float[Tensor, "rows width vocab"]
    """Raw logits that the proposals were drawn from."""
    teacher_logits: Float[Tensor, "rows width vocab"]
    """Raw logits of the teacher at the same positions."""
    places: Int[Tensor, "rows width"]
    """Each proposal's position in its completion, from 0."""
    uniforms: Float[Tensor, "2 rows width"]
    """The numbers of those positions: the student's, the teacher's."""

    @cached_property
    def rank(self) -> Int[Tensor, "rows width"]:
        """The teacher's rank of each proposal, on raw logits."""
        return teacher_rank(self.teacher_logits, self.proposals)

    def at(self, rows: Int[Tensor, " some"], columns: Int[Tensor, " some"]) -> "Block":
        """Single places of the block, as a block of width 1."""
        return Block(
            proposals=self.proposals[rows, columns][:, None],
            student_logits=self.student_logits[rows, columns][:, None],
            teacher_logits=self.teacher_logits[rows, columns][:, None],
            places=self.places[rows, columns][:, None],
            uniforms=self.uniforms[:, rows, columns][..., None],
        )


class Rule(Protocol):
    """How a teacher decides about a draft."""

    bonus: bool
    """Whether a block that stands whole earns one more token from the teacher."""

    @property
    def proposal_policy(self) -> SamplingPolicy:
        """How the student draws."""

    @property
    def teacher_policy(self) -> SamplingPolicy:
        """How the teacher draws."""

    def accepts(self, block: Block) -> Bool[Tensor, "rows width"]:
        """Which proposals stand, each judged as if those before it stood."""

    def replacement(self, block: Block) -> Int[Tensor, "rows width"]:
        """The token for every place, should its proposal be refused."""


class TopKRule:
    """Algorithm 1 of SKD (Xu et al. 2025): a proposal stands in the teacher's own top K.

    Args:
        accept_top_k: K, or one K a position.
        student_policy: how proposals are drawn.
        teacher_policy: how replacements are drawn.
        replacement: one of REPLACEMENTS.
        variant: "paper", or "released" for the published code's decisions: both models are
            sampled with the teacher's policy, top K is taken of the distribution that the policy
            leaves (ids of probability 0 fill it up, lower ids first), and the token that is tested
            is a second draw of the student, not the one that is kept.

    Raises:
        UsageError: for a K below 1, or a name that is none of these.
    """

    bonus = False  # with one, gamma would change the text

    def __init__(
        self,
        accept_top_k: int | Sequence[int],
        *,
        student_policy: SamplingPolicy,
        teacher_policy: SamplingPolicy,
        replacement: str = "teacher_sample",
        variant: str = "paper",
    ) -> None:
        self.top_k = [accept_top_k] if isinstance(accept_top_k, int) else list(accept_top_k)
        if not self.top_k or min(self.top_k) < 1:
            raise UsageError(
                f"accept_top_k must be at least 1, got {accept_top_k}. For text by the teacher "
                "alone use teacher_rollout."
            )
        for name, value, choices in (
            ("replacement", replacement, REPLACEMENTS),
            ("variant", variant, VARIANTS),
        ):
            if value not in choices:
                raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")
        self.teacher_policy, self.kind, self.variant = teacher_policy, replacement, variant
        self.proposal_policy = teacher_policy if variant == "released" else student_policy

    def accepts(self, block: Block) -> Bool[Tensor, "rows width"]:
        """rank <= K."""
        k = self._k(block.places)
        if self.variant == "paper":
            return block.rank <= k
        # A sum of two independent uniforms, modulo 1, is uniform and independent of either one:
        # a second draw of the student without a third number a position.
        again = sample(block.student_logits, self.proposal_policy, block.uniforms.sum(dim=0) % 1)
        warped = warp(block.teacher_logits, self.teacher_policy).to(again.device)
        return teacher_rank(warped, again) <= k

    def replacement(self, block: Block) -> Int[Tensor, "rows width"]:
        """A token by the teacher's uniform of the place."""
        numbers = block.uniforms[1]
        if self.kind == "teacher_sample":
            return sample(block.teacher_logits, self.teacher_policy, numbers)
        if self.kind == "teacher_argmax":
            return sample(block.teacher_logits, GREEDY, numbers)
        inside = top_k_mask(block.teacher_logits, self._k(block.places))
        logits = block.student_logits.masked_fill(~inside, -torch.inf)
        return sample(logits, self.proposal_policy, numbers)

    def _k(self, places: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        # behind the end of a schedule its last K goes on
        table = torch.tensor(self.top_k, device=places.device)
        return table[places.clamp(max=len(self.top_k) - 1)]


class LosslessRule:
    """Speculative sampling (Leviathan et al. 2023, Algorithm 1; Chen et al. 2023).

    A proposal x stands with probability min(1, p(x) / q(x)); a refused one is replaced by a draw
    from the normalised max(0, p - q). What is kept follows the teacher's distribution p.

    Args:
        student_policy: makes q of the student's logits.
        teacher_policy: makes p of the teacher's logits.
        bonus: one more draw from the teacher after a block that stands whole.
    """

    def __init__(
        self, *, student_policy: SamplingPolicy, teacher_policy: SamplingPolicy, bonus: bool = True
    ) -> None:
        self.proposal_policy, self.teacher_policy, self.bonus = (
            student_policy,
            teacher_policy,
            bonus,
        )

    def accepts(self, block: Block) -> Bool[Tensor, "rows width"]:
        """u < p(x) / q(x), with the teacher's number of the place."""
        p, q = self._both(block)
        return (block.uniforms[1].to(p) < self._ratio(p, q, block)).to(block.proposals.device)

    def replacement(self, block: Block) -> Int[Tensor, "rows width"]:
        """A draw from the residual max(0, p - q).

        Given that x was refused, u lies evenly between the ratio and 1: stretched to [0, 1) it is
        a fresh number for the draw, independent of x.
        """
        p, q = self._both(block)
        ratio = self._ratio(p, q, block).clamp(max=1)
        fresh = ((block.uniforms[1].to(p) - ratio) / (1 - ratio)).nan_to_num(0.0).clamp(0, 1)
        residual = (p - q).clamp(min=0)
        # equal distributions refuse nothing; their empty residual must not stop the others
        empty = residual.sum(dim=-1, keepdim=True) == 0
        return draw(torch.where(empty, p, residual), fresh).to(block.proposals.device)

    def _both(
        self, block: Block
    ) -> tuple[Float[Tensor, "rows width vocab"], Float[Tensor, "rows width vocab"]]:
        p = warp(block.teacher_logits, self.teacher_policy)
        q = warp(block.student_logits, self.proposal_policy)
        return p / p.sum(dim=-1, keepdim=True), q / q.sum(dim=-1, keepdim=True)

    def _ratio(
        self,
        p: Float[Tensor, "rows width vocab"],
        q: Float[Tensor, "rows width vocab"],
        block: Block,
    ) -> Float[Tensor, "rows width"]:
        ids = block.proposals.to(p.device).unsqueeze(-1)
        return (p.gather(-1, ids) / q.gather(-1, ids)).squeeze(-1)
