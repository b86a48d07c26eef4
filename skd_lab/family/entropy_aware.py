"""Entropy-aware on-policy KD, after arXiv 2603.07079 (ICML 2026).

Reverse KL on the student's own text, and where the teacher is unsure also forward KL over its most
likely tokens, so that the student keeps the choices the teacher leaves open.
"""

import functools

import torch
from torch import Tensor

from skd_lab.errors import UsageError
from skd_lab.family.card import Card, register_card
from skd_lab.losses import forward_kl, reverse_kl
from skd_lab.methods import Method
from skd_lab.methods import register as register_method
from skd_lab.objectives import Objective, ObjectiveRow, register

SETTINGS = {"alpha": 1.0, "entropy": 0.8, "top": 16, "clip": 10.0}
"""Weight of forward KL; nats of the teacher's entropy above which it counts; ids it is taken over;
nats at which reverse KL is cut."""


def entropy_aware(alpha: float, entropy: float, top: float, clip: float) -> Objective:
    """min(KL(q || p), clip) + alpha [H(p) > entropy] KL(p || q) over the teacher's top ids.

    Both distributions are normalised over these ids, so that equal models have a loss of 0.
    """
    for name, value in (("alpha", alpha), ("entropy", entropy)):
        if value < 0:
            raise UsageError(f"{name} must not be negative, got {value:g}.")
    if top < 2 or not clip > 0:
        raise UsageError(
            f"top must be at least 2 and clip above 0, got {top:g} and {clip:g}. Leave them out."
        )
    return Objective(
        name="entropy_aware",
        divergence=functools.partial(
            entropy_aware_kl, alpha=alpha, threshold=entropy, top=int(top), clip=clip
        ),
    )


def entropy_aware_kl(
    student: Tensor, teacher: Tensor, *, alpha: float, threshold: float, top: int, clip: float
) -> Tensor:
    """Nats per token; see entropy_aware. Log-probabilities in, gradients to the student."""
    open_choice = -(teacher.exp() * teacher.clamp(min=-1e4)).sum(-1) > threshold
    values, ids = teacher.topk(min(top, teacher.shape[-1]), dim=-1)
    mine = torch.log_softmax(student.gather(-1, ids), -1)
    forward = forward_kl(mine, torch.log_softmax(values, -1))
    return reverse_kl(student, teacher).clamp(max=clip) + alpha * open_choice.to(forward) * forward


register(
    ObjectiveRow(
        name="entropy_aware",
        make=entropy_aware,
        settings=SETTINGS,
        source="after arXiv 2603.07079",
        summary="Reverse KL, and forward KL over the top ids where the teacher is unsure.",
    )
)
register_method(
    Method(
        name="entropy_aware_kd",
        completions=("student",),
        objectives=("entropy_aware",),
        source="after arXiv 2603.07079",
        summary="The student's own samples; forward KL is added where the teacher is unsure.",
    )
)
register_card(
    Card(
        name="entropy_aware",
        group="neighbour",
        title="Entropy-aware on-policy KD",
        paper="after arXiv 2603.07079 (2026)",
        sentences=(
            "Reverse KL everywhere, and forward KL over the teacher's top 16 where its entropy is "
            "above a threshold: where there is a choice, the student should keep it.",
            "It changes the measure by position; SKD changes the text by position.",
        ),
        equation=r"\min(KL(q\|p), c) + \alpha\,[H(p) > \tau]\, KL(\tilde p \| \tilde q)",
        statement="Where the teacher is unsure the student's entropy is nearer to the teacher's "
        "than after reverse KL alone.",
        control="on_policy_kd with reverse_kl (alpha = 0)",
        choices=(
            "a second source calls the gate soft; the hard one is the more detailed description",
            "both sides are normalised over the top ids; the cut is at 10 nats",
        ),
        command="skd-lab train --method entropy_aware_kd --settings entropy=0.8",
    )
)
