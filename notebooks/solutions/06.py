"""Solutions of notebook 06. Made by `make notebooks`; do not edit."""

from __future__ import annotations

import torch
from torch import Tensor

from skd_lab import course


# 06.1: which loss is more content with a student that drops one of two good words? a, b or c
course.check("06.1", "b")


# 06.2: a function token_mean_kl(teacher_logits, student_logits, mask) that gives nats.
def token_mean_kl(teacher_logits: Tensor, student_logits: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student), the mean over the tokens that count, in nats."""
    teacher = torch.log_softmax(teacher_logits, -1)
    student = torch.log_softmax(student_logits, -1)
    nats = (teacher.exp() * (teacher - student)).sum(-1)
    return (nats * mask).sum() / mask.sum()


course.check("06.2", token_mean_kl)


# 06.3: a function completion_positions(P, L) that gives a list of positions.
def completion_positions(P: int, L: int) -> list[int]:
    """Positions whose logits predict the completion's tokens."""
    return list(range(P - 1, L - 1))


course.check("06.3", completion_positions)
