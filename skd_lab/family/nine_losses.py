"""The nine distillation losses of the study, for small convolutional nets, each as one function.

The names are from memory of the field, see `nine.py`. Response: Hinton, BSS; representation:
FitNet, AT, FSP; relations of rows: SP, RKD; peers in place of a teacher: DML, ONE.
Formulas as in the code of RepDistiller and Knowledge-Distillation-Zoo, unless said.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from skd_lab.errors import UsageError
from skd_lab.losses import forward_kl

LEAST_ROWS = 32
"""Of a batch whose rows are compared with each other."""


@dataclass
class Seen:
    """What a net shows of rows."""

    maps: Sequence[Float[Tensor, "rows channels height width"]]
    """After each convolution."""
    feature: Float[Tensor, "rows features"]
    """What the last layer reads."""
    logits: Float[Tensor, "rows classes"]

    @property
    def pooled(self) -> Float[Tensor, "rows channels"]:
        """The last map without its places."""
        return self.maps[-1].mean((-2, -1))

    def __getitem__(self, rows: Int[Tensor, " some"]) -> "Seen":
        """Of some of the rows."""
        return Seen([own[rows] for own in self.maps], self.feature[rows], self.logits[rows])


def _log(logits: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(logits / temperature, -1)


def hinton(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """T^2 KL(p || q) at temperature T, mean over rows."""
    each = forward_kl(_log(student, temperature), _log(teacher, temperature))
    return temperature**2 * each.mean()


def fitnet(student: Seen, teacher: Seen, regressor: nn.Module) -> Tensor:
    """Squared error of the last map, the student's seen through a learned 1 x 1 convolution."""
    return F.mse_loss(regressor(student.maps[-1]), teacher.maps[-1])


def attention(student: Seen, teacher: Seen) -> Tensor:
    """AT: squared error of where the energy of a map lies, its channels squared and averaged.

    Raises:
        UsageError: for maps of different size.
    """
    total = student.logits.new_zeros(())
    for mine, theirs in zip(student.maps, teacher.maps, strict=True):
        if mine.shape[-2:] != theirs.shape[-2:]:
            raise UsageError(
                f"AT compares places: maps of {tuple(mine.shape[-2:])} and "
                f"{tuple(theirs.shape[-2:])} have different ones. Resize one, or use FitNet."
            )
        a, b = (F.normalize(x.square().mean(1).flatten(1), dim=-1) for x in (mine, theirs))
        total = total + F.mse_loss(a, b)
    return total


def flow(student: Seen, teacher: Seen, regressors: nn.ModuleList) -> Tensor:
    """FSP: squared error of the Gram matrices between a layer and the next.

    Args:
        regressors: a 1 x 1 convolution a map, since the matrices must have one shape; the paper's
            nets have the same channels.

    Raises:
        UsageError: for maps of different size.
    """
    mine = [bring(x) for bring, x in zip(regressors, student.maps, strict=True)]
    grams = [[_gram(a, b) for a, b in pairwise(maps)] for maps in (mine, teacher.maps)]
    return torch.stack([F.mse_loss(a, b) for a, b in zip(*grams, strict=True)]).sum()


def _gram(a: Tensor, b: Tensor) -> Tensor:
    if a.shape[-2:] != b.shape[-2:]:
        raise UsageError(
            f"FSP needs layers of one size beside each other, got {tuple(a.shape[-2:])} and "
            f"{tuple(b.shape[-2:])}. Pool the larger one."
        )
    a, b = a.flatten(2), b.flatten(2)
    return a @ b.transpose(1, 2) / a.shape[-1]


def _enough(rows: int, name: str) -> None:
    if rows < LEAST_ROWS:
        raise UsageError(
            f"{name} compares the rows of a batch with each other, and {rows} are too few to "
            f"learn from. Give it {LEAST_ROWS} at least."
        )


def similarity(student: Seen, teacher: Seen) -> Tensor:
    """SP: squared error of the rows' similarities, ||norm(F F') - norm(G G')||^2 / n^2.

    Raises:
        UsageError: for fewer than LEAST_ROWS rows.
    """
    _enough(len(student.feature), "SP")
    mine, theirs = (F.normalize(x @ x.T, dim=-1) for x in (student.feature, teacher.feature))
    return F.mse_loss(mine, theirs)


def relations(
    student: Seen, teacher: Seen, of_distances: float = 25.0, of_angles: float = 50.0
) -> Tensor:
    """RKD: smooth L1 of the pairs' distances, over their mean, and of the angles of triples.

    Of the pooled last map.

    Raises:
        UsageError: for fewer than LEAST_ROWS rows.
    """
    _enough(len(student.feature), "RKD")
    mine, theirs = student.pooled, teacher.pooled
    distances = F.smooth_l1_loss(_distances(mine), _distances(theirs))
    return of_distances * distances + of_angles * F.smooth_l1_loss(_angles(mine), _angles(theirs))


def _distances(x: Tensor) -> Tensor:
    # a row has distance 0 to itself, where a root has no gradient
    apart = (x[:, None] - x).square().sum(-1).clamp(min=1e-12).sqrt()
    between = apart[~torch.eye(len(x), dtype=torch.bool)]
    return between / between.mean()


def _angles(x: Tensor) -> Tensor:
    sides = F.normalize(x[None] - x[:, None], dim=-1)
    return sides @ sides.transpose(1, 2)


def boundary(
    x: Tensor,
    y: Int[Tensor, " rows"],
    teacher: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    steps: int = 10,
    size: float = 0.3,
) -> tuple[Tensor, Tensor]:
    """BSS: rows that the teacher has right, moved towards a wrong class until its view turns.

    The wrong class is drawn by the teacher's probabilities. A row is moved along the gradient of
    the difference of the two logits and stops where the wrong one leads.

    Returns:
        The rows whose view turned, moved to just behind the boundary; and which rows they are.
    """
    with torch.no_grad():
        logits = teacher(x)
        rest = logits.softmax(-1).scatter(-1, y[:, None], 0.0) + 1e-12
        wrong = torch.multinomial(rest, 1, generator=generator)
        active = logits.argmax(-1) == y
    moved, turned = x.clone(), torch.zeros_like(active)
    for _ in range(steps):
        at = moved.detach().requires_grad_()
        logits = teacher(at)
        ahead = (logits.gather(-1, wrong) - logits.gather(-1, y[:, None])).squeeze(-1)
        gone = active & (ahead.detach() > 0)
        turned, active = turned | gone, active & ~gone
        if not active.any():
            break
        way = torch.autograd.grad(ahead.sum(), at)[0]
        norm = way.flatten(1).norm(dim=1).clamp(min=1e-6)
        # to where a straight line would cross, and a little on
        far = (1.1 * ahead.detach().abs() / norm + 1e-3).clamp(max=size)
        shift = (far / norm * active).view(-1, *[1] * (x.ndim - 1)) * way
        moved = (moved + shift).clamp(0, 1)
    return moved.detach()[turned], turned.nonzero().squeeze(-1)


def mutual(one: Tensor, other: Tensor) -> Tensor:
    """DML: KL(other || one), the other held fixed; a peer's share of its loss."""
    return forward_kl(_log(one, 1.0), _log(other.detach(), 1.0)).mean()


def ensemble(branches: Sequence[Tensor], gate: Float[Tensor, "rows branches"]) -> Tensor:
    """ONE: logits of the gated sum of the branches, which is then every branch's teacher.

    Raises:
        UsageError: for fewer than two branches.
    """
    if len(branches) < 2:
        raise UsageError(f"ONE is an ensemble of branches: two at least, got {len(branches)}.")
    return (gate.softmax(-1)[:, :, None] * torch.stack(list(branches), 1)).sum(1)
