"""Exercises of notebook 06, Which mistakes hurt?: divergences, the mean, the shift."""

import torch
from torch import Tensor

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question

add_question(
    "06.1",
    "which loss is more content with a student that drops one of two good words? a, b or c",
    "b",
    {
        "a": "forward KL asks how the student likes what the teacher writes: half of that is dog.",
        "b": "reverse KL only looks where the student goes, and the teacher finds cat good.",
        "c": "look at the left picture: one curve rises without end, the other does not.",
    },
)


def token_mean_kl(teacher_logits: Tensor, student_logits: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student), the mean over the tokens that count, in nats."""
    teacher = torch.log_softmax(teacher_logits, -1)
    student = torch.log_softmax(student_logits, -1)
    nats = (teacher.exp() * (teacher - student)).sum(-1)
    return (nats * mask).sum() / mask.sum()


def _reverse(teacher_logits: Tensor, student_logits: Tensor, mask: Tensor) -> Tensor:
    return token_mean_kl(student_logits, teacher_logits, mask)


def _over_all(teacher_logits: Tensor, student_logits: Tensor, mask: Tensor) -> Tensor:
    return token_mean_kl(teacher_logits, student_logits, mask) * mask.sum() / len(mask)


def _sum(teacher_logits: Tensor, student_logits: Tensor, mask: Tensor) -> Tensor:
    return token_mean_kl(teacher_logits, student_logits, mask) * mask.sum()


def _no_mask(teacher_logits: Tensor, student_logits: Tensor, mask: Tensor) -> Tensor:
    return token_mean_kl(teacher_logits, student_logits, torch.ones_like(mask))


def _over_words(teacher_logits: Tensor, student_logits: Tensor, mask: Tensor) -> Tensor:
    return token_mean_kl(teacher_logits, student_logits, mask) / teacher_logits.shape[-1]


def _raw_logits(teacher_logits: Tensor, student_logits: Tensor, mask: Tensor) -> Tensor:
    teacher = torch.softmax(teacher_logits, -1)
    nats = (teacher * (teacher_logits - student_logits)).sum(-1)
    return (nats * mask).sum() / mask.sum()


_A = torch.tensor([[2.0, 0.5, -1.0], [0.0, 0.0, 1.0], [1.0, -1.0, 0.0]], dtype=torch.float64)
_B = torch.tensor([[0.0, 1.5, 0.5], [1.0, 0.0, -1.0], [-1.0, 2.0, 0.5]], dtype=torch.float64)
_ALL = torch.ones(3, dtype=torch.float64)
_TWO = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)

add(
    Exercise(
        number="06.2",
        asks="a function token_mean_kl(teacher_logits, student_logits, mask) that gives nats.",
        answer=token_mean_kl,
        cases=(
            Case("zero for equals", (_A, _A, _ALL)),
            Case("three tokens count", (_A, _B, _ALL)),
            Case("a prompt token does not count", (_A, _B, _TWO)),
            Case("logits may be shifted by a constant", (_A + 5, _B, _ALL)),
        ),
        mistakes=(
            Mistake(
                _reverse, "That is KL(student || teacher): the teacher's weights are asked for."
            ),
            Mistake(_over_all, "Divide by the tokens that count: mask.sum()."),
            Mistake(_sum, "That is the sum over tokens. Divide by how many count."),
            Mistake(_no_mask, "Tokens with mask 0 must not count."),
            Mistake(_over_words, "A KL is a sum over the vocabulary, not a mean."),
            Mistake(
                _raw_logits, "Logits are no log-probabilities: take log_softmax of both first."
            ),
        ),
    )
)


def completion_positions(P: int, L: int) -> list[int]:
    """Positions whose logits predict the completion's tokens."""
    return list(range(P - 1, L - 1))


def _unshifted(P: int, L: int) -> list[int]:
    return list(range(P, L))


def _one_short(P: int, L: int) -> list[int]:
    return list(range(P, L - 1))


def _one_too_many(P: int, L: int) -> list[int]:
    return list(range(P - 1, L))


def _everything(P: int, L: int) -> list[int]:
    return list(range(L))


add(
    Exercise(
        number="06.3",
        asks="a function completion_positions(P, L) that gives a list of positions.",
        answer=completion_positions,
        cases=(
            Case("two of five are the prompt", (2, 5)),
            Case("a completion of one token", (4, 5)),
            Case("a prompt of one token", (1, 4)),
        ),
        mistakes=(
            Mistake(
                _unshifted, "Those are the tokens' own places: their logits are about the next."
            ),
            Mistake(
                _one_short, "The first completion token is predicted at the prompt's last place."
            ),
            Mistake(_one_too_many, "The last position's logits are about what follows the text."),
            Mistake(_everything, "The prompt is not the student's text: leave it out."),
        ),
    )
)
