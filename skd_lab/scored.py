"""A microbatch that both models have scored: what an objective may look at beyond one token.

Most objectives are a divergence at each token and need nothing of this. One that weighs tokens by
their ids, by other tokens of the sequence or by the whole batch gets a Scored, and looks at
the two distributions a chunk of tokens at a time, so that [tokens, vocabulary] is never held.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.batch import Batch
from skd_lab.projection import Projection, chunked_divergence

OfChunk = Callable[[Tensor, Tensor, slice], Tensor]
"""(student log-probs, teacher log-probs, which tokens they are of) -> one number a token."""


@dataclass(kw_only=True, eq=False)
class Scored:
    """Completion tokens of some rows, with what both models made of them."""

    batch: Batch
    """Ids, masks, lengths, and who wrote each row."""
    weights: Float[Tensor, " tokens"]
    """Share of each token in the window's mean; they add up to 1 over all its microbatches."""
    student: PreTrainedModel
    teacher: PreTrainedModel
    student_hidden: Float[Tensor, "tokens student_hidden"]
    """The student's last hidden states that predict the tokens; gradients flow here."""
    student_head: Projection
    teacher_hidden: Float[Tensor, "tokens teacher_hidden"]
    """The teacher's, a constant."""
    teacher_head: Projection
    temperature: float = 1.0
    """Divides both models' logits."""
    memory: dict[str, Any] = field(default_factory=dict)
    """What a run keeps from update to update, saved with its checkpoints: numbers, texts, tensors,
    and lists and dicts of them. The loop writes "progress", updates done / updates of the run, and
    "kl_references" of the newest evaluation; an objective writes under its own name."""
    teacher_nll: Float[Tensor, " tokens"] | None = None
    """-log p_teacher of the tokens, nats at temperature 1; filled by `nats` and `look`."""

    @property
    def ids(self) -> Int[Tensor, " tokens"]:
        """The completion tokens, row after row."""
        return self.batch.completion_ids

    @property
    def progress(self) -> float:
        """Updates done / updates of the run, in [0, 1)."""
        return float(self.memory.get("progress", 0.0))

    def rows(self) -> Int[Tensor, " tokens"]:
        """Of every token, its row in the batch."""
        lengths = self.batch.lengths
        return torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)

    def nats(
        self, of_chunk: OfChunk, weights: Float[Tensor, " tokens"] | None = None
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
        """Weighted sum of a number per token, with a gradient to the student.

        Args:
            of_chunk: makes the numbers from a chunk's log-probabilities; the student's carry the
                gradient, the teacher's are constants.
            weights: factor of each token, a constant; the window's own if None.

        Returns:
            What an objective's on_batch returns: the loss, the number of every token (detached),
            the student's entropy at every token in nats (detached).
        """
        ids = self.ids
        if self.teacher_nll is None:
            self.teacher_nll = torch.full_like(self.student_hidden[:, 0].detach(), torch.nan)
        nll, at = self.teacher_nll, [slice(0)]

        def watch(log_probs: Tensor, rows: slice) -> None:
            nll[rows] = -log_probs.gather(-1, ids[rows, None]).squeeze(-1).to(nll)
            at[0] = rows  # the divergence of the same chunk comes next

        return chunked_divergence(
            lambda student, teacher: of_chunk(student, teacher, at[0]),
            self.student_hidden,
            self.student_head,
            self.teacher_hidden,
            self.teacher_head,
            self.weights if weights is None else weights,
            self.temperature,
            watch_teacher=watch,
        )

    @torch.no_grad()
    def look(self, at_chunk: Callable[[Tensor, Tensor, slice], None]) -> None:
        """Go through all tokens without a gradient, for an objective that takes two rounds.

        Args:
            at_chunk: called with each chunk's student and teacher log-probabilities and the tokens
                they are of; keeps what it wants.
        """

        def of_chunk(student: Tensor, teacher: Tensor, rows: slice) -> Tensor:
            at_chunk(student, teacher, rows)
            return student.new_zeros(student.shape[0])

        self.nats(of_chunk)

    def of_ids(self) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
        """Log-probabilities of the text's tokens, nats: the student's and the teacher's; constants.

        Both at the loss temperature.
        """
        student = torch.empty(len(self.ids), dtype=torch.float32, device=self.ids.device)
        student = student.to(torch.promote_types(student.dtype, self.student_hidden.dtype))
        teacher, ids = student.clone(), self.ids

        def at_chunk(of_student: Tensor, of_teacher: Tensor, rows: slice) -> None:
            for kept, log_probs in ((student, of_student), (teacher, of_teacher)):
                kept[rows] = log_probs.gather(-1, ids[rows, None]).squeeze(-1).to(kept)

        self.look(at_chunk)
        return student, teacher
