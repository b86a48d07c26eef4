"""AdaSwitch: the student begins, the teacher ends (after arXiv 2510.07842, 2025).

The student writes until the distance to the teacher leaps above its running mean; from there the
teacher writes the rest. One switch a text, where SKD decides anew at every token.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skd_lab.batch import collate, completion_hidden
from skd_lab.decode import sampling_mode
from skd_lab.errors import UsageError
from skd_lab.family.card import Card, register_card
from skd_lab.losses import forward_kl
from skd_lab.methods import Method, register
from skd_lab.projection import Projection
from skd_lab.records import TEACHER, Rollout, TokenTrace
from skd_lab.rollout import student_rollout, teacher_rollout
from skd_lab.sources import RolloutRequest
from skd_lab.sources import register as register_source

SETTINGS = {"factor": 3.0, "window": 8}
"""How many times its running mean the distance has to be; tokens of that mean."""


def switch_at(distances: Sequence[float], factor: float, window: int) -> int:
    """The first place whose distance is above factor * the mean of the ones before it.

    Args:
        distances: of every token, nats.
        factor: K.
        window: how many places before it the mean takes; a place needs all of them.

    Returns:
        An index, or the number of tokens if the student may write all of it.
    """
    for place in range(window, len(distances)):
        mean = sum(distances[place - window : place]) / window
        if distances[place] > factor * mean:
            return place
    return len(distances)


def switched(request: RolloutRequest) -> list[Rollout]:
    """Completions that the student began and, from the switch on, the teacher wrote to the end."""
    factor, window = request.settings["factor"], int(request.settings["window"])
    if not factor > 0 or window < 1:
        raise UsageError(
            f"factor must be above 0 and window at least 1, got {factor:g} and {window}."
        )
    settings: dict[str, Any] = {
        "eos_token_ids": request.eos_token_ids,
        "vocab_size": request.vocab_size,
        "clock": request.clock,
    }
    begun = student_rollout(
        request.student,
        request.prompt_ids,
        max_new_tokens=request.max_new_tokens,
        policy=request.student_policy,
        uniforms=request.uniforms[0],
        **settings,
    )
    with request.clock.phase("verify"):
        apart = _distances(request, begun)
    rollouts = list(begun)
    for place, (rollout, distances) in enumerate(zip(begun, apart, strict=True)):
        kept = switch_at(distances.tolist(), factor, window)
        if kept == len(distances):
            continue
        written = rollout.completion_ids[:kept].tolist()
        # a row at a time: what is left differs, and position t keeps its own uniform
        (ending,) = teacher_rollout(
            request.teacher,
            [[*request.prompt_ids[place], *written]],
            max_new_tokens=request.max_new_tokens - kept,
            policy=request.teacher_policy,
            uniforms=request.uniforms[1, place : place + 1, kept:],
            **settings,
        )
        rollouts[place] = _joined(rollout, ending, kept)
    return rollouts


@torch.no_grad()
def _distances(request: RolloutRequest, rollouts: Sequence[Rollout]) -> Sequence[Tensor]:
    """KL(teacher || student) at every token, a row each."""
    found = []
    batch = collate(rollouts, pad_id=0).to(request.student.device)
    for model in (request.student, request.teacher):
        with sampling_mode(model):
            hidden = completion_hidden(model, batch.to(model.device))
        logits = Projection.of(model, request.vocab_size).logits(hidden)
        found.append(torch.log_softmax(logits, -1).to(batch.input_ids.device))
    return forward_kl(*found).cpu().split(batch.lengths.tolist())


def _joined(begun: Rollout, ending: Rollout, kept: int) -> Rollout:
    """The first tokens of one text and all of the other, as one."""
    first, last = begun.trace, ending.trace
    columns: dict[str, Any] = {}
    for column in dataclasses.fields(TokenTrace):
        mine, theirs = getattr(first, column.name)[:kept], getattr(last, column.name)
        joined = torch.cat([mine, theirs]) if isinstance(mine, Tensor) else [*mine, *theirs]
        columns[column.name] = joined
    assert columns["source"][kept:] == [TEACHER] * len(last)
    # paid for all the same
    columns["discarded"][kept - 1] = begun.completion_ids[kept:].tolist()
    return dataclasses.replace(
        begun,
        completion_ids=columns["kept_id"].clone(),
        trace=TokenTrace(**columns),
        finished=ending.finished,
    )


register_source("switched", switched)
register(
    Method(
        name="adaswitch",
        completions=("switched",),
        objectives=("forward_kl", "reverse_kl", "generalized_jsd"),
        settings=SETTINGS,
        source="after arXiv 2510.07842",
        summary="The student writes until it strays from the teacher, who writes the rest.",
    )
)
register_card(
    Card(
        name="adaswitch",
        group="neighbour",
        title="AdaSwitch: one switch a text",
        paper="after arXiv 2510.07842 (2025)",
        sentences=(
            "The student writes until its distance to the teacher leaps above the running mean of "
            "the last tokens; the teacher writes the rest.",
            "The sequence-level cousin of SKD, which swaps single tokens and lets the student go "
            "on behind each.",
        ),
        equation=r"s = \min\{t : d_t > K \cdot \overline{d}_{t-w..t-1}\},\quad "
        r"y_{<s} \sim q,\ y_{\ge s} \sim p",
        statement="With a huge factor the text is on_policy_kd's; every token before the switch "
        "is the student's, every one behind it the teacher's.",
        control="skd (a decision a token), and on_policy_kd (none)",
        choices=(
            "K and the window are not to be had: 3 and 8 tokens here",
            "the distance is forward KL, on a text the student wrote to the end first",
        ),
        command="skd-lab train --method adaswitch --settings factor=3",
    )
)
