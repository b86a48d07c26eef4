"""Solutions of notebook 07. Made by `make notebooks`; do not edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
import torch

from skd_lab import course


# 07.1: a function distil_loss(student, teacher, ids, prompt_length) that gives a tensor.
def distil_loss(student: Callable, teacher: Callable, ids: Any, prompt_length: int) -> Any:
    """Mean forward KL over the tokens behind the prompt, nats; only the student is trained."""
    with torch.no_grad():
        theirs = torch.log_softmax(teacher(ids), dim=-1)
    mine = torch.log_softmax(student(ids), dim=-1)
    nats = (theirs.exp() * (theirs - mine)).sum(dim=-1)
    return nats[prompt_length - 1 : -1].mean()


course.check("07.1", distil_loss)


# 07.2: a function ends(shares) that gives two numbers.
def ends(shares: Sequence[float]) -> tuple[float, float]:
    """Mean of the first tenth and of the last tenth of a run's values, an update at least."""
    tenth = max(1, len(shares) // 10)
    return sum(shares[:tenth]) / tenth, sum(shares[-tenth:]) / tenth


course.check("07.2", ends)


# 07.3: how near does it come to the teacher on prompts it never trained on? a, b or c
course.check("07.3", "b")


# 07.4: is the method with the lowest training loss the best one? a, b or c
course.check("07.4", "c")
