"""Completions by one hand: the student, the teacher, or the data set's reference."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.clock import PhaseClock
from skd_lab.decode import check_request, sampling_mode
from skd_lab.decoders import make_decoder
from skd_lab.errors import UsageError
from skd_lab.ledger import Ledger
from skd_lab.records import REFERENCE, Rollout, TokenTrace
from skd_lab.sampling import SamplingPolicy, sample, token_log_probs


def student_rollout(
    student: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    policy: SamplingPolicy,
    uniforms: Float[Tensor, "rows tokens"],
    eos_token_ids: Sequence[int],
    vocab_size: int | None = None,
    batch_size: int | None = None,
    clock: PhaseClock | None = None,
    first_row: int = 0,
) -> list[Rollout]:
    """Completions drawn from the student alone (on-policy KD, Agarwal et al. 2024).

    Args:
        student: a transformers causal language model; its mode is left as found.
        prompt_ids: one id list a prompt, from 1 token each.
        max_new_tokens: completion length limit, tokens.
        policy: how the student draws.
        uniforms: draw_uniforms(...)[0]; position t of row b uses uniforms[b, t].
        eos_token_ids: any of these ends a row.
        vocab_size: logits are cut to the first ids (the real ones); None keeps all.
        batch_size: rows decoded at once; None takes all. Changes cost, not text.
        clock: books wall seconds under "draft".
        first_row: global number of the first row, for the records.

    Raises:
        UsageError: for a request that cannot end well (see decode.check_request).
    """
    return _alone(
        student,
        prompt_ids,
        by_teacher=False,
        keep_hidden=False,
        max_new_tokens=max_new_tokens,
        policy=policy,
        uniforms=uniforms,
        eos_token_ids=eos_token_ids,
        vocab_size=vocab_size,
        batch_size=batch_size,
        clock=clock,
        first_row=first_row,
    )


def teacher_rollout(
    teacher: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    policy: SamplingPolicy,
    uniforms: Float[Tensor, "rows tokens"],
    eos_token_ids: Sequence[int],
    vocab_size: int | None = None,
    batch_size: int | None = None,
    keep_teacher_hidden: bool = False,
    clock: PhaseClock | None = None,
    first_row: int = 0,
) -> list[Rollout]:
    """Completions drawn from the teacher alone (seq_kd, teacher_kd: the K -> 0 end of SKD).

    As student_rollout, with uniforms = draw_uniforms(...)[1].

    Args:
        keep_teacher_hidden: keep the teacher's last hidden state of every kept token, so that
            a loss needs no second teacher forward.
    """
    return _alone(
        teacher,
        prompt_ids,
        by_teacher=True,
        keep_hidden=keep_teacher_hidden,
        max_new_tokens=max_new_tokens,
        policy=policy,
        uniforms=uniforms,
        eos_token_ids=eos_token_ids,
        vocab_size=vocab_size,
        batch_size=batch_size,
        clock=clock,
        first_row=first_row,
    )


def reference_rollout(
    prompt_ids: Sequence[Sequence[int]],
    reference_ids: Sequence[Sequence[int] | Int[Tensor, " tokens"]],
    eos_token_ids: Sequence[int],
    first_row: int = 0,
) -> list[Rollout]:
    """The data set's answers as rollouts: nothing is drawn (SFT, supervised KD).

    Args:
        prompt_ids: one id list a prompt.
        reference_ids: one id list an answer, with its eos.
        eos_token_ids: tells whether an answer is finished or was cut.

    Raises:
        UsageError: if the two lists differ in length, or an answer has no token.
    """
    if len(prompt_ids) != len(reference_ids):
        raise UsageError(
            f"Each prompt needs one reference: got {len(prompt_ids)} prompts and "
            f"{len(reference_ids)} references."
        )
    rollouts = []
    for row, (prompt, answer) in enumerate(zip(prompt_ids, reference_ids, strict=True)):
        ids = torch.as_tensor(answer, dtype=torch.long)
        if len(ids) == 0:
            raise UsageError(f"The reference of prompt {row} is empty: nothing to train on.")
        nothing = torch.full((len(ids),), float("nan"))
        trace = TokenTrace(
            source=[REFERENCE] * len(ids),
            proposed_id=torch.full_like(ids, -1),
            kept_id=ids,
            teacher_rank=torch.zeros_like(ids),
            student_log_prob=nothing,
            teacher_log_prob=nothing.clone(),
            block=torch.full_like(ids, -1),
            discarded=[[] for _ in ids],
        )
        rollouts.append(
            Rollout(
                prompt_ids=list(prompt),
                completion_ids=ids.clone(),
                trace=trace,
                finished=int(ids[-1]) in set(eos_token_ids),
                row=first_row + row,
            )
        )
    return rollouts


def _alone(
    model: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    *,
    by_teacher: bool,
    keep_hidden: bool,
    max_new_tokens: int,
    policy: SamplingPolicy,
    uniforms: Tensor,
    eos_token_ids: Sequence[int],
    vocab_size: int | None,
    batch_size: int | None,
    clock: PhaseClock | None,
    first_row: int,
) -> list[Rollout]:
    """One model writes everything, token by token."""
    check_request([model], prompt_ids, max_new_tokens, uniforms)
    clock = clock or PhaseClock()
    uniforms = uniforms.to(model.device)
    rollouts: list[Rollout] = []
    size = batch_size or len(prompt_ids)
    with sampling_mode(model), clock.phase("draft"):
        for start in range(0, len(prompt_ids), size):
            prompts = prompt_ids[start : start + size]
            own = uniforms[start : start + size]
            ledger = Ledger(prompts, max_new_tokens, eos_token_ids, first_row + start, model.device)
            decoder = make_decoder(
                model,
                prompts,
                max_new_tokens=max_new_tokens,
                vocab_size=vocab_size,
                keep_hidden=keep_hidden,
            )
            going = True
            while going:
                rows = ledger.active
                logits, hidden = decoder.feed(
                    ledger.last[rows, None], ledger.position(), ledger.furthest
                )
                ids = sample(logits[:, 0], policy, own[rows, ledger.length[rows]])[:, None]
                log_prob = token_log_probs(logits, ids)
                ledger.write(
                    torch.ones_like(rows),
                    teacher_hidden=hidden,
                    kept_id=ids,
                    by_teacher=torch.full_like(ids, by_teacher, dtype=torch.bool),
                    **{"teacher_log_prob" if by_teacher else "student_log_prob": log_prob},
                    **({} if by_teacher else {"proposed_id": ids}),
                )
                going = ledger.leave([decoder])
            rollouts += ledger.rollouts()
    return rollouts
