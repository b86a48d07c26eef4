"""Pseudo-subclasses from a teacher's embeddings, after LELP (Loo, Iliopoulos, Hu, Vee 2024, arXiv
2409.20449).

A teacher of few classes says little by its probabilities, but inside a class its last states still
tell kinds apart. What its head does not see of them is split along principal axes into `splits`
subclasses a class; the student learns class times subclass, and folds them back by a logsumexp.
No code of the paper was found; the structure is read in its reviews, the scaling is ours.
"""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from skd_lab.family import digits
from skd_lab.family.card import Card, Demo, Row, Verdict, judged, register_card
from skd_lab.family.figures import bars
from skd_lab.family.subclasses import Subclasses, fold, subclass_loss

SPLITS, WIDTH, UPDATES = 8, 12, 600
ARMS = ("CE", "KD", "LELP", "random axes", "rows shuffled", "true digits")
CONTROLS = ("KD", "random axes", "rows shuffled")


class Deep(nn.Module):
    """64 - 128 - 64 - classes, with the states before its head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.body(x))


def run(seed: int) -> list[Row]:
    """Digits 0-4 against 5-9: a teacher of two classes, students of 12 units."""
    own = digits.data(seed)
    x, y = own.train_x, (own.train_y >= 5).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 100)
        teacher = Deep(2)
    digits.fit(teacher, x, lambda z: F.cross_entropy(z, y), steps=300)
    with torch.no_grad():
        states = teacher.body(x)
        log_p = torch.log_softmax(teacher.head(states), -1)
    first, head = log_p.argmax(-1), teacher.head.weight.detach()

    def split(principal: bool = True) -> Tensor:
        made = Subclasses.fit(states, first, head, splits=SPLITS, seed=seed, principal=principal)
        return made.targets(states, log_p)

    targets = split()
    order = _within(first, seed)
    wanted = {
        "CE": F.one_hot(y, 2).float(),
        "KD": log_p.exp(),
        "LELP": targets,
        "random axes": split(principal=False),
        # of another row of the same class: the classes stay, the subclasses say nothing
        "rows shuffled": targets[order],
        "true digits": F.one_hot(own.train_y, 10).float(),
    }
    rows = []
    for arm, target in wanted.items():
        student = digits.mlp(WIDTH, seed=seed + 10, classes=target.shape[1])
        digits.fit(student, x, functools.partial(_loss, target), steps=UPDATES)
        rows.append({"seed": seed, "arm": arm, **measured(student, seed)})
    return rows


def _loss(target: Tensor, logits: Tensor) -> Tensor:
    return subclass_loss(logits, target).mean()


def _within(classes: Tensor, seed: int) -> Tensor:
    """An order that exchanges rows of the same class only."""
    generator, order = torch.Generator().manual_seed(seed), torch.arange(len(classes))
    for number in classes.unique():
        places = (classes == number).nonzero().squeeze(-1)
        order[places] = places[torch.randperm(len(places), generator=generator)]
    return order


def measured(student: nn.Sequential, seed: int) -> dict[str, float]:
    """Held-out accuracy of the two classes, and of a linear probe for the ten digits."""
    own = digits.data(seed)
    with torch.no_grad():
        folded = fold(student(own.test_x), 2)
        train, test = (student[:2](x) for x in (own.train_x, own.test_x))
        train, test = ((h - train.mean(0)) / (train.std(0) + 1e-6) for h in (train, test))
    probe = nn.Linear(train.shape[1], digits.CLASSES)
    for parameter in probe.parameters():
        nn.init.zeros_(parameter)
    digits.fit(probe, train, lambda z: F.cross_entropy(z, own.train_y), steps=400, rate=0.05)
    right = folded.argmax(-1) == (own.test_y >= 5)
    with torch.no_grad():
        known = probe(test).argmax(-1) == own.test_y
    return {"accuracy": float(right.double().mean()), "probe": float(known.double().mean())}


def judge(rows: Sequence[Row]) -> Verdict:
    """The probe against the controls, the one that does best against it first."""
    # the claim is 0.03 above KD, and above the others at all
    found = [
        (arm, judged(rows, "LELP", arm, "probe", at_least=0.03 if arm == "KD" else 0.0))
        for arm in CONTROLS
    ]
    found.sort(key=lambda pair: ("lost", "tied", "held").index(pair[1].outcome))
    quality = judged(rows, "LELP", "KD", "accuracy")
    texts = [f"{arm} ({one.outcome}): {one.text}" for arm, one in found]
    return Verdict(
        outcome=found[0][1].outcome,
        text=f"Against {' Against '.join(texts)} The two classes: {quality.text}",
    )


def figure(rows: Sequence[Row]) -> Figure:
    """The classes that are learned, and the digits that are not told."""
    return bars(
        rows,
        {
            "accuracy": "accuracy, 0-4 against 5-9",
            "probe": "linear probe for the ten digits",
        },
        arms=ARMS,
        method="LELP",
        control=CONTROLS,
    )


register_card(
    Card(
        name="lelp",
        title="LELP: split a teacher's classes by what its head does not see",
        paper="after Loo, Iliopoulos, Hu, Vee 2024, arXiv 2409.20449",
        sentences=(
            "A teacher of two classes tells one bit a row, but its last states tell kinds apart: "
            "each class is split along their principal axes, and the student learns the splits.",
            "It gets more out of one answer of the teacher; SKD gets more out of where the "
            "teacher is asked.",
        ),
        equation=r"p_{c,s}(x) = p_c(x)\, \mathrm{softmax}_s(\beta\, u_c(x)),\quad "
        r"u_c(x) = (P h(x) - \mu_c) A_c Q / \sigma_c,\quad W P = 0",
        statement="A linear probe finds the ten digits in the student's states more often, by at "
        "least 0.03, than after KD; more often than with random axes; and shuffled rows undo it.",
        control="random axes in the place of the principal ones; and the subclasses of another row",
        command="skd-lab family --rerun lelp    # few answer tokens: skd_lab.family.answers",
        held=(
            "the student's states tell the digits apart better than after KD, though nobody told "
            "it of digits, and it is the rows' own subclasses that do it: those of other rows of "
            "the class leave less than KD does",
        ),
        failed=(
            "random axes of the null space do about as well as the principal ones (a reviewer of "
            "the paper saw the same in its Figure 5)",
            "the accuracy on the two classes is that of KD",
            "a student that is told the true digits is far above all of them",
        ),
        choices=(
            "no code was found: the structure is that told in the paper's reviews; one spread a "
            "class divides all its axes",
            "8 splits and beta 1, chosen on four seeds that are not among these",
            "the loss is the KL to class times subclass alone, with no hard labels",
            "ten seeds: with five the students of 12 units left all of it open",
            "language models: a head of answers times subclasses where the answer stands, as the "
            "whole vocabulary's head leaves no null space",
        ),
        demo=Demo(run=run, judge=judge, figure=figure, seeds=tuple(range(10))),
    )
)
