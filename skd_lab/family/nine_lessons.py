"""The harness of the nine methods: spoilt digits, small convolutional nets, one loop for all.

Every method gets the same rows, updates, optimizer and number of tried weights.
"""

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from skd_lab.errors import UsageError
from skd_lab.family import nine_losses as nine
from skd_lab.family.nine_losses import Seen
from skd_lab.family.nine_nets import Net, Problem, accuracy

BATCH, STEPS, RATE = 48, 180, 6e-3
TEACHER, STUDENT, SMALL = 16, 8, 3
"""Channels of the nets."""
BRANCHES = 3
"""Of ONE."""
WEIGHTS = {
    "FitNet": 10.0,
    "AT": 100.0,
    "FSP": 0.5,
    "SP": 3000.0,
    "RKD": 0.1,
    "BSS": 0.1,
    "DML": 1.0,
    "ONE": 0.1,
}
"""Of a method's term beside the cross-entropy: the published one, a tenth or a hundredth of it,
whichever read the validation rows of two other seeds best, half of them with noise of 0.4. Hinton's
is 0.9 to 0.1, as published."""
NINE = ("Hinton", *WEIGHTS)
CONTROLS = ("CE", "CE, early stopping", "label smoothing")


class Lesson:
    """One method's loss of a minibatch, with the modules it trains beside the student."""

    def __init__(self, arm: str, task: Problem, teacher: Net, channels: int, *, seed: int) -> None:
        if arm not in (*NINE, *CONTROLS):
            raise UsageError(f"No method '{arm}'. Choose one of: {', '.join((*NINE, *CONTROLS))}.")
        self.arm, self.task = arm, task
        self.weight = WEIGHTS.get(arm, 0.0)
        branches = BRANCHES if arm == "ONE" else 1
        self.student = Net(channels, seed=seed, branches=branches)
        self.peer = Net(channels, seed=seed + 1) if arm == "DML" else None
        if channels > teacher.channels:
            raise UsageError(
                f"A student of {channels} channels is larger than its teacher of "
                f"{teacher.channels}. Give it {teacher.channels} at most."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            bring = [
                nn.Conv2d(channels, teacher.channels, 1)
                for _ in range({"FitNet": 1, "FSP": 3}.get(arm, 0))
            ]
        self.bring = nn.ModuleList(bring)
        with torch.no_grad():
            self.taught = teacher.see(task.x)
        if arm == "BSS":
            draw = torch.Generator().manual_seed(seed)
            found, of = nine.boundary(task.x, self.taught.logits.argmax(-1), teacher, draw)
            # a row whose view did not turn is its own
            self.edge = task.x.index_copy(0, of, found)
            self.at_edge = teacher(self.edge).detach()

    def parameters(self) -> list[nn.Parameter]:
        """Everything that learns."""
        modules = [self.student, self.bring, *([self.peer] if self.peer else [])]
        return [parameter for module in modules for parameter in module.parameters()]

    def loss(self, rows: Int[Tensor, " rows"], progress: float) -> Tensor:
        """Of the problem's rows of these numbers; progress from 0 to 1."""
        x, y = self.task.x[rows], self.task.y[rows]
        if self.arm == "ONE":
            logits, gated = self.student.branches(x)
            each = [
                F.cross_entropy(z, y) + self.weight * nine.hinton(z, gated.detach(), 3.0)
                for z in logits
            ]
            return torch.stack(each).sum() + F.cross_entropy(gated, y)
        seen = self.student.see(x)
        smooth = 0.1 if self.arm == "label smoothing" else 0.0
        task = F.cross_entropy(seen.logits, y, label_smoothing=smooth)
        if self.arm in CONTROLS:
            return task
        if self.peer is not None:
            other = self.peer(x)
            both = nine.mutual(seen.logits, other) + nine.mutual(other, seen.logits)
            return task + F.cross_entropy(other, y) + self.weight * both
        if self.arm == "Hinton":
            return 0.1 * task + 0.9 * nine.hinton(seen.logits, self.taught.logits[rows])
        return task + self.weight * self._term(seen, rows, progress)

    def _term(self, seen: Seen, rows: Tensor, progress: float) -> Tensor:
        taught = self.taught[rows]
        if self.arm == "FitNet":
            return nine.fitnet(seen, taught, self.bring[0])
        if self.arm == "FSP":
            return nine.flow(seen, taught, self.bring)
        if self.arm == "BSS":
            at = self.student(self.edge[rows])
            return (1 - progress) * nine.hinton(at, self.at_edge[rows], 3.0)
        return {"AT": nine.attention, "SP": nine.similarity, "RKD": nine.relations}[self.arm](
            seen, taught
        )


def learn(lesson: Lesson, *, seed: int, steps: int = STEPS) -> tuple[Net, Net]:
    """Adam on minibatches.

    Returns:
        The student after the last update, and as it was when the validation rows, whose labels
        are spoilt like those of training, were read best (looked at every twentieth of the run).
    """
    optimizer = torch.optim.Adam(lesson.parameters(), lr=RATE, fused=True)
    generator = torch.Generator().manual_seed(seed)
    task, best, kept = lesson.task, -1.0, lesson.student
    for step in range(steps):
        rows = torch.randperm(len(task.y), generator=generator)[:BATCH]
        optimizer.zero_grad()
        lesson.loss(rows, step / steps).backward()
        optimizer.step()
        if (step + 1) % max(1, steps // 20) == 0:
            now = accuracy(lesson.student, task.validation_x, task.validation_y)
            if now > best:
                best, kept = now, copy.deepcopy(lesson.student)
    return lesson.student, kept


def teacher_of(task: Problem, *, seed: int, steps: int = STEPS) -> Net:
    """A teacher of the same rows, stopped early."""
    lesson = Lesson("CE", task, Net(TEACHER, seed=seed), TEACHER, seed=seed + 100)
    return learn(lesson, seed=seed, steps=steps)[1].requires_grad_(False)
