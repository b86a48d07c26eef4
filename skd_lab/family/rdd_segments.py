"""Relative difficulty on pictures, after RDD (Liang, Sun, Du, Chen, Huang 2024, arXiv 2407.03719).

What `rdd.py` does for tokens, where the paper does it: pixels of noisy discs, squares and
triangles, a teacher with an auxiliary head half-way, a student that is too small to be it.
"""

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from skd_lab.errors import UsageError
from skd_lab.family.card import Card, Demo, Row, Verdict, judged, mean_sd, register_card, values
from skd_lab.family.figures import bars
from skd_lab.family.rdd import easy_for_teacher
from skd_lab.losses import forward_kl

SIDE, CLASSES, NOISE = 18, 4, 0.25
"""Pixels a side; background, disc, square, triangle; sd of the noise on shapes of 0.4 to 1."""
TEACHER, STUDENT = (20, 6), (6, 3)
"""Channels and convolutions."""
BATCH, STEPS, RATE = 12, 400, 5e-3
"""Pictures an update, new ones each time; updates of teacher and student; Adam's rate."""
SWITCH, THRESHOLD, KEPT = 0.1, 0.7, 0.012
"""Share of the updates in stage 1; up to which probability a pixel is hard; share of the pixels
that are hard at least (the code's 100,000 of 16 x 512 x 1024)."""

Heads = tuple[Float[Tensor, "pixels classes"], Float[Tensor, "pixels classes"]]
"""Log-probabilities of the last head and of the auxiliary one."""


def pictures(
    n: int, generator: torch.Generator, noise: float = NOISE
) -> tuple[Float[Tensor, "n 1 side side"], Int[Tensor, " pixels"]]:
    """Pictures with two shapes each, which may overlap, and the class of every pixel."""
    down, across = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    x, y = torch.zeros(n, SIDE, SIDE), torch.zeros(n, SIDE, SIDE, dtype=torch.long)
    for _ in range(2):
        size = torch.randint(3, 6, (n, 1, 1), generator=generator)
        centre = torch.randint(3, SIDE - 3, (2, n, 1, 1), generator=generator)
        kind = torch.randint(1, CLASSES, (n, 1, 1), generator=generator)
        bright = 0.4 + 0.6 * torch.rand(n, 1, 1, generator=generator)
        v, h = down - centre[0], across - centre[1]
        disc = v.square() + h.square() <= size.square()
        square = torch.maximum(v.abs(), h.abs()) < size
        triangle = (v.abs() <= size) & (2 * h.abs() <= v + size)
        inside = torch.where(kind == 1, disc, torch.where(kind == 2, square, triangle))
        x, y = torch.where(inside, bright, x), torch.where(inside, kind, y)
    return (x + noise * torch.randn(x.shape, generator=generator))[:, None], y.flatten()


class Segmenter(nn.Module):
    """Convolutions of 3 x 3 with ReLU, a head on the last and an auxiliary one half-way."""

    def __init__(self, channels: int, layers: int, *, seed: int) -> None:
        super().__init__()
        if layers < 2:
            raise UsageError(f"A model with an auxiliary head has two layers at least: {layers}.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleList(
                nn.Conv2d(channels if place else 1, channels, 3, padding=1)
                for place in range(layers)
            )
            self.head, self.early = nn.Conv2d(channels, CLASSES, 1), nn.Conv2d(channels, CLASSES, 1)

    def forward(self, x: Float[Tensor, "n 1 side side"]) -> Heads:
        """Log-probabilities of every pixel."""
        states = [x]
        for layer in self.layers:
            states.append(F.relu(layer(states[-1])))
        heads = (self.head(states[-1]), self.early(states[len(self.layers) // 2]))
        last, early = (torch.log_softmax(z.movedim(1, -1).flatten(0, -2), -1) for z in heads)
        return last, early


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


@functools.lru_cache(maxsize=2)
def teacher_of(seed: int, steps: int = STEPS) -> Segmenter:
    """Trained on the classes with both heads, the auxiliary one at 0.4; frozen."""
    model = Segmenter(*TEACHER, seed=seed + 100)

    def loss(heads: Heads, x: Tensor, y: Tensor, progress: float) -> Tensor:
        return F.nll_loss(heads[0], y) + 0.4 * F.nll_loss(heads[1], y)

    return fit(model, loss, seed=seed + 100, steps=steps).requires_grad_(False)


def fit(
    model: Segmenter,
    loss: Callable[[Heads, Tensor, Tensor, float], Tensor],
    *,
    seed: int,
    steps: int,
) -> Segmenter:
    """Adam on new pictures in every update; its rate falls to 0 as (1 - progress)^0.9."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for step in range(steps):
        x, y = pictures(BATCH, generator)
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps) ** 0.9
        optimizer.zero_grad()
        loss(model(x), x, y, step / steps).backward()
        optimizer.step()
    return model


@torch.no_grad()
def miou(model: Segmenter, x: Tensor, y: Tensor) -> float:
    """Mean over the classes of intersection over union of what is found and what is there."""
    found = model(x)[0].argmax(-1)
    both = [((found == c) & (y == c)).sum() / ((found == c) | (y == c)).sum() for c in range(4)]
    return float(torch.stack(both).mean())


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
        {"miou": "mean IoU over the four classes (higher is better)"},
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
