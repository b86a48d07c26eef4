"""Small segmentation: pictures of noisy shapes, nets with an auxiliary head, the overlap."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from skd_lab.errors import UsageError

SIDE, CLASSES, NOISE = 18, 4, 0.25
"""Pixels a side; background, disc, square, triangle; sd of the noise on shapes of 0.4 to 1."""
TEACHER, STUDENT = (20, 6), (6, 3)
"""Channels and convolutions."""
BATCH, STEPS, RATE = 12, 400, 5e-3
"""Pictures an update, new ones each time; updates of teacher and student; Adam's rate."""

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
    """Mean over the classes of intersection over union of what is found and what is there.

    A class that is neither found nor there does not count.
    """
    found, kinds = model(x)[0].argmax(-1), range(CLASSES)
    both = [((found == c) & (y == c)).sum() / ((found == c) | (y == c)).sum() for c in kinds]
    return float(torch.stack(both).nanmean())
