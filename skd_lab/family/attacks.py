"""Attacks on classifiers of images, and the training against them: for demos about robustness."""

import functools

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from skd_lab.errors import UsageError
from skd_lab.family import digits

EPSILON = 0.1
"""How far an attack may move a pixel, of a range of 1."""


def input_gradient(
    model: nn.Module,
    x: Float[Tensor, "rows inputs"],
    y: Int[Tensor, " rows"],
    *,
    trains: bool = False,
) -> Float[Tensor, "rows inputs"]:
    """Of every row, the gradient of its own cross-entropy with respect to the row.

    Args:
        trains: whether the gradient itself can be differentiated (a graph is kept).

    Raises:
        UsageError: for a model in training mode with batch norm, whose rows see each other.
    """
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in model.modules()):
        raise UsageError(
            "In training mode batch norm mixes the rows of a batch, and so their input gradients. "
            "Call model.eval() first, or use a model without batch norm."
        )
    with torch.enable_grad():
        own = x.detach().requires_grad_()
        # a sum, so that no row's gradient is divided by the batch
        loss = F.cross_entropy(model(own), y, reduction="sum")
        (found,) = torch.autograd.grad(loss, own, create_graph=trains)
    return found


def attack(
    model: nn.Module,
    x: Float[Tensor, "rows inputs"],
    y: Int[Tensor, " rows"],
    *,
    epsilon: float = EPSILON,
    steps: int = 10,
    restarts: int = 1,
    generator: torch.Generator,
) -> Float[Tensor, "rows inputs"]:
    """Projected gradient descent against the right class (Madry et al. 2018), inside [0, 1].

    Args:
        epsilon: the largest move of a pixel.
        steps: along the sign of the gradient, epsilon / 4 each.
        restarts: random starts; each row keeps the one with the highest loss.

    Raises:
        UsageError: for an epsilon that is negative, or no step or start.
    """
    if epsilon < 0 or steps < 1 or restarts < 1:
        raise UsageError(
            f"An attack needs epsilon from 0 and a step and a start at least, got epsilon "
            f"{epsilon:g}, {steps} steps, {restarts} starts."
        )
    low, high = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    worst, highest = x, torch.full((len(x),), -torch.inf, dtype=x.dtype)
    for _ in range(restarts):
        noise = torch.rand(x.shape, generator=generator, dtype=x.dtype)
        moved = low + noise * (high - low)
        for _ in range(steps):
            moved = moved + epsilon / 4 * input_gradient(model, moved, y).sign()
            moved = moved.clamp(low, high)
        with torch.no_grad():
            loss = F.cross_entropy(model(moved), y, reduction="none")
        worst = torch.where((loss > highest)[:, None], moved, worst)
        highest = torch.maximum(loss, highest)
    return worst


def harden(
    model: nn.Module, x: Tensor, y: Tensor, *, steps: int, inner: int, seed: int
) -> nn.Module:
    """Adversarial training: Adam on rows that were attacked just now."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        moved = attack(model, x, y, steps=inner, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(moved), y).backward()
        optimizer.step()
    return model


@functools.lru_cache(maxsize=8)
def robust_teacher(seed: int) -> nn.Module:
    """As `digits.teacher`, adversarially trained; frozen."""
    own = digits.data(seed)
    model = digits.mlp(256, seed=seed + 100)
    harden(model, own.train_x, own.train_y, steps=200, inner=5, seed=seed)
    return model.requires_grad_(False)
