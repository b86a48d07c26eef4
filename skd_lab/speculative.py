"""Algorithm 1 of Speculative Knowledge Distillation (arXiv 2410.11325): the interleaved rollout.

The student proposes each token. It stands if the teacher ranks it among its own top K, else a
token drawn from the teacher takes its place. The paper writes it token by token; here the
student drafts gamma tokens and the teacher judges them in one forward. That changes the cost
alone: position t of row b uses its own two uniforms whatever the block it fell into.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.cache import supports_rollback
from skd_lab.clock import PhaseClock
from skd_lab.decode import Decoder, check_request, make_decoder, sampling_mode
from skd_lab.errors import UsageError
from skd_lab.ledger import Ledger
from skd_lab.records import Rollout
from skd_lab.rollout import token_log_probs
from skd_lab.sampling import SamplingPolicy, sample, teacher_rank


def interleaved_rollout(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    *,
    accept_top_k: int,
    gamma: int = 5,
    max_new_tokens: int,
    eos_token_ids: Sequence[int],
    student_policy: SamplingPolicy,
    teacher_policy: SamplingPolicy,
    uniforms: Float[Tensor, "2 rows tokens"],
    vocab_size: int | None = None,
    batch_size: int | None = None,
    keep_teacher_hidden: bool = False,
    clock: PhaseClock | None = None,
    first_row: int = 0,
) -> list[Rollout]:
    """Completions the student proposes and the teacher corrects (Xu et al. 2025, Algorithm 1).

    The tested token is the kept token; its rank is taken on raw teacher logits, ties by lower
    id; a replacement is a plain draw from the teacher under teacher_policy; there is no bonus
    token after a fully accepted block, or gamma would change the text.

    Args:
        student: a transformers causal language model; its mode is left as found.
        teacher: likewise, with the same token ids.
        prompt_ids: one id list a prompt, from 1 token each.
        accept_top_k: K, a proposal stands if its teacher rank is at most K. K >= vocabulary is
            student_rollout id for id; K = 1 with a greedy teacher is the teacher's greedy text.
        gamma: draft block size, tokens. Changes cost, not text. Models whose state cannot be
            rolled back (linear attention) are run with 1.
        max_new_tokens: completion length limit, tokens.
        eos_token_ids: any of these ends a row, also in mid-block.
        student_policy: how proposals are drawn.
        teacher_policy: how replacements are drawn.
        uniforms: draw_uniforms(...): student's numbers, teacher's numbers.
        vocab_size: logits are cut to the first ids, those both models share; None keeps all.
        batch_size: rows decoded at once; None takes all. Changes cost, not text.
        keep_teacher_hidden: keep the teacher's last hidden state of every kept token, so that
            a loss needs no second teacher forward.
        clock: books wall seconds under "draft" and "verify".
        first_row: global number of the first row, for the records.

    Raises:
        UsageError: for a request that cannot end well.
    """
    check_request([student, teacher], prompt_ids, max_new_tokens, uniforms)
    _check_numbers(accept_top_k, gamma)
    _check_vocabularies(student, teacher, vocab_size)
    if not (supports_rollback(student.config) and supports_rollback(teacher.config)):
        gamma = 1  # then no token enters a state before it is kept
    clock = clock or PhaseClock()
    uniforms = uniforms.to(student.device)
    rollouts: list[Rollout] = []
    size = batch_size or len(prompt_ids)
    with sampling_mode(student, teacher):
        for start in range(0, len(prompt_ids), size):
            game = _Interleaving(
                student,
                teacher,
                Ledger(
                    prompt_ids[start : start + size],
                    max_new_tokens,
                    eos_token_ids,
                    first_row + start,
                    student.device,
                ),
                accept_top_k=accept_top_k,
                gamma=gamma,
                policies=(student_policy, teacher_policy),
                uniforms=uniforms[:, start : start + size],
                vocab_size=vocab_size,
                keep_teacher_hidden=keep_teacher_hidden,
                clock=clock,
            )
            rollouts += game.play()
    return rollouts


class _Interleaving:
    """One batch of Algorithm 1: draft, verify, keep, until every row has stopped."""

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        ledger: Ledger,
        *,
        accept_top_k: int,
        gamma: int,
        policies: tuple[SamplingPolicy, SamplingPolicy],
        uniforms: Tensor,
        vocab_size: int | None,
        keep_teacher_hidden: bool,
        clock: PhaseClock,
    ) -> None:
        self.ledger, self.clock = ledger, clock
        self.accept_top_k, self.gamma = accept_top_k, gamma
        self.student_policy, self.teacher_policy = policies
        self.uniforms = uniforms
        self.block = 0
        with clock.phase("draft"):
            self.student: Decoder = make_decoder(
                student, ledger.prompts, max_new_tokens=ledger.limit, vocab_size=vocab_size
            )
        with clock.phase("verify"):
            self.teacher: Decoder = make_decoder(
                teacher,
                ledger.prompts,
                max_new_tokens=ledger.limit,
                vocab_size=vocab_size,
                keep_hidden=keep_teacher_hidden,
            )

    def play(self) -> list[Rollout]:
        going = True
        while going:
            with self.clock.phase("draft"):
                proposals, student_logits = self._draft()
            with self.clock.phase("verify"):
                self._verify(proposals, student_logits)
                going = self.ledger.leave([self.student, self.teacher])
            self.block += 1
        return self.ledger.rollouts()

    def _draft(self) -> tuple[Int[Tensor, "rows width"], Float[Tensor, "rows width vocab"]]:
        """The student's next gamma proposals; fewer if every row has reached eos or its limit."""
        ledger = self.ledger
        token, position = ledger.last[ledger.active], ledger.position()
        remaining = ledger.remaining()
        proposals, logits = [], []
        for step in range(self.gamma):
            seen, _ = self.student.feed(token[:, None], position + step)
            token = sample(seen[:, 0], self.student_policy, self._uniforms(0, step))
            proposals.append(token)
            logits.append(seen)
            remaining = torch.where(ledger.is_eos(token), 0, remaining - 1)
            if not (remaining > 0).any():
                break
        return torch.stack(proposals, dim=1), torch.cat(logits, dim=1)

    def _verify(
        self,
        proposals: Int[Tensor, "rows width"],
        student_logits: Float[Tensor, "rows width vocab"],
    ) -> None:
        """One teacher forward judges the block; the ledger keeps what stands, and one more."""
        ledger, width = self.ledger, proposals.shape[1]
        # no bonus token: the last proposal is judged, but never fed
        fed = torch.cat([ledger.last[ledger.active, None], proposals[:, :-1]], dim=1)
        logits, hidden = self.teacher.feed(fed, ledger.position())
        rank = teacher_rank(logits, proposals)
        accepted = rank <= self.accept_top_k
        drafted = _first(ledger.is_eos(proposals), width - 1) + 1  # the student stops at its eos
        drafted = torch.minimum(drafted, ledger.remaining())
        refused_at = _first(~accepted, width)
        count = torch.minimum(refused_at + 1, drafted)
        kept, by_teacher = self._replace(proposals, logits, refused_at, refused_at < drafted)
        self._remember_discarded(proposals, count, drafted)
        ledger.write(
            count,
            teacher_hidden=hidden,
            kept_id=kept,
            proposed_id=proposals,
            teacher_rank=rank,
            by_teacher=by_teacher,
            block=torch.full_like(proposals, self.block),
            student_log_prob=token_log_probs(student_logits, kept),
            teacher_log_prob=token_log_probs(logits, kept),
        )

    def _replace(
        self,
        proposals: Int[Tensor, "rows width"],
        logits: Float[Tensor, "rows width vocab"],
        refused_at: Int[Tensor, " rows"],
        refused: Bool[Tensor, " rows"],
    ) -> tuple[Int[Tensor, "rows width"], Bool[Tensor, "rows width"]]:
        """Put the teacher's own draw in the place of each row's first refused proposal."""
        kept, by_teacher = proposals.clone(), torch.zeros_like(proposals, dtype=torch.bool)
        rows = refused.nonzero().squeeze(1)
        if len(rows) > 0:
            places = refused_at[rows]
            uniforms = self._uniforms(1, refused_at.clamp(max=proposals.shape[1] - 1))[rows]
            kept[rows, places] = sample(logits[rows, places], self.teacher_policy, uniforms)
            by_teacher[rows, places] = True
        return kept, by_teacher

    def _remember_discarded(
        self,
        proposals: Int[Tensor, "rows width"],
        count: Int[Tensor, " rows"],
        drafted: Int[Tensor, " rows"],
    ) -> None:
        ledger = self.ledger
        behind = (drafted > count).nonzero().squeeze(1).tolist()
        for index in behind:
            row, kept = int(ledger.active[index]), int(count[index])
            thrown = proposals[index, kept : int(drafted[index])].tolist()
            ledger.discarded[row][int(ledger.length[row]) + kept - 1] = thrown

    def _uniforms(self, role: int, step: int | Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Each active row's number for its position step tokens ahead."""
        ledger = self.ledger
        place = (ledger.length[ledger.active] + step).clamp(max=ledger.limit - 1)
        return self.uniforms[role, ledger.active, place]


def _first(mask: Bool[Tensor, "rows width"], otherwise: int) -> Int[Tensor, " rows"]:
    """Index of the first True of each row."""
    return torch.where(mask.any(dim=1), mask.to(torch.int8).argmax(dim=1), otherwise)


def _check_numbers(accept_top_k: int, gamma: int) -> None:
    if accept_top_k < 1:
        raise UsageError(
            f"accept_top_k must be at least 1, got {accept_top_k}. For text by the teacher alone "
            "use teacher_rollout."
        )
    if gamma < 1:
        raise UsageError(f"gamma must be at least 1 (token by token), got {gamma}.")


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
