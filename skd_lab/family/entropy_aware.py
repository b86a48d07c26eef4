"""Entropy-aware on-policy KD, after arXiv 2603.07079 (ICML 2026).

Reverse KL on the student's own text, and where the teacher is unsure also forward KL over its most
likely tokens, so that the student keeps the choices the teacher leaves open.
"""

import functools
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from skd_lab.errors import UsageError
from skd_lab.family import markov
from skd_lab.family.card import Card, Demo, Row, Verdict, judged, register_card
from skd_lab.family.figures import bars
from skd_lab.losses import forward_kl, reverse_kl
from skd_lab.methods import Method
from skd_lab.methods import register as register_method
from skd_lab.objectives import Objective, ObjectiveRow, get_objective, register

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
ARMS = ("reverse_kl", "entropy_aware", "forward_kl")
WIDTH = 12
"""Of the students: too small to be the teacher, so that the divergences part ways."""


def run(seed: int) -> list[Row]:
    """Students of the Markov language by the three objectives, on the same texts."""
    source, text, teacher = markov.lab(seed, tokens=20_000, steps=400)
    rows = []
    for arm in ARMS:
        student = markov.predictor(WIDTH, seed + 50)
        markov.train(
            student, text, seed=seed, steps=500, objective=get_objective(arm), teacher=teacher
        )
        rows.append({"seed": seed, "arm": arm, **markov.distances(student, teacher, source)})
    return rows


def judge(rows: Sequence[Row]) -> Verdict:
    """Nearer than forward KL in reverse KL; and nearer than reverse KL in forward KL."""
    verdict = judged(rows, "entropy_aware", "forward_kl", "kl_reverse", lower_is_better=True)
    other = judged(rows, "entropy_aware", "reverse_kl", "kl_forward", lower_is_better=True)
    return Verdict(
        outcome=verdict.outcome,
        text=f"Against forward KL: {verdict.text} Against reverse KL ({other.outcome}): "
        f"{other.text}",
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Both directions, and how many choices the student leaves open."""
    return bars(
        rows,
        {
            "kl_forward": "KL(teacher || student), nats",
            "kl_reverse": "KL(student || teacher), nats",
            "entropy": "the student's entropy, nats",
        },
        arms=ARMS,
        method="entropy_aware",
        control=("reverse_kl", "forward_kl"),
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
        statement="It covers more of the teacher than reverse KL does (forward KL is lower), and "
        "strays less than forward KL does (reverse KL is lower).",
        control="reverse KL alone (alpha = 0), and forward KL alone",
        held=("it covers more of the teacher than reverse KL alone",),
        failed=(
            "it ends where forward KL alone ends: the teacher of this small language is unsure "
            "everywhere, so the gate is always open",
        ),
        choices=(
            "a second source calls the gate soft; the hard one is the more detailed description",
            "both sides are normalised over the top ids; the cut is at 10 nats",
        ),
        command="skd-lab train --method entropy_aware_kd --settings entropy=0.8",
        demo=Demo(run=run, judge=judge, figure=figure),
    )
)
