"""How a student's exam changes with its teacher: the gradient through a step that is tried.

Used by IKD (`ikd.py`, classifiers) and by `interactive.py` (language models).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from skd_lab.errors import UsageError

Weights = Mapping[str, Tensor]
"""A student's parameters by name."""
Loss = Callable[[Weights], Tensor]
"""Parameters of a student -> a scalar."""

_TINY = 1e-12  # an exam without a mistake has no direction


def exam_gradient(
    course: Loss,
    exam: Loss,
    student: Weights,
    taught: Sequence[Tensor],
    *,
    rate: float,
    differences: float | None = None,
) -> tuple[list[Tensor], Tensor]:
    """How the exam after one step of the course changes with the teacher.

    The gradient of Le(theta - rate grad_theta Lc(theta, phi)) for phi, which is
    -rate grad_phi <grad_theta Lc, v> with v = grad Le at the end of the step.

    Args:
        course: Lc, of any student's parameters; its graph leads to `taught`.
        exam: Le, of any student's parameters.
        student: theta; left as it is.
        taught: phi, the parameters of the teacher that learn.
        rate: of the student's virtual step, plain gradient descent.
        differences: None for the exact gradient, through the gradient of the course. A number
            takes grad_phi Lc at theta +- differences v / |v| in its place (as DARTS does), for
            models whose layers cannot be differentiated twice.

    Returns:
        A gradient for each of `taught`, and Le after the step, detached.

    Raises:
        UsageError: for a rate that is not above 0, or a course whose graph does not reach `taught`.
    """
    if not rate > 0:
        raise UsageError(f"The rate of the virtual step must be above 0, got {rate:g}. Use 0.1.")
    theta = {name: value.detach().requires_grad_() for name, value in student.items()}
    slopes = torch.autograd.grad(
        course(theta),
        list(theta.values()),
        create_graph=differences is None,
        materialize_grads=True,
    )
    after = {
        name: (value - rate * slope).detach().requires_grad_()
        for (name, value), slope in zip(theta.items(), slopes, strict=True)
    }
    result = exam(after)
    v = torch.autograd.grad(result, list(after.values()), materialize_grads=True)
    if differences is None:
        along = torch.stack([(s * d).sum() for s, d in zip(slopes, v, strict=True)]).sum()
        found = _for(taught, along)
    else:
        small = differences / max(float(torch.cat([d.flatten() for d in v]).norm()), _TINY)
        plus, minus = (
            {n: t.detach() + side * d for (n, t), d in zip(theta.items(), v, strict=True)}
            for side in (small, -small)
        )
        ends = _for(taught, course(plus)), _for(taught, course(minus))
        found = [(a - b) / (2 * small) for a, b in zip(*ends, strict=True)]
    return [-rate * slope for slope in found], result.detach()


def _for(taught: Sequence[Tensor], loss: Tensor) -> list[Tensor]:
    """The loss' gradient; zeros for what it does not depend on."""
    found: Sequence[Tensor | None] = [None]
    if loss.requires_grad:
        found = torch.autograd.grad(loss, taught, allow_unused=True)
    if all(slope is None for slope in found):
        raise UsageError(
            "The course does not lead to the teacher's parameters: nothing of the teacher can "
            "learn from an exam. Make the teacher's output with a gradient."
        )
    pairs = zip(found, taught, strict=True)
    return [torch.zeros_like(part) if slope is None else slope for slope, part in pairs]


class InteractiveTeacher:
    """Parameters of a teacher that are changed by exams; everything else of it stays."""

    def __init__(self, taught: Sequence[Tensor], *, rate: float, virtual_rate: float) -> None:
        """
        Args:
            taught: parameters that learn.
            rate: Adam's, for them.
            virtual_rate: of the student's step that is tried and thrown away.
        """
        self.taught, self.virtual_rate = list(taught), virtual_rate
        self.optimizer = torch.optim.Adam(self.taught, lr=rate)

    def exam(self, course: Loss, exam: Loss, student: Weights) -> float:
        """One exam and one update of the teacher; the exam's loss before the update.

        Raises:
            UsageError: as `exam_gradient`.
        """
        found, result = exam_gradient(course, exam, student, self.taught, rate=self.virtual_rate)
        for part, slope in zip(self.taught, found, strict=True):
            part.grad = slope
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(result)
