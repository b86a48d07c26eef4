"""Small convolutional nets for the nine methods, and digits whose labels or classes are spoilt."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from skd_lab.errors import UsageError
from skd_lab.family import digits
from skd_lab.family import nine_losses as nine
from skd_lab.family.nine_losses import Seen

ROWS, VALIDATION = 400, 200
"""Digits to learn from, and to stop by."""


class Net(nn.Module):
    """Three convolutions on 8 x 8 pixels, the first with a stride of 2, and a head a branch."""

    def __init__(self, channels: int, *, seed: int, branches: int = 1) -> None:
        super().__init__()
        self.channels = channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.ModuleList(
                [
                    nn.Conv2d(1, channels, 3, stride=2, padding=1),
                    nn.Conv2d(channels, channels, 3, padding=1),
                ]
            )
            last = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(branches)]
            self.last = nn.ModuleList(last)
            self.heads = nn.ModuleList(
                nn.Linear(16 * channels, digits.CLASSES) for _ in range(branches)
            )
            self.gate = nn.Linear(16 * channels, branches)

    def forward(self, x: Float[Tensor, "rows pixels"]) -> Float[Tensor, "rows classes"]:
        """Logits of the first branch."""
        return self.see(x).logits

    def trunk_maps(self, x: Tensor) -> list[Tensor]:
        """What all branches read."""
        maps = [x.unflatten(-1, (1, 8, 8))]
        for layer in self.trunk:
            maps.append(F.relu(layer(maps[-1])))
        return maps[1:]

    def see(self, x: Tensor) -> Seen:
        """Maps, feature and logits of the first branch."""
        maps = self.trunk_maps(x)
        maps.append(F.relu(self.last[0](maps[-1])))
        feature = maps[-1].flatten(1)
        return Seen(maps=maps, feature=feature, logits=self.heads[0](feature))

    def branches(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits of all branches, and of their gated sum."""
        state = self.trunk_maps(x)[-1]
        found = [
            head(F.relu(layer(state)).flatten(1))
            for layer, head in zip(self.last, self.heads, strict=True)
        ]
        return found, nine.ensemble(found, self.gate(state.flatten(1)))


@dataclass(frozen=True)
class Problem:
    """Rows to learn from and to stop by, with the labels as they are given."""

    x: Float[Tensor, "rows pixels"]
    y: Int[Tensor, " rows"]
    right: Int[Tensor, " rows"]
    """What the labels should be."""
    validation_x: Tensor
    validation_y: Tensor


def problem(seed: int, *, noise: float = 0.0, skew: float = 1.0) -> Problem:
    """Digits with spoilt labels, or with fewer rows of the later classes.

    Args:
        noise: share of the labels, of training and of validation, moved to another class.
        skew: how many times more rows class 0 has than class 9; geometric in between.

    Raises:
        UsageError: for a share outside [0, 1), or a skew below 1 or without a row of some class.
    """
    if not 0 <= noise < 1:
        raise UsageError(f"noise is the share of wrong labels, 0 <= noise < 1, got {noise:g}.")
    if not 1 <= skew <= 30:
        raise UsageError(
            f"skew is how many times more rows the first class has, from 1 to 30 (at 30 the last "
            f"class has one or two), got {skew:g}."
        )
    data = digits.data(seed)
    x, right = data.train_x[: ROWS + VALIDATION], data.train_y[: ROWS + VALIDATION]
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(right), generator=generator) < noise
    away = torch.randint(1, digits.CLASSES, right.shape, generator=generator)
    y = torch.where(wrong, (right + away) % digits.CLASSES, right)
    kept = torch.arange(ROWS)
    if skew > 1:
        share = skew ** -(torch.arange(digits.CLASSES) / (digits.CLASSES - 1))
        rows = [(right[:ROWS] == c).nonzero()[:, 0] for c in range(digits.CLASSES)]
        kept = torch.cat(
            [own[: max(1, round(len(own) * float(s)))] for own, s in zip(rows, share, strict=True)]
        )
    return Problem(x[kept], y[kept], right[kept], x[ROWS:], y[ROWS:])


def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of rows whose first class is y."""
    with torch.no_grad():
        return float((net(x).argmax(-1) == y).double().mean())
