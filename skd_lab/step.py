"""One optimizer update: the loss of a window of rollouts, its gradient, and what was measured."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DistributedType
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from skd_lab.batch import Batch, collate, completion_hidden, completion_logits
from skd_lab.clock import PhaseClock
from skd_lab.decode import sampling_mode
from skd_lab.errors import NoMemoryError, NonFiniteLossError
from skd_lab.halving import is_out_of_memory
from skd_lab.layers import FlatLayers
from skd_lab.losses import token_weights
from skd_lab.objectives import Objective
from skd_lab.projection import Projection, chunked_nll
from skd_lab.records import Rollout
from skd_lab.scored import Scored
from skd_lab.sharding import whole

# where a smaller scale helps no more: half of float16's numbers lie below 1
_SMALLEST_SCALE = 1.0


class StudentLoss(nn.Module):
    """The student's forward, its projection and the objective, as one module.

    One module, because accelerate wraps it as a whole: a backbone called beside the wrapper
    would lose gradient synchronisation and mixed precision without any error.

    Args:
        student: the trained model.
        objective: what is averaged.
        teacher: None if the objective asks no teacher. Only its output head is used here; the
            teacher never has a gradient.
        vocab_size: ids that both models share.
        temperature: the loss temperature, divides both logits.
        memory: what the run keeps from update to update, for objectives that do; see Scored.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        objective: Objective,
        teacher: PreTrainedModel | None,
        vocab_size: int,
        temperature: float = 1.0,
        memory: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.memory = {} if memory is None else memory
        self.student = student
        self.objective, self.vocab_size, self.temperature = objective, vocab_size, temperature
        # in a tuple, so that the teacher is no submodule: not prepared, not saved, not trained
        self._teacher = (teacher,)

    def forward(self, batch: Batch, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss (sum of weights * nats); of every token nats, student entropy, teacher NLL."""
        hidden = completion_hidden(self.student, batch)
        head = Projection.of(self.student, self.vocab_size)
        unknown = torch.full_like(hidden[:, 0].detach(), torch.nan)
        if not self.objective.asks_teacher:
            ids = batch.completion_ids
            return *chunked_nll(hidden, head, ids, weights, self.temperature), unknown
        (teacher,) = self._teacher
        assert teacher is not None and batch.teacher_hidden is not None
        scored = Scored(
            batch=batch,
            weights=weights,
            student=self.student,
            teacher=teacher,
            student_hidden=hidden,
            student_head=head,
            teacher_hidden=batch.teacher_hidden,
            teacher_head=Projection.of(teacher, min(self.vocab_size, _ids(teacher))),
            temperature=self.temperature,
            memory=self.memory,
            teacher_nll=unknown,
        )
        return *self.objective.of(scored), unknown


@dataclass(frozen=True, kw_only=True)
class WindowStats:
    """Sums over a window's completion tokens."""

    loss: float
    """Value of the objective, nats (the reduction's mean)."""
    student_entropy: float
    """Mean over tokens, nats, temperature 1."""
    teacher_nll: float
    """-log p_teacher of the training text, mean over tokens, nats; nan without a teacher."""
    tokens: int
    """Completion tokens of the window, all processes."""


def _ids(model: PreTrainedModel) -> int:
    """Rows of the output head: fewer than the student's ids where the vocabularies differ."""
    return int(model.get_output_embeddings().weight.shape[0])


def teacher_states(
    teacher: PreTrainedModel, rollouts: Sequence[Rollout], pad_id: int
) -> Float[Tensor, "tokens hidden"]:
    """The teacher's last hidden states behind every completion token, row after row.

    Rollouts that the teacher judged or wrote bring theirs along; the others take one forward.
    """
    states = [rollout.teacher_hidden for rollout in rollouts]
    lacking = [rollout for rollout in rollouts if rollout.teacher_hidden is None]
    if lacking:
        with sampling_mode(teacher):
            batch = collate(lacking, pad_id).to(teacher.device)
            seen = iter(_seen_by(teacher, batch).split(batch.lengths.tolist()))
        states = [next(seen) if own is None else own for own in states]
    return torch.cat([own for own in states if own is not None])


def _seen_by(teacher: PreTrainedModel, batch: Batch) -> Float[Tensor, "tokens hidden"]:
    if not FlatLayers.fit(teacher):
        return completion_hidden(teacher, batch)
    rows, width = batch.input_ids.shape
    positions = torch.arange(width, device=batch.input_ids.device).expand(rows, width)
    layers = FlatLayers(teacher, rows, width, cached=False)
    # rows are padded at the end, where no token before it looks
    states = layers.forward(batch.input_ids, positions, width, from_start=True)
    return completion_logits(states, batch)


def count_window(accelerator: Accelerator, rollouts: Sequence[Rollout]) -> tuple[int, int]:
    """Completion tokens and sequences of the window, over all processes."""
    mine = [sum(len(rollout.completion_ids) for rollout in rollouts), len(rollouts)]
    counts = torch.tensor(mine, device=accelerator.device)
    tokens, sequences = accelerator.reduce(counts, reduction="sum").tolist()
    return tokens, sequences


def accumulate_gradients(
    accelerator: Accelerator,
    module: nn.Module,
    rollouts: Sequence[Rollout],
    *,
    teacher: PreTrainedModel | None,
    pad_id: int,
    reduction: str,
    microbatch_size: int,
    clock: PhaseClock,
    counts: tuple[int, int] | None = None,
) -> WindowStats:
    """Add the gradient of a whole window's mean loss to the student's parameters.

    The divisor is counted after the rollouts and over the whole window (all microbatches, all
    processes), so 4 x 2 equals 1 x 8 whatever the lengths.

    Args:
        module: a StudentLoss as accelerate prepared it.
        rollouts: this process' share of the window.
        teacher: scores what the rollouts did not; None if the objective asks no teacher.
        pad_id: fills the end of shorter rows.
        reduction: "mean_over_tokens" or "mean_over_sequences".
        microbatch_size: rows in one forward and backward.
        clock: books wall seconds under "score" and "update".
        counts: what count_window gave, where it was asked already; nothing in here waits for
            another process then, before the last microbatch's gradients are exchanged.

    Raises:
        NonFiniteLossError: if a microbatch's loss is nan or infinite; nothing was stepped.
        NoMemoryError: if memory runs out while gradients are exchanged with other processes,
            which cannot be begun again.
    """
    device = accelerator.device
    tokens, sequences = counts or count_window(accelerator, rollouts)
    sums = torch.zeros(3, dtype=torch.float64)
    starts = range(0, len(rollouts), microbatch_size)
    for start in starts:
        part = rollouts[start : start + microbatch_size]
        batch = collate(part, pad_id).to(device)
        weights = token_weights(reduction, batch.lengths, tokens, sequences)
        if teacher is not None:
            with clock.phase("score"), accelerator.autocast():
                batch.teacher_hidden = teacher_states(teacher, part, pad_id).to(device)
        last = start == starts[-1]
        sync = contextlib.nullcontext() if last else accelerator.no_sync(module)
        if accelerator.distributed_type == DistributedType.DEEPSPEED:
            accelerator.gradient_state._set_sync_gradients(last)  # its engine steps at the last
        with clock.phase("update"), sync:
            loss, _, entropy, teacher_nll = module(batch, weights)
            if not torch.isfinite(loss):
                raise NonFiniteLossError(
                    f"The loss became {loss.item()} in the rows {_rows(rollouts, start, batch)}. "
                    "Look at those prompts, or lower --learning-rate or --max-grad-norm; what was "
                    "saved before is kept, and --resume goes on from the last checkpoint."
                )
            with _not_again(exchanges=last and accelerator.num_processes > 1):
                # gradients are averaged over processes; the weights already divide by all tokens
                accelerator.backward(loss * accelerator.num_processes)
        sums[0] += loss.item()
        sums[1] += entropy.double().sum().item()
        sums[2] += teacher_nll.double().sum().item()
    sums = accelerator.reduce(sums.to(device, _widest(device)), reduction="sum").cpu()
    return WindowStats(
        loss=sums[0].item(),
        student_entropy=sums[1].item() / tokens,
        teacher_nll=sums[2].item() / tokens,
        tokens=tokens,
    )


def apply_gradients(
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: AcceleratedOptimizer,
    max_norm: float,
    rows: str,
) -> dict[str, float]:
    """Clip the gradients, take an optimizer step, and let the gradients go.

    Under a loss scale (float16) an overflow skips the step and halves the scale; the scale
    doubles after 2,000 steps without one (Micikevicius et al. 2018, arXiv 1710.03740).

    Args:
        accelerator: whose scaler, if any, has scaled the loss.
        module: as accelerate prepared it.
        optimizer: as accelerate prepared it.
        max_norm: gradients are clipped to this norm, unscaled.
        rows: of the window, for the message.

    Returns:
        grad_norm, before clipping; under a loss scale also loss_scale, that of this step, and
        skipped: 1.0 if it overflowed and there was no step (then grad_norm is nan), else 0.0.

    Raises:
        NonFiniteLossError: if the gradient is nan or infinite, whatever the scale.
    """
    scaler = accelerator.scaler
    scale = None if scaler is None else scaler.get_scale()
    norm = float(whole(accelerator.clip_grad_norm_(module.parameters(), max_norm)))
    if not math.isfinite(norm) and (scale is None or scale < _SMALLEST_SCALE):
        raise NonFiniteLossError(
            f"The gradient became {norm}, {rows}; nothing was changed by it. Lower the learning "
            "rate and go on from the last checkpoint with --resume."
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)  # they would lie beside the next rollouts' caches
    if scale is None:
        return {"grad_norm": norm}
    skipped = optimizer.step_was_skipped
    norm = math.nan if skipped else norm
    return {"grad_norm": norm, "loss_scale": scale, "skipped": float(skipped)}


@contextlib.contextmanager
def _not_again(exchanges: bool) -> Iterator[None]:
    """What runs out of memory in here is not tried again if it exchanges gradients."""
    try:
        yield
    except RuntimeError as error:
        if not exchanges or isinstance(error, NoMemoryError) or not is_out_of_memory(error):
            raise
        raise NoMemoryError(
            "No memory left while gradients were exchanged between the processes. Lower "
            "--microbatch-size or --max-new-tokens and go on with --resume."
        ) from error


def _rows(rollouts: Sequence[Rollout], start: int, batch: Batch) -> str:
    return ", ".join(str(r.row) for r in rollouts[start : start + len(batch.lengths)])


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
