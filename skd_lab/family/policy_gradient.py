"""On-policy distillation by policy gradient, after Thinking Machines' recipe (2025).

The student is rewarded at every token it wrote by how likely the teacher finds it. Only the written
token is scored, so an update asks for one number a token where reverse KL asks for the vocabulary;
over the student's own draws both have the same gradient.
"""

import functools

import torch
from torch import Tensor

from skd_lab.errors import UsageError
from skd_lab.family.card import Card, register_card
from skd_lab.methods import Method
from skd_lab.methods import register as register_method
from skd_lab.objectives import Objective, ObjectiveRow, register
from skd_lab.scored import Scored


def surrogate(log_q: Tensor, advantage: Tensor) -> Tensor:
    """-advantage at value, -advantage * grad log q as gradient: REINFORCE on one's own sample.

    Args:
        log_q: the student's log-probability of each written token.
        advantage: of each, a constant.
    """
    return -advantage * torch.exp(log_q - log_q.detach())


def policy_gradient(scale: float) -> Objective:
    """advantage_t = -scale * (log q - log p) at the written token, discount 0.

    One update a rollout: the text is the current student's, so there is no ratio to clip.
    """
    if not scale > 0:
        raise UsageError(f"scale must be above 0, got {scale:g}. Use 1.")
    return Objective(name="policy_gradient", on_batch=functools.partial(_on_batch, scale=scale))


def _on_batch(scored: Scored, *, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    def of_chunk(student: Tensor, teacher: Tensor, rows: slice) -> Tensor:
        ids = scored.ids[rows, None]
        log_q, log_p = (x.gather(-1, ids).squeeze(-1) for x in (student, teacher))
        return surrogate(log_q, scale * (log_p - log_q.detach()))

    return scored.nats(of_chunk)


register(
    ObjectiveRow(
        name="policy_gradient",
        make=policy_gradient,
        settings={"scale": 1.0},
        texts=("student",),
        source="after Thinking Machines 2025",
        summary="REINFORCE on the student's own tokens, rewarded by log p - log q of each.",
    )
)
register_method(
    Method(
        name="policy_gradient_kd",
        completions=("student",),
        objectives=("policy_gradient",),
        source="after Thinking Machines 2025",
        summary="The student's own samples, each token rewarded by the teacher's log-probability.",
    )
)
register_card(
    Card(
        name="policy_gradient",
        group="neighbour",
        title="Policy-gradient on-policy distillation",
        paper="after Thinking Machines, On-Policy Distillation (2025) and its public code",
        sentences=(
            "The student writes, and every token it wrote is rewarded by log p - log q: the "
            "sampled form of reverse KL.",
            "It learns from its own text alone, where SKD lets the teacher write the tokens that "
            "the student gets badly wrong.",
        ),
        equation=r"-\sum_t A_t \log q_t(y_t),\quad A_t = \log p_t(y_t) - \log q_t(y_t)",
        statement="Over all draws of a token the gradient is that of KL(student || teacher).",
        control="on_policy_kd with reverse_kl: the same gradient without its noise",
        choices=("one update a rollout, so no importance ratio and no clipping",),
        command="skd-lab train --method policy_gradient_kd",
    )
)
