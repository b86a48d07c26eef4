"""Pseudo-subclasses of a teacher's classes: what its last states tell and its head does not see.

The targets of LELP (see `lelp.py`), for classifiers and for a few answer tokens of a language
model (see `answers.py`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skd_lab.errors import UsageError


def null_space(head: Float[Tensor, "classes hidden"]) -> Float[Tensor, "hidden free"]:
    """Orthonormal directions of the state that the head does not see.

    Raises:
        UsageError: if there are none: the head has as many independent rows as states have numbers.
    """
    _, values, rows = torch.linalg.svd(head.double(), full_matrices=True)
    tiny = torch.finfo(head.dtype).eps * max(head.shape)
    rank = int((values > tiny * values[0]).sum())
    if rank == head.shape[1]:
        raise UsageError(
            f"The head has {head.shape[0]} rows of {head.shape[1]} numbers and sees every "
            "direction of the state: its null space is empty and there is nothing to split. Use "
            "the rows of a few answers alone, or a teacher with wider states."
        )
    return rows[rank:].T.to(head)


@dataclass(frozen=True, eq=False)
class Subclasses:
    """How a teacher's states are split inside every class."""

    free: Float[Tensor, "hidden free"]
    """Directions that the head does not see."""
    means: Float[Tensor, "classes free"]
    axes: Float[Tensor, "classes free splits"]
    """Principal axes of each class, rotated, divided by its spread."""

    @classmethod
    def fit(
        cls,
        states: Float[Tensor, "rows hidden"],
        classes: Int[Tensor, " rows"],
        head: Float[Tensor, "classes hidden"],
        *,
        splits: int,
        seed: int = 0,
        principal: bool = True,
    ) -> "Subclasses":
        """From the teacher's states on training rows alone.

        Args:
            states: that the head is applied to.
            classes: the teacher's own first class of each row.
            head: the rows of the teacher's head for the classes.
            splits: subclasses a class.
            seed: of the rotations, which give all subclasses the same share of the spread; without
                them the first axis would decide alone.
            principal: False takes axes at random in place of the principal ones, a control.

        Raises:
            UsageError: if the null space is empty or has fewer directions than `splits`, or a
                class has fewer than splits + 1 rows.
        """
        free = null_space(head)
        if not 1 <= splits <= free.shape[1]:
            raise UsageError(
                f"splits must be from 1 to the {free.shape[1]} directions that the head does not "
                f"see, got {splits}."
            )
        generator = torch.Generator().manual_seed(seed)
        means, axes = [], []
        for number in range(len(head)):
            own = states[classes == number] @ free
            if len(own) < splits + 1:
                raise UsageError(
                    f"Class {number} has {len(own)} rows, and {splits} subclasses need "
                    f"{splits + 1} at least. Give more rows, or lower splits."
                )
            mean = own.mean(0)
            if principal:
                main = torch.linalg.svd(own - mean, full_matrices=False)[2][:splits].T
            else:
                main = _orthogonal(free.shape[1], generator)[:, :splits].to(own)
            turned = main @ _orthogonal(splits, generator).to(own)
            spread = ((own - mean) @ turned).std().clamp(min=1e-6)
            means.append(mean)
            axes.append(turned / spread)
        return cls(free, torch.stack(means), torch.stack(axes))

    def targets(
        self,
        states: Float[Tensor, "rows hidden"],
        log_probs: Float[Tensor, "rows classes"],
        *,
        sharpness: float = 1.0,
    ) -> Float[Tensor, "rows subclasses"]:
        """p(class) * softmax(sharpness * u)(subclass): a class's subclasses add up to its own p.

        Args:
            states: the teacher's.
            log_probs: the teacher's, of the classes.
            sharpness: beta of the paper; 0 splits every class evenly.
        """
        place = (states @ self.free)[:, None] - self.means
        u = torch.einsum("ncf,cfs->ncs", place, self.axes)
        inside = torch.softmax(sharpness * u, -1)
        return (log_probs.exp()[..., None] * inside).flatten(1)


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """A random rotation or reflection, uniform."""
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


def subclass_loss(
    logits: Float[Tensor, "rows subclasses"], targets: Float[Tensor, "rows subclasses"]
) -> Float[Tensor, " rows"]:
    """KL(targets || student) over class times subclass, nats; 0 where they are equal."""
    known = torch.special.xlogy(targets, targets).sum(-1)
    return known - (targets * torch.log_softmax(logits, -1)).sum(-1)


def fold(logits: Float[Tensor, "rows subclasses"], classes: int) -> Float[Tensor, "rows classes"]:
    """Logits of the classes: the logsumexp over each one's subclasses.

    Raises:
        UsageError: if the subclasses do not divide evenly.
    """
    if logits.shape[-1] % classes:
        raise UsageError(f"{logits.shape[-1]} subclasses do not make {classes} even classes.")
    return torch.logsumexp(logits.unflatten(-1, (classes, -1)), -1)
