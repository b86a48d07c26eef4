"""One window of prompts: what is asked of the sources for it, and what was measured on it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator

from skd_lab.config import RunConfig
from skd_lab.encode import Encoded
from skd_lab.metrics import written_tokens
from skd_lab.models import Pair
from skd_lab.records import Rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms, mixing_uniforms
from skd_lab.sources import RolloutRequest
from skd_lab.step import WindowStats


def window_request(
    config: RunConfig,
    pair: Pair,
    chosen: Sequence[Encoded],
    *,
    first_row: int,
    done: int,
    **others: Any,
) -> RolloutRequest:
    """What a process asks of a method's sources for its share of a window.

    Args:
        config: of the run.
        pair: the models.
        chosen: the prompts.
        first_row: global number of the first one's visit; it keys all that is random.
        done: updates done.
        others: of the request's fields, those that no configuration holds.
    """
    return RolloutRequest(
        student=pair.student,
        teacher=pair.teacher,
        prompt_ids=[row.prompt_ids for row in chosen],
        reference_ids=[row.reference_ids for row in chosen],
        rows=range(first_row, first_row + len(chosen)),
        mixing=mixing_uniforms(config.seed, len(chosen), first_row=first_row),
        progress=done / config.steps,
        accept_top_k=config.top_k_at(done),
        gamma=config.gamma,
        replacement=config.replacement,
        variant=config.variant,
        max_new_tokens=config.max_new_tokens,
        eos_token_ids=pair.eos_token_ids,
        student_policy=SamplingPolicy(**config.policy("student")),
        teacher_policy=SamplingPolicy(**config.policy("teacher")),
        uniforms=draw_uniforms(
            config.seed, len(chosen), config.max_new_tokens, first_row=first_row
        ),
        vocab_size=pair.vocab_size,
        **others,
    )


def write_in_parts(
    write: Callable[[RolloutRequest], list[Rollout]], request: RolloutRequest, rows: int
) -> list[Rollout]:
    """The request's completions, so many rows at a time: other cost, the same texts."""
    count = len(request.rows)
    if rows >= count:
        return write(request)
    starts = range(0, count, rows)
    parts = [request.only(range(start, min(start + rows, count))) for start in starts]
    return [rollout for part in parts for rollout in write(part)]


def measured(
    accelerator: Accelerator, rollouts: Sequence[Rollout], stats: WindowStats
) -> dict[str, float]:
    """A step record's numbers about a window's texts and their loss, over all processes."""
    mine = [
        sum(rollout.verified for rollout in rollouts),
        sum(rollout.accepted for rollout in rollouts),
        sum(rollout.replaced for rollout in rollouts),
        sum(len(rollout.completion_ids) for rollout in rollouts),
        sum(bool(rollout.finished) for rollout in rollouts),
        len(rollouts),
        *(int(count) for count in written_tokens(rollouts).values()),
    ]
    counts = torch.tensor(mine, device=accelerator.device)
    verified, accepted, replaced, tokens, finished, rows, by_student, by_teacher = (
        accelerator.reduce(counts, reduction="sum").tolist()
    )
    return {
        "loss": stats.loss,
        "replacement_rate": replaced / tokens if verified else math.nan,
        "acceptance_rate": accepted / verified if verified else math.nan,
        "completion_tokens": stats.tokens,
        "student_tokens": by_student,
        "teacher_tokens": by_teacher,
        "mean_length": tokens / rows,
        "finished": finished / rows,
        "student_entropy": stats.student_entropy,
        "teacher_nll": stats.teacher_nll,
    }
