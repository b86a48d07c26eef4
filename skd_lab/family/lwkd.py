"""A light teacher on a synthesised data set, after LW-KD (Liu, Zhang, Wang 2020, arXiv 2005.09163).

The teacher is trained on made-up rows with as many classes as the task has, and never sees a row
of the task: a row of the task gets the teacher's view of a made-up row of its class. The student
is also to look like the teacher to a discriminator. No code and no equation were at hand.
"""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from skd_lab.family import digits
from skd_lab.family.card import Card, Demo, Row, Verdict, judged, mean_sd, register_card, values
from skd_lab.family.figures import bars
from skd_lab.family.light import (
    SMOOTHING,
    TEMPERATURE,
    TF_TEMPERATURE,
    Adversary,
    light_teacher,
    loss_of,
    uniform_teacher,
)

ROWS, WIDTH, STEPS = 200, 64, 400
"""Rows of the task, units of the student, its updates."""
WEIGHT = 0.1
"""b, of the adversary."""

ARMS = (
    "CE",
    "label smoothing",
    "Tf-KD",
    "LW-KD",
    "LW-KD, permuted classes",
    "LW-KD, no adversary",
)


def learn(arm: str, seed: int, steps: int = STEPS) -> tuple[nn.Module, dict[str, float]]:
    """The student of an arm, and what there is to say of its teacher and adversary."""
    data, generator = digits.data(seed), torch.Generator().manual_seed(seed)
    x, y = data.train_x[:ROWS], data.train_y[:ROWS]
    student, notes = digits.mlp(WIDTH, seed=seed + 10), dict[str, float]()
    if arm in ("CE", "label smoothing"):
        smooth = SMOOTHING if arm == "label smoothing" else 0.0
        digits.fit(student, x, lambda z: F.cross_entropy(z, y, label_smoothing=smooth), steps=steps)
        return student, notes
    if arm == "Tf-KD":
        fixed = uniform_teacher(digits.CLASSES).targets(y, generator)
        mixed = functools.partial(loss_of, temperature=TF_TEMPERATURE)
        digits.fit(student, x, lambda z: mixed(z, y, fixed), steps=steps)
        return student, notes
    teacher = light_teacher(seed)
    if arm == "LW-KD, permuted classes":
        teacher = teacher.relabelled(torch.randperm(digits.CLASSES, generator=generator))
    weight = 0.0 if arm == "LW-KD, no adversary" else WEIGHT
    adversary, told = Adversary(digits.CLASSES, seed=seed), list[float]()

    def loss(logits: Tensor) -> Tensor:
        targets = teacher.targets(y, generator)
        view = torch.softmax(logits / TEMPERATURE, -1)
        told.append(adversary.step(view, targets.exp()))
        return loss_of(logits, y, targets) + weight * adversary.fooled(view)

    digits.fit(student, x, loss, steps=steps)
    own = teacher.log_probs.exp()
    spread = [own[teacher.classes == c].std(0).max() for c in range(digits.CLASSES)]
    notes["told_apart"] = sum(told[-50:]) / len(told[-50:])
    notes["spread_in_class"] = float(torch.stack(spread).mean())
    return student, notes


@torch.no_grad()
def _measured(student: nn.Module, seed: int) -> dict[str, float]:
    data = digits.data(seed)
    log = torch.log_softmax(student(data.test_x), -1)
    sure, first = log.exp().max(-1)
    right = (first == data.test_y).float()
    return {
        "accuracy": float(right.mean()),
        "nll": float(-log.gather(-1, data.test_y[:, None]).mean()),
        "calibration_error": calibration_error(sure, right),
    }


def calibration_error(
    sure: Float[Tensor, " rows"], right: Float[Tensor, " rows"], bins: int = 10
) -> float:
    """Expected calibration error: |how sure - how often right| in bins of how sure, weighed."""
    place = (sure * bins).long().clamp(max=bins - 1)
    apart = torch.zeros(bins).index_add_(0, place, sure - right)
    return float(apart.abs().sum() / len(sure))


def run(seed: int) -> list[Row]:
    """Digits, 200 rows."""
    rows: list[Row] = []
    for arm in ARMS:
        student, notes = learn(arm, seed)
        rows.append({"seed": seed, "arm": arm, **_measured(student, seed), **notes})
    return rows


def judge(rows: Sequence[Row]) -> Verdict:
    """Accuracy against the permuted classes, the control; and against no teacher at all."""
    control = judged(rows, "LW-KD", "LW-KD, permuted classes", "accuracy")
    plain = judged(rows, "LW-KD", "CE", "accuracy")
    inert = judged(rows, "LW-KD", "LW-KD, no adversary", "accuracy")
    sure = [mean_sd(values(rows, arm, "calibration_error"))[0] for arm in ("LW-KD", "CE", "Tf-KD")]
    notes = [mean_sd(values(rows, "LW-KD", key))[0] for key in ("spread_in_class", "told_apart")]
    return Verdict(
        outcome=control.outcome,
        text=f"With the classes permuted: {control.text} Without a teacher ({plain.outcome}): "
        f"{plain.text} Without the adversary ({inert.outcome}): {inert.text} Calibration error "
        f"{sure[0]:.3f}, CE {sure[1]:.3f}, Tf-KD {sure[2]:.3f}. Targets of one class differ by "
        f"{notes[0]:.3f} (sd; Tf-KD: 0); the adversary ends right in {notes[1]:.2f} of the views.",
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Held-out digits."""
    return bars(
        rows,
        {
            "accuracy": "accuracy on held-out digits",
            "calibration_error": "calibration error (lower is better)",
            "nll": "NLL, nats (lower is better)",
        },
        arms=ARMS,
        method="LW-KD",
        control="LW-KD, permuted classes",
    )


register_card(
    Card(
        name="lwkd",
        title="LW-KD: a light teacher that never saw the task",
        paper="after Liu, Zhang, Wang 2020, arXiv 2005.09163",
        sentences=(
            "A small teacher learns a made-up data set with as many classes as the task has; its "
            "views become soft targets of the task's rows by class, and an adversary asks the "
            "student to look like it.",
            "It is the opposite of SKD: a teacher that knows nothing of the text can only tell "
            "the student how unsure to be.",
        ),
        equation=r"(1-a)\,CE(q, y) + a\,T^2\,KL(p_{x'} \| q) - b \log D(q),\quad "
        r"x' \text{ made up, of class } y",
        statement="The student is more accurate than without a teacher, and the teacher's classes "
        "matter: under other names they do not help as much.",
        control="the same teacher with its classes permuted",
        held=("targets vary within a class, which those of Tf-KD do not",),
        failed=(
            "the student is not more accurate than without a teacher, and less sure than it should "
            "be; the adversary changes nothing",
            "which class is which does not matter: all the teacher carries is a size of smoothing, "
            "drawn anew for every row",
        ),
        choices=(
            "no code, equation or number of the paper was at hand: made from its abstract",
            "a row of the task meets a made-up row of its class, drawn anew in every update",
            "the made-up set: a random prototype a class in [0, 1]^64 with noise of sd 0.6",
            "the adversary sees the softened views, since sharp ones are told apart at once",
            "for a language model this would be random label smoothing, so there is no such row",
        ),
        command="skd-lab family --rerun lwkd",
        demo=Demo(run=run, judge=judge, figure=figure),
    )
)
