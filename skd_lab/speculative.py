"""Algorithm 1 of Speculative Knowledge Distillation (arXiv 2410.11325), and the lossless rule.

The student proposes each token. It stands if the teacher ranks it among its own top K, else a
token drawn from the teacher takes its place. The paper writes it token by token; here the
student drafts gamma tokens and the teacher judges them in one forward. That changes the cost
alone: position t of row b uses its own two uniforms whatever the block it fell into.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.acceptance import LosslessRule, Rule, TopKRule
from skd_lab.clock import PhaseClock
from skd_lab.decode import check_request
from skd_lab.drafting import DraftAndVerify
from skd_lab.records import Rollout
from skd_lab.sampling import SamplingPolicy


def interleaved_rollout(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    *,
    accept_top_k: int | Sequence[int],
    gamma: int | str = 5,
    max_new_tokens: int,
    eos_token_ids: Sequence[int],
    student_policy: SamplingPolicy,
    teacher_policy: SamplingPolicy,
    uniforms: Float[Tensor, "2 rows tokens"],
    replacement: str = "teacher_sample",
    variant: str = "paper",
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
            A list gives every position its own K; behind its end the last one goes on.
        gamma: draft block size, tokens, or "adaptive": by the acceptance so far (drafting.py).
            Changes cost, not text. Models whose state cannot be rolled back (linear attention)
            are run with 1.
        max_new_tokens: completion length limit, tokens.
        eos_token_ids: any of these ends a row, also in mid-block.
        student_policy: how proposals are drawn.
        teacher_policy: how replacements are drawn.
        uniforms: draw_uniforms(...): student's numbers, teacher's numbers.
        replacement: "teacher_sample", "teacher_argmax" or "student_in_top_k" (acceptance.py); the
            trace calls each of them the teacher's token, as the teacher put it there.
        variant: "paper", or "released": the published code's decisions, for study (TopKRule).
        vocab_size: logits are cut to the first ids, those both models share; None keeps all.
        batch_size: rows decoded at once; None takes all. Changes cost, not text.
        keep_teacher_hidden: keep the teacher's last hidden state of every kept token, so that
            a loss needs no second teacher forward.
        clock: books wall seconds under "draft" and "verify".
        first_row: global number of the first row, for the records.

    Raises:
        UsageError: for a request that cannot end well.
    """
    rule = TopKRule(
        accept_top_k,
        student_policy=student_policy,
        teacher_policy=teacher_policy,
        replacement=replacement,
        variant=variant,
    )
    return _in_batches(
        student,
        teacher,
        prompt_ids,
        rule,
        batch_size=batch_size,
        gamma=gamma,
        max_new_tokens=max_new_tokens,
        eos_token_ids=eos_token_ids,
        uniforms=uniforms,
        vocab_size=vocab_size,
        keep_teacher_hidden=keep_teacher_hidden,
        clock=clock,
        first_row=first_row,
    )


def speculative_rollout(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    *,
    gamma: int | str = 5,
    max_new_tokens: int,
    eos_token_ids: Sequence[int],
    student_policy: SamplingPolicy,
    teacher_policy: SamplingPolicy,
    uniforms: Float[Tensor, "2 rows tokens"],
    bonus: bool = True,
    vocab_size: int | None = None,
    batch_size: int | None = None,
    clock: PhaseClock | None = None,
    first_row: int = 0,
) -> list[Rollout]:
    """The teacher's own text, drafted by the student: lossless speculative decoding.

    A proposal stands with probability min(1, p/q), a refused one is replaced by a draw from the
    normalised max(0, p - q) (Leviathan et al. 2023; Chen et al. 2023). The text follows the
    teacher's distribution exactly, which is why SKD does not use this rule: what it would train
    on is the teacher's text, whoever proposed it.

    Args and errors are those of interleaved_rollout. The text's law never depends on gamma; with
    the usual bonus token the text itself does, because that token is drawn without a proposal.

    Args:
        bonus: draw one more token from the teacher after a block that stands whole. Its trace has
            proposed_id -1 and rank 0: nothing was verified there.
    """
    return _in_batches(
        student,
        teacher,
        prompt_ids,
        LosslessRule(student_policy=student_policy, teacher_policy=teacher_policy, bonus=bonus),
        batch_size=batch_size,
        gamma=gamma,
        max_new_tokens=max_new_tokens,
        eos_token_ids=eos_token_ids,
        uniforms=uniforms,
        vocab_size=vocab_size,
        clock=clock,
        first_row=first_row,
    )


def stream_rollout(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    prompt: Sequence[int],
    *,
    accept_top_k: int | Sequence[int],
    student_policy: SamplingPolicy,
    teacher_policy: SamplingPolicy,
    replacement: str = "teacher_sample",
    variant: str = "paper",
    gamma: int | str = 5,
    **settings: Any,
) -> Iterator[Rollout]:
    """interleaved_rollout of one prompt, block by block.

    Args:
        prompt: the ids of one prompt.
        settings: as interleaved_rollout takes them (max_new_tokens, eos_token_ids, uniforms ...).

    Yields:
        The rollout so far, after every block of up to gamma tokens; the last one is what
        interleaved_rollout returns. Stop reading to stop the models.

    Raises:
        UsageError: for a request that cannot end well, at the call.
    """
    rule = TopKRule(
        accept_top_k,
        student_policy=student_policy,
        teacher_policy=teacher_policy,
        replacement=replacement,
        variant=variant,
    )
    game = DraftAndVerify(student, teacher, [prompt], rule, gamma=gamma, **settings)
    return (rollouts[0] for rollouts in game.stream())


def _in_batches(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    rule: Rule,
    *,
    batch_size: int | None,
    max_new_tokens: int,
    uniforms: Tensor,
    first_row: int,
    **settings: Any,
) -> list[Rollout]:
    check_request([student, teacher], prompt_ids, max_new_tokens, uniforms)
    size = batch_size or len(prompt_ids)
    rollouts: list[Rollout] = []
    for start in range(0, len(prompt_ids), size):
        rollouts += DraftAndVerify(
            student,
            teacher,
            prompt_ids[start : start + size],
            rule,
            max_new_tokens=max_new_tokens,
            uniforms=uniforms[:, start : start + size],
            first_row=first_row + start,
            **settings,
        ).play()
    return rollouts
