"""Rollouts to padded tensors, and the one next-token shift of the library.

The shift stands in `completion_logits` alone: the state at position l - 1 predicts the token at l.
Everything behind it works on flat rows, one a completion token, with no mask left to forget.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skd_lab.errors import UsageError
from skd_lab.records import Rollout


@dataclass(kw_only=True)
class Batch:
    """Prompts and completions of some rollouts, padded on the right."""

    input_ids: Int[Tensor, "batch length"]
    """Prompt, completion, padding."""
    attention_mask: Bool[Tensor, "batch length"]
    """False on padding."""
    completion_mask: Bool[Tensor, "batch length"]
    """True where input_ids holds a trained completion token."""
    lengths: Int[Tensor, " batch"]
    """Completion tokens of each row."""
    teacher_hidden: Float[Tensor, "tokens hidden"] | None = None
    """The teacher's last hidden state behind each completion token, if every rollout kept it."""
    writers: tuple[str, ...] = ()
    """Of each row, who wrote its completion: "reference", "student", "teacher" or "mixed"."""

    @property
    def completion_ids(self) -> Int[Tensor, " tokens"]:
        """The completion tokens, row after row: the order of `completion_logits`."""
        return self.input_ids[self.completion_mask]

    @property
    def tokens(self) -> int:
        """Number of completion tokens."""
        return int(self.lengths.sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            completion_mask=self.completion_mask.to(device),
            lengths=self.lengths.to(device),
            teacher_hidden=None if self.teacher_hidden is None else self.teacher_hidden.to(device),
            writers=self.writers,
        )


def collate(rollouts: Sequence[Rollout], pad_id: int) -> Batch:
    """Pad rollouts on the right into one batch, on the CPU.

    Args:
        rollouts: at least one, each with a prompt and a completion.
        pad_id: fills the end of the shorter rows; masked, so its value changes nothing.

    Returns:
        The batch; with `teacher_hidden` if every rollout has it, on the device where it lies.

    Raises:
        UsageError: if there are no rollouts, or one has no prompt or no completion.
    """
    if not rollouts:
        raise UsageError("A batch needs at least one rollout, got none. Pass one prompt or more.")
    lengths = [len(rollout.completion_ids) for rollout in rollouts]
    starts = [len(rollout.prompt_ids) for rollout in rollouts]
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        if not start or not length:
            raise UsageError(
                f"Row {row} of the batch has {start} prompt tokens and {length} completion tokens. "
                "Each needs at least one: the first completion token is predicted at the last of "
                "the prompt, and a row without a completion trains nothing. Drop this row."
            )
    width = max(start + length for start, length in zip(starts, lengths, strict=True))
    input_ids = torch.full((len(rollouts), width), pad_id, dtype=torch.long)
    for row, rollout in enumerate(rollouts):
        end = starts[row] + lengths[row]
        input_ids[row, : starts[row]] = torch.tensor(rollout.prompt_ids, dtype=torch.long)
        input_ids[row, starts[row] : end] = rollout.completion_ids.cpu()
    first, count = torch.tensor(starts), torch.tensor(lengths)
    position = torch.arange(width)
    attention_mask = position < (first + count)[:, None]
    hidden = [rollout.teacher_hidden for rollout in rollouts if rollout.teacher_hidden is not None]
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        completion_mask=attention_mask & (position >= first[:, None]),
        lengths=count,
        teacher_hidden=torch.cat(hidden) if len(hidden) == len(rollouts) else None,
        writers=tuple(_writer(rollout) for rollout in rollouts),
    )


def _writer(rollout: Rollout) -> str:
    hands = set(rollout.trace.source)
    return hands.pop() if len(hands) == 1 else "mixed"


def completion_logits(
    states: Float[Tensor, "batch length states"], batch: Batch
) -> Float[Tensor, "tokens states"]:
    """The logits (or last hidden states) that predict the completion tokens.

    Args:
        states: what a causal model gave at every position of `batch.input_ids`.
        batch: says which tokens are completion tokens.

    Returns:
        One row a completion token, in the order of `batch.completion_ids`: the state at l - 1 for
        the token at l.
    """
    return states[:, :-1][batch.completion_mask[:, 1:]]


def completion_hidden(model: Any, batch: Batch) -> Float[Tensor, "tokens hidden"]:
    """The last hidden states that predict the completion tokens, by one forward of the model.

    Args:
        model: a transformers causal language model, or a wrapper around one; run as it is found,
            in train or eval mode, with or without gradients.
        batch: on the model's device.

    Returns:
        One row a completion token, ready for `Projection.of(model)`.
    """
    out = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        output_hidden_states=True,
        logits_to_keep=1,  # the head runs in chunks, on completion tokens alone
        use_cache=False,
    )
    return completion_logits(out.hidden_states[-1], batch)
