"""LELP for a language model that answers with one of a few tokens (yes or no, A to D, a label).

Over a whole vocabulary there is nothing to split: its head sees every direction of the state. Among
a few answers most directions are free, so the states at the place of the answer tell kinds of
questions apart that the answer does not. The student gets a head of answers times subclasses there:

    states = completion_hidden(teacher, batch)  # batch: each prompt with its answer token
    splits = AnswerSplits.fit(Projection.of(teacher), ids, states, splits=4)
    head = AnswerHead(Projection.of(student), ids, splits=4)
    loss = head.loss(completion_hidden(student, batch), splits.targets(states)).mean()
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from skd_lab.errors import UsageError
from skd_lab.family.subclasses import Subclasses, fold, subclass_loss
from skd_lab.projection import Projection


@dataclass(frozen=True, eq=False)
class AnswerSplits:
    """A teacher's answers, split into subclasses by its last states."""

    ids: Int[Tensor, " answers"]
    """Tokens that are answers."""
    head: Projection
    """The teacher's."""
    split: Subclasses

    @classmethod
    def fit(
        cls,
        head: Projection,
        ids: Sequence[int],
        states: Float[Tensor, "rows hidden"],
        *,
        splits: int = 4,
        seed: int = 0,
    ) -> "AnswerSplits":
        """From the teacher's states at the place of the answer, on training rows alone.

        Args:
            head: the teacher's output head.
            ids: of the answers: two at least, each a token of its own.
            states: last hidden states that predict the answer (`batch.completion_hidden`).
            splits: subclasses an answer.

        Raises:
            UsageError: for ids that are no answers, an empty null space (as many answers as the
                state has numbers), or an answer that the teacher gives to too few rows.
        """
        known = _known(ids, head)
        first = head.logits(states)[:, known].argmax(-1)
        own = head.weight.detach()[known].to(states)
        split = Subclasses.fit(states, first, own, splits=splits, seed=seed)
        return cls(known, head, split)

    @torch.no_grad()
    def targets(
        self, states: Float[Tensor, "rows hidden"], sharpness: float = 1.0
    ) -> Float[Tensor, "rows subclasses"]:
        """Answer times subclass; over an answer's subclasses they add up to p(answer | answers)."""
        log_probs = torch.log_softmax(self.head.logits(states)[:, self.ids], -1)
        return self.split.targets(states, log_probs.to(states), sharpness=sharpness)

    @property
    def splits(self) -> int:
        """Subclasses an answer."""
        return self.split.axes.shape[-1]


def _known(ids: Sequence[int], head: Projection) -> Int[Tensor, " answers"]:
    if len(set(ids)) != len(ids) or len(ids) < 2 or not 0 <= min(ids) <= max(ids) < head.size:
        raise UsageError(
            f"Answers need two ids or more, each once and below {head.size}, got {list(ids)}."
        )
    return torch.tensor(list(ids), dtype=torch.long)


class AnswerHead(nn.Module):
    """A student's head of answers times subclasses, at the place of the answer.

    It begins as the rows of the student's own head, one copy a subclass: folded back it gives the
    student's own distribution over the answers, and it is dropped or kept after training.
    """

    def __init__(self, head: Projection, ids: Sequence[int], splits: int) -> None:
        """
        Args:
            head: the student's output head; left as it is.
            ids: of the answers.
            splits: subclasses an answer.

        Raises:
            UsageError: for a head that bends its logits, which rows alone do not give, for ids
                that are no answers, or less than one subclass.
        """
        super().__init__()
        if head.softcap is not None:
            raise UsageError(
                "The student's head caps its logits, so that no rows of it make a head of answers. "
                "Choose a student without final_logit_softcapping."
            )
        if splits < 1:
            raise UsageError(f"splits must be at least 1, got {splits}.")
        known = _known(ids, head)
        rows = head.weight.detach()[known] * head.scale
        self.answers = len(known)
        self.weight = nn.Parameter(rows.repeat_interleave(splits, 0))
        shift = torch.zeros(len(known)).to(rows)
        if head.bias is not None:
            shift = head.bias.detach()[known].to(rows) * head.scale
        self.bias = nn.Parameter(shift.repeat_interleave(splits))

    def forward(self, states: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows subclasses"]:
        """Logits of answers times subclasses, from the student's last states."""
        return nn.functional.linear(states.to(self.weight.dtype), self.weight, self.bias)

    def loss(
        self, states: Float[Tensor, "rows hidden"], targets: Float[Tensor, "rows subclasses"]
    ) -> Float[Tensor, " rows"]:
        """KL(targets || student), nats a row."""
        return subclass_loss(self(states), targets.to(self.weight.dtype))

    def log_probs(self, states: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows answers"]:
        """Over the answers, the subclasses folded back."""
        return torch.log_softmax(fold(self(states), self.answers), -1)
