"""The parts of LW-KD: a teacher of made-up rows, the loss with its views, and the adversary."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from skd_lab.errors import UsageError
from skd_lab.family import digits
from skd_lab.losses import forward_kl

SHARE, TEMPERATURE = 0.5, 4.0
"""a and T of the loss."""
SMOOTHING, TF_TEMPERATURE = 0.1, 20.0
"""Of label smoothing and Tf-KD; the temperature of Tf-KD's fixed teacher."""
MADE_UP, NOISE = 100, 0.6
"""Made-up rows a class; sd of their noise about a prototype in [0, 1]."""


@dataclass(frozen=True)
class LightTeacher:
    """Views of made-up rows, by class: asked with labels alone, it has no way to see a row."""

    log_probs: Float[Tensor, "rows classes"]
    """At temperature T, of every made-up row."""
    classes: Int[Tensor, " rows"]

    def targets(
        self, y: Int[Tensor, " n"], generator: torch.Generator
    ) -> Float[Tensor, "n classes"]:
        """For each label the view of a made-up row of that class, drawn anew.

        Raises:
            UsageError: for a label that the synthesised set does not have.
        """
        found = torch.empty(len(y), self.log_probs.shape[1])
        for c in y.unique().tolist():
            own = (self.classes == c).nonzero()[:, 0]
            if not len(own):
                raise UsageError(
                    f"The synthesised set has no row of class {c}: it must have the classes of the "
                    f"task, and has {self.classes.unique().tolist()}."
                )
            here = (y == c).nonzero()[:, 0]
            drawn = torch.randint(len(own), (len(here),), generator=generator)
            found[here] = self.log_probs[own[drawn]]
        return found

    def relabelled(self, order: Int[Tensor, " classes"]) -> "LightTeacher":
        """The control: the made-up classes under other names, class c as order[c].

        The right class keeps the largest part; what the others get is that of another class.
        """
        log_probs = torch.empty_like(self.log_probs)
        log_probs[:, order] = self.log_probs
        return LightTeacher(log_probs, order[self.classes])


def light_teacher(
    seed: int,
    *,
    classes: int = digits.CLASSES,
    per_class: int = MADE_UP,
    temperature: float = TEMPERATURE,
) -> LightTeacher:
    """A prototype a class with noise about it, and 8 units that learned to tell them apart.

    Raises:
        UsageError: for fewer than two classes, no rows, or a temperature that is not above 0.
    """
    if classes < 2 or per_class < 1:
        raise UsageError(
            f"A synthesised set needs two classes and a row of each, got {classes} classes with "
            f"{per_class} rows."
        )
    if temperature <= 0:
        raise UsageError(f"temperature must be above 0, got {temperature:g}.")
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.rand(classes, 64, generator=generator)
    y = torch.arange(classes).repeat_interleave(per_class)
    x = prototypes[y] + NOISE * torch.randn(len(y), 64, generator=generator)
    model = digits.mlp(8, seed=seed, classes=classes)
    digits.fit(model, x, lambda z: F.cross_entropy(z, y), steps=150)
    with torch.no_grad():
        return LightTeacher(torch.log_softmax(model(x) / temperature, -1), y)


def loss_of(
    logits: Float[Tensor, "n classes"],
    y: Int[Tensor, " n"],
    targets: Float[Tensor, "n classes"],
    *,
    share: float = SHARE,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """(1 - a) CE + a T^2 KL(p || q) with q and p at temperature T, mean over rows.

    Args:
        targets: log-probabilities.
        share: a, in [0, 1].

    Raises:
        UsageError: for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share must be in [0, 1], got {share:g}.")
    soft = forward_kl(torch.log_softmax(logits / temperature, -1), targets).mean()
    return (1 - share) * F.cross_entropy(logits, y) + share * temperature**2 * soft


class Adversary:
    """A small net that is to tell the teacher's views from the student's, trained beside it."""

    def __init__(self, classes: int, *, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(classes, 16), nn.ReLU(), nn.Linear(16, 1))
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=3e-3)

    def fooled(self, student: Float[Tensor, "n classes"]) -> Tensor:
        """-log of the chance it gives the student's views to be the teacher's, mean over rows."""
        return F.softplus(-self.net(student)).mean()

    def step(self, student: Tensor, teacher: Tensor) -> float:
        """One update; returns the share of views that it told right before it."""
        real, fake = self.net(teacher.detach()), self.net(student.detach())
        self.optimizer.zero_grad()
        (F.softplus(-real).mean() + F.softplus(fake).mean()).backward()
        self.optimizer.step()
        return float(torch.cat([real > 0, fake <= 0]).double().mean())


def uniform_teacher(classes: int, temperature: float = TF_TEMPERATURE) -> LightTeacher:
    """Tf-KD's: one fixed view a class, 0.9 for it and the rest alike, softened."""
    rest = SMOOTHING / (classes - 1)
    view = torch.full((classes, classes), rest).fill_diagonal_(1 - SMOOTHING).log()
    return LightTeacher(torch.log_softmax(view / temperature, -1), torch.arange(classes))
