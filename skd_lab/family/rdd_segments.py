"""Relative difficulty on pictures, after RDD (Liang, Sun, Du, Chen, Huang 2024, arXiv 2407.03719).

What `rdd.py` does for tokens, where the paper does it: pixels of noisy discs, squares and
triangles, a teacher with an auxiliary head half-way, a student that is too small to be it.
"""

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from torch import Tensor

from skd_lab.family.card import Card, Demo, Row, Verdict, judged, mean_sd, register_card, values
from skd_lab.family.figures import bars
from skd_lab.family.rdd import easy_for_teacher
from skd_lab.family.segments import (
    STEPS,
    STUDENT,
    Heads,
    Segmenter,
    fit,
    miou,
    pictures,
    teacher_of,
)
from skd_lab.losses import forward_kl

SWITCH, THRESHOLD, KEPT = 0.1, 0.7, 0.012
"""Share of the updates in stage 1; up to which probability a pixel is hard; share of the pixels
that are hard at least (the code's 100,000 of 16 x 512 x 1024)."""


def hard(right: Float[Tensor, " pixels"]) -> Bool[Tensor, " pixels"]:
    """Pixels whose right class has at most the threshold, or the share KEPT of the hardest."""
    least = max(1, round(KEPT * right.numel()))
    return right <= max(THRESHOLD, float(right.kthvalue(least).values))


def stage_1(student: Tensor, teacher: Heads, y: Tensor) -> Float[Tensor, " pixels"]:
    """Weights: how much of the teacher's last word its auxiliary head says already."""
    return easy_for_teacher(teacher[1], teacher[0])


def stage_2(student: Tensor, teacher: Heads, y: Tensor) -> Float[Tensor, " pixels"]:
    """Mask: pixels that exactly one of the two models finds hard, as 0 and 1."""
    of_student, of_teacher = (
        log.gather(-1, y[:, None]).squeeze(-1).exp() for log in (student.detach(), teacher[0])
    )
    return (hard(of_student) ^ hard(of_teacher)).to(student)


def weighed(student: Tensor, teacher: Heads, y: Tensor, weights: Tensor, over: str) -> Tensor:
    """Weighed cross-entropy, and KL(p || q) over all pixels; a mask without a pixel adds nothing.

    Args:
        over: what the cross-entropy is divided by: "all" pixels, or those of the "mask".
    """
    nll = -student.gather(-1, y[:, None]).squeeze(-1)
    count = weights.count_nonzero().clamp(min=1) if over == "mask" else weights.numel()
    return (weights * nll).sum() / count + forward_kl(student, teacher[0]).mean()


ARMS = ("KD", "RDD", "RDD, shuffled weights", "stage 1 only", "RDD, mean over the mask")


def weights_of(
    arm: str, student: Tensor, teacher: Heads, y: Tensor, progress: float, draw: torch.Generator
) -> Float[Tensor, " pixels"]:
    """An arm's weights at a point of its training, from 0 to 1."""
    if arm == "KD":
        return torch.ones_like(student[:, 0])
    first = progress < (1.0 if arm == "stage 1 only" else SWITCH)
    weights = (stage_1 if first else stage_2)(student, teacher, y)
    if arm == "RDD, shuffled weights":
        return weights[torch.randperm(len(weights), generator=draw)]
    return weights


def _loss(
    heads: Heads,
    x: Tensor,
    y: Tensor,
    progress: float,
    *,
    arm: str,
    teacher: Segmenter,
    draw: torch.Generator,
) -> Tensor:
    with torch.no_grad():
        targets = teacher(x)
        weights = weights_of(arm, heads[0], targets, y, progress, draw)
    over = "mask" if arm == "RDD, mean over the mask" else "all"
    return weighed(heads[0], targets, y, weights, over)


def run(seed: int, steps: int = STEPS) -> list[Row]:
    """The same pictures for every arm, in the same order."""
    teacher = teacher_of(seed, steps)
    x, y = pictures(200, torch.Generator().manual_seed(seed + 10_000))
    rows: list[Row] = []
    for arm in ARMS:
        generator = torch.Generator().manual_seed(seed)

        loss = functools.partial(_loss, arm=arm, teacher=teacher, draw=generator)
        student = fit(Segmenter(*STUDENT, seed=seed), loss, seed=seed, steps=steps)
        rows.append({"seed": seed, "arm": arm, "miou": miou(student, x, y)})
    with torch.no_grad():
        targets = teacher(x)
    right, weights = targets[0].argmax(-1) == y, stage_1(targets[0], targets, y)
    rows[1] |= {
        "weight_right": float(weights[right].mean()),
        "weight_wrong": float(weights[~right].mean()),
        "teacher_miou": miou(teacher, x, y),
    }
    return rows


def judge(rows: Sequence[Row]) -> Verdict:
    """mIoU against plain KD and the shuffled map, whichever is better."""
    best = max((ARMS[0], ARMS[2]), key=lambda arm: mean_sd(values(rows, arm, "miou"))[0])
    verdict = judged(rows, "RDD", best, "miou", at_least=0.02)
    coded = judged(rows, ARMS[4], best, "miou")
    means = [
        mean_sd(values(rows, "RDD", name))[0]
        for name in ("weight_right", "weight_wrong", "teacher_miou")
    ]
    return Verdict(
        outcome=verdict.outcome,
        text=f"{verdict.text} Divided by the mask, as in the code ({coded.outcome}): {coded.text} "
        f"Stage-1 weights: {means[0]:.3f} where the teacher is right, {means[1]:.3f} where it is "
        f"wrong. Teacher: mIoU {means[2]:.3f}.",
    )


def figure(rows: Sequence[Row]) -> Figure:
    """New pictures."""
    return bars(
        rows,
        {"miou": "mean IoU (higher is better)"},
        arms=ARMS,
        method=("RDD", ARMS[4]),
        control=("KD", "RDD, shuffled weights"),
    )


register_card(
    Card(
        name="rdd_segments",
        title="RDD on pictures: weigh pixels by how hard they are for each model",
        paper="Liang, Sun, Du, Chen, Huang 2024, arXiv 2407.03719",
        sentences=(
            "The paper's own setting, small: of noisy shapes every pixel gets a class, and the "
            "task loss counts a pixel by how early the teacher knows it, later by whether only "
            "one of the two models finds it hard.",
            "The token form of this is the card of RDD; SKD chooses the text, this chooses the "
            "places of a given one.",
        ),
        equation=r"w_i = e^{-KL(p^{aux}_i \,\|\, p_i)}\ \text{ then }\ "
        r"w_i = [q_i(y_i) \le \theta_q] \oplus [p_i(y_i) \le \theta_p]",
        statement="mIoU is 0.02 above that of plain KD and of its own map shuffled over the "
        "pixels; the stage-1 weight is 0.05 higher where the teacher is right.",
        control="the same weights, shuffled over the pixels; and KD with the plain task loss",
        held=("the stage-1 weight is higher where the teacher is right",),
        failed=(
            "the map is worth no more than its own numbers in a shuffled order",
            "divided by the pixels of the mask, as in the code, it is lower still: the few pixels "
            "that are hard for the student alone outweigh the rest",
        ),
        choices=(
            "the mean of the task loss is over all pixels, so that a small mask does not raise "
            "the rate; the code's mean over the mask is an arm of its own",
            "the student has no auxiliary head, and the classes have no weights in the loss",
            "pictures of 18 x 18 pixels, new ones in every update; the noise (sd 0.25) was chosen "
            "on two other seeds so that the teacher is far from perfect",
        ),
        command="skd-lab family --rerun rdd_segments",
        demo=Demo(run=run, judge=judge, figure=figure),
    )
)
