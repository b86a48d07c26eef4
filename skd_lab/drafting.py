"""Draft and verify: the student proposes a block, the teacher judges it in one forward.

What stands is a rule's business (acceptance.py); who is where in its completion is the ledger's.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.acceptance import Block, Rule
from skd_lab.cache import supports_rollback
from skd_lab.clock import PhaseClock
from skd_lab.decode import Decoder, check_request, sampling_mode
from skd_lab.decoders import make_decoder
from skd_lab.errors import UsageError
from skd_lab.ledger import Ledger
from skd_lab.records import Rollout
from skd_lab.sampling import refuse_non_finite, sample, token_log_probs

ADAPTIVE = "adaptive"
"""As gamma: one token more than stand together half of the time, by the acceptance so far."""

_LONGEST = 10  # beyond it a block rarely pays for what it throws away: docs/performance.md


class DraftAndVerify:
    """Rollouts of some prompts under a rule: draft, verify, keep, until every row has stopped.

    Args:
        student: proposes.
        teacher: judges.
        prompt_ids: one id list a prompt, from 1 token each.
        rule: decides.
        gamma: draft block size, tokens; or ADAPTIVE.
        max_new_tokens: completion length limit, tokens.
        eos_token_ids: any of these ends a row, also in mid-block.
        uniforms: draw_uniforms(...).
        vocab_size: logits are cut to the first ids; None keeps all.
        keep_teacher_hidden: keep the teacher's last hidden state of every kept token.
        clock: books wall seconds under "draft" and "verify".
        first_row: global number of the first row, for the records.

    Raises:
        UsageError: for a request that cannot end well.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        prompt_ids: Sequence[Sequence[int]],
        rule: Rule,
        *,
        gamma: int | str,
        max_new_tokens: int,
        eos_token_ids: Sequence[int],
        uniforms: Float[Tensor, "2 rows tokens"],
        vocab_size: int | None = None,
        keep_teacher_hidden: bool = False,
        clock: PhaseClock | None = None,
        first_row: int = 0,
    ) -> None:
        check_request([student, teacher], prompt_ids, max_new_tokens, uniforms)
        self._acceptance = _Acceptance() if gamma == ADAPTIVE else None
        first = self._acceptance.gamma if self._acceptance else gamma
        if not isinstance(first, int) or first < 1:
            raise UsageError(
                f"gamma must be at least 1 (token by token) or '{ADAPTIVE}', got {gamma!r}."
            )
        _check_vocabularies(student, teacher, vocab_size)
        rollback = supports_rollback(student.config) and supports_rollback(teacher.config)
        # without rollback no token may enter a state before it is kept
        self.gamma, self.bonus = (first, rule.bonus) if rollback else (1, False)
        self._acceptance = self._acceptance if rollback else None
        self.models, self.rule = (student, teacher), rule
        self.uniforms = uniforms.to(student.device)
        self.clock = clock or PhaseClock()
        self.block = 0
        # whether a look at a tensor is free: elsewhere the device would have to be waited for
        self.waits = student.device.type == "cpu"
        self.ledger = Ledger(prompt_ids, max_new_tokens, eos_token_ids, first_row, student.device)
        sizes: dict[str, Any] = {"max_new_tokens": max_new_tokens, "vocab_size": vocab_size}
        with sampling_mode(*self.models):
            with self.clock.phase("draft"):
                self.student: Decoder = make_decoder(student, prompt_ids, **sizes)
            with self.clock.phase("verify"):
                self.teacher: Decoder = make_decoder(
                    teacher, prompt_ids, keep_hidden=keep_teacher_hidden, **sizes
                )

    def play(self) -> list[Rollout]:
        """Every block at once."""
        with sampling_mode(*self.models):
            while self._next_block():
                pass
        return self.ledger.rollouts()

    def stream(self) -> Iterator[list[Rollout]]:
        """The rollouts so far, after every block; the last are what play returns."""
        going = True
        while going:
            # entered for each block: whoever reads the stream keeps gradients and modes of his own
            with sampling_mode(*self.models):
                going = self._next_block()
            yield self.ledger.rollouts()

    def _next_block(self) -> bool:
        """One block of every active row; True while a row goes on."""
        with self.clock.phase("draft"):
            proposals, student_logits = self._draft()
        with self.clock.phase("verify"):
            self._verify(proposals, student_logits)
            going = self.ledger.leave([self.student, self.teacher])
        self.block += 1
        return going

    def _draft(self) -> tuple[Int[Tensor, "rows width"], Float[Tensor, "rows width vocab"]]:
        """The student's next gamma proposals; fewer if every row has reached eos or its limit."""
        ledger, furthest = self.ledger, self.ledger.furthest
        token, position = ledger.last[ledger.active], ledger.position()
        width = min(self.gamma, ledger.most_remaining)
        steps = torch.arange(width, device=ledger.device)
        numbers = self._uniforms(self._places(steps))[0].unbind(dim=1)
        going = ledger.remaining() > 0
        proposals, logits = [], []
        for step in range(width):
            seen, _ = self.student.feed(token[:, None], position + step, furthest + step)
            token = sample(seen[:, 0], self.rule.proposal_policy, numbers[step], checked=self.waits)
            proposals.append(token)
            logits.append(seen)
            if self.waits and len(ledger.eos) > 0:
                going = going & ~ledger.is_eos(token)
                if not (going & (ledger.remaining() > step + 1)).any():
                    break
        if self.bonus and len(proposals) == self.gamma < ledger.most_remaining:
            # the next block may start behind a bonus token: nothing before it may be missing
            self.student.feed(token[:, None], position + self.gamma, furthest + self.gamma)
        seen = torch.cat(logits, dim=1)
        if not self.waits:
            refuse_non_finite(seen)
        return torch.stack(proposals, dim=1), seen

    def _verify(
        self,
        proposals: Int[Tensor, "rows width"],
        student_logits: Float[Tensor, "rows width vocab"],
    ) -> None:
        """One teacher forward judges the block; the ledger keeps what stands, and one more."""
        ledger, width = self.ledger, proposals.shape[1]
        fed = torch.cat([ledger.last[ledger.active, None], proposals], dim=1)
        # without a bonus the last proposal is judged, but never fed
        logits, hidden = self.teacher.feed(
            fed[:, : width + self.bonus], ledger.position(), ledger.furthest
        )
        places = self._places(torch.arange(width, device=ledger.device))
        block = Block(
            proposals=proposals,
            student_logits=student_logits,
            teacher_logits=logits[:, :width],
            places=places,
            uniforms=self._uniforms(places),
        )
        accepted = self.rule.accepts(block)
        drafted = _first(ledger.is_eos(proposals), width - 1) + 1  # the student stops at its eos
        drafted = torch.minimum(drafted, ledger.remaining())
        refused_at = _first(~accepted, width)
        count = torch.minimum(refused_at + 1, drafted)
        if self._acceptance is not None:
            self.gamma = self._acceptance.after(count, refused_at < drafted)
        kept, by_teacher = self._replace(block, refused_at, refused_at < drafted)
        ledger.throw(proposals, count, drafted)
        columns = {
            "kept_id": kept,
            "proposed_id": proposals,
            "teacher_rank": block.rank,
            "by_teacher": by_teacher,
            "student_log_prob": token_log_probs(student_logits, kept),
            "teacher_log_prob": token_log_probs(block.teacher_logits, kept),
        }
        if self.bonus:
            count = self._add_bonus(columns, logits[:, width], count, accepted.all(dim=1))
        ledger.write(
            count,
            teacher_hidden=hidden,
            block=torch.full_like(columns["kept_id"], self.block),
            **columns,
        )

    def _replace(
        self,
        block: Block,
        refused_at: Int[Tensor, " rows"],
        refused: Bool[Tensor, " rows"],
    ) -> tuple[Int[Tensor, "rows width"], Bool[Tensor, "rows width"]]:
        """Put the rule's token in the place of each row's first refused proposal."""
        kept = block.proposals.clone()
        by_teacher = torch.zeros_like(kept, dtype=torch.bool)
        # a draw costs a CPU more than a look; an accelerator draws for all rather than wait
        rows = refused.nonzero().squeeze(1) if self.waits else torch.arange(len(refused))
        if len(rows) > 0:
            rows = rows.to(kept.device)
            columns = refused_at[rows].clamp(max=kept.shape[1] - 1)
            drawn, asked = self.rule.replacement(block.at(rows, columns))[:, 0], refused[rows]
            kept[rows, columns] = torch.where(asked, drawn, kept[rows, columns])
            by_teacher[rows, columns] = asked
        return kept, by_teacher

    def _add_bonus(
        self,
        columns: dict[str, Tensor],
        logits: Float[Tensor, "rows vocab"],
        count: Int[Tensor, " rows"],
        stands: Bool[Tensor, " rows"],
    ) -> Int[Tensor, " rows"]:
        """One more column: the teacher's own draw where a block stands whole and may go on."""
        ledger, width = self.ledger, columns["kept_id"].shape[1]
        place = self._places(width)
        ids = sample(logits, self.rule.teacher_policy, self._uniforms(place)[1])
        more = {
            "kept_id": ids,
            "proposed_id": torch.full_like(ids, -1),
            "teacher_rank": torch.zeros_like(ids),
            "by_teacher": torch.ones_like(ids, dtype=torch.bool),
            "student_log_prob": torch.full_like(ids, torch.nan, dtype=torch.float32),
            "teacher_log_prob": token_log_probs(logits, ids),
        }
        ended = ledger.is_eos(columns["kept_id"][:, -1]) | (ledger.remaining() <= width)
        for name, values in more.items():
            columns[name] = torch.cat([columns[name], values[:, None].to(columns[name])], dim=1)
        return count + (stands & (count == width) & ~ended)

    def _places(self, steps: int | Int[Tensor, " width"]) -> Int[Tensor, "rows ..."]:
        """Positions in the completion, some steps ahead of each active row's end."""
        length = self.ledger.length[self.ledger.active]
        ahead = length + steps if isinstance(steps, int) else length[:, None] + steps
        return ahead.clamp(max=self.ledger.limit - 1)  # surplus behind the limit is never kept

    def _uniforms(self, places: Int[Tensor, "rows ..."]) -> Float[Tensor, "2 rows ..."]:
        """Both numbers of each active row's places."""
        rows = self.ledger.active.view(-1, *[1] * (places.dim() - 1))
        return self.uniforms[:, rows, places]


class _Acceptance:
    """The running share of proposals that stood, and the draft length that follows from it.

    A function of the text alone, so that a trace's blocks do not depend on the machine.
    """

    def __init__(self) -> None:
        # what 5 would follow from, with the weight of about 8 blocks
        self.verified, self.accepted = 40.0, 40 * 0.5 ** (1 / 4)

    @property
    def gamma(self) -> int:
        rate = min(self.accepted / self.verified, 0.999)
        return min(_LONGEST, 1 + round(math.log(0.5) / math.log(rate)))

    def after(self, kept: Int[Tensor, " rows"], refused: Bool[Tensor, " rows"]) -> int:
        """The next block's gamma."""
        verified, thrown = int(kept.sum()), int(refused.sum())
        self.verified += verified
        self.accepted += verified - thrown
        return self.gamma


def _first(mask: Bool[Tensor, "rows width"], otherwise: int) -> Int[Tensor, " rows"]:
    """Index of the first True of each row."""
    return torch.where(mask.any(dim=1), mask.to(torch.int8).argmax(dim=1), otherwise)


def _check_vocabularies(
    student: PreTrainedModel, teacher: PreTrainedModel, vocab_size: int | None
) -> None:
    sizes = [model.config.get_text_config().vocab_size for model in (student, teacher)]
    if vocab_size is None and sizes[0] != sizes[1]:
        raise UsageError(
            f"The student has {sizes[0]} logits and the teacher {sizes[1]}. If their tokenizers "
            "agree (as Qwen's 151936 and 152064 do), pass vocab_size = the number of ids both "
            "share; load_pair finds it."
        )
    if vocab_size is not None and not 1 <= vocab_size <= min(sizes):
        raise UsageError(
            f"vocab_size must be between 1 and {min(sizes)}, the smaller model's, got {vocab_size}."
        )
