"""scikit-learn's bundled digits for demos that are not about language: 1,797 images of 8 x 8."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skd_lab.batch import Batch
from skd_lab.errors import UsageError
from skd_lab.projection import Projection
from skd_lab.scored import Scored

CLASSES = 10


@dataclass(frozen=True)
class Digits:
    """Images in [0, 1], flat, and their classes."""

    train_x: Tensor
    """[1000, 64]."""
    train_y: Tensor
    test_x: Tensor
    """[797, 64]."""
    test_y: Tensor


@functools.lru_cache(maxsize=16)
def data(seed: int) -> Digits:
    """Split by the seed.

    Raises:
        UsageError: without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError(
            "This demo needs scikit-learn's digits. Install it: pip install 'skd-lab[family]'."
        ) from error
    found = load_digits()
    x = torch.tensor(found.data, dtype=torch.float32) / 16
    y = torch.tensor(found.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    x, y = x[order], y[order]
    return Digits(x[:1000], y[:1000], x[1000:], y[1000:])


def mlp(width: int, *, seed: int, classes: int = CLASSES) -> nn.Sequential:
    """64 - width - classes with ReLU; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, classes))


def fit(
    model: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor], *, steps: int, rate: float = 3e-3
) -> nn.Module:
    """Adam on the whole of x; loss takes the model's logits."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(x)).backward()
        optimizer.step()
    return model


@functools.lru_cache(maxsize=16)
def teacher(seed: int) -> nn.Module:
    """256 units, trained on all training rows by cross-entropy; frozen."""
    own = data(seed)
    model = mlp(256, seed=seed + 100)
    fit(model, own.train_x, lambda z: F.cross_entropy(z, own.train_y), steps=300)
    return model.requires_grad_(False)


def scored(student: Tensor, teacher: Tensor) -> Scored:
    """Logits [rows, classes] as an objective sees a microbatch: each row is a text of one token."""
    rows, classes = student.shape
    ids = teacher.argmax(-1)
    mask = torch.ones(rows, 2, dtype=torch.bool)
    eye = Projection(torch.eye(classes, dtype=student.dtype))
    return Scored(
        batch=Batch(
            input_ids=torch.stack([ids, ids], 1),
            attention_mask=mask,
            completion_mask=mask & torch.tensor([False, True]),
            lengths=torch.ones(rows, dtype=torch.long),
            writers=("reference",) * rows,
        ),
        weights=torch.full((rows,), 1 / rows, dtype=torch.float64),
        student=nn.Identity(),  # type: ignore[arg-type]
        teacher=nn.Identity(),  # type: ignore[arg-type]
        student_hidden=student,
        student_head=eye,
        teacher_hidden=teacher,
        teacher_head=eye,
    )


def mean_of(
    divergence: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor
) -> Tensor:
    """Mean over rows of a divergence of `losses.py`, from logits."""
    return divergence(torch.log_softmax(student, -1), torch.log_softmax(teacher, -1)).mean()
