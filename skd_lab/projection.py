"""From hidden states to a loss without ever holding [tokens, vocabulary].

At Qwen's 151,936 ids the float32 logits of 8,192 tokens take 5 GB, several times in a backward
pass. Here tokens are projected a chunk at a time, and their gradient is made while the chunk is
there, in the forward pass: the backward pass only multiplies it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from skd_lab.errors import UsageError

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(student log-probabilities, teacher log-probabilities) -> nats, as in `losses.py`."""


def chunk_size(ids: int, device: str) -> int:
    """Tokens projected at once. On a CPU about eight tensors [tokens, ids] should fit its cache."""
    return max(128, (2**18 if device == "cpu" else 2**25) // ids)  # fewer are slow: performance.md


@dataclass(frozen=True, eq=False)
class Projection:
    """A model's output head: logits = softcap * tanh(scale * (h W^T + b) / softcap).

    Attributes:
        weight: the head's weight; the embedding itself where the two are tied.
        bias: the head's bias, if it has one.
        softcap: Gemma's `final_logit_softcapping`; None for no cap.
        scale: factor on the logits (Cohere's `logit_scale`, one over Granite's `logits_scaling`).
        vocab_size: ids kept, the first ones; None keeps every row of the weight.
    """

    weight: Float[Tensor, "rows hidden"]
    bias: Float[Tensor, " rows"] | None = None
    softcap: float | None = None
    scale: float = 1.0
    vocab_size: int | None = None

    def __post_init__(self) -> None:
        if self.vocab_size is not None and not 0 < self.vocab_size <= self.weight.shape[0]:
            raise UsageError(
                f"vocab_size must be from 1 to the {self.weight.shape[0]} rows of the output head, "
                f"got {self.vocab_size}. Pass the number of ids that student and teacher share."
            )

    @classmethod
    def of(cls, model: Any, vocab_size: int | None = None) -> "Projection":
        """The output head of a transformers causal language model, cut to `vocab_size` ids.

        Raises:
            UsageError: if the model has no output head, or one that is more than a weight.
        """
        head = model.get_output_embeddings()
        if head is None or hasattr(head, "base_layer") or not head.weight.is_floating_point():
            raise UsageError(
                f"{type(model).__name__} has no plain output embeddings to project hidden states "
                "with: none at all, quantised ones, or ones that carry an adapter. Load it as a "
                "causal language model (AutoModelForCausalLM), with adapters in its blocks."
            )
        config = model.config.get_text_config()
        factor = getattr(config, "logit_scale", None) or 1.0
        divisor = getattr(config, "logits_scaling", None) or 1.0
        softcap = getattr(config, "final_logit_softcapping", None)
        return cls(head.weight, getattr(head, "bias", None), softcap, factor / divisor, vocab_size)

    @property
    def size(self) -> int:
        """Number of ids that logits are made for."""
        return self.weight.shape[0] if self.vocab_size is None else self.vocab_size

    def logits(self, hidden: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape vocab"]:
        """Logits of the kept ids, in float32 at least."""
        weight = self.weight[: self.size]
        bias = None if self.bias is None else self.bias[: self.size]
        return self._finish(F.linear(hidden.to(weight.dtype), weight, bias))

    def _constant(self) -> "Projection":
        """The kept rows alone, without a gradient, in the dtype that autocast asks for here."""
        dtype, device = self.weight.dtype, self.weight.device.type
        if torch.is_autocast_enabled(device) and dtype != torch.float64:
            dtype = torch.get_autocast_dtype(device)
        weight = self.weight.detach()[: self.size].to(dtype)
        bias = None if self.bias is None else self.bias.detach()[: self.size].to(dtype)
        return Projection(weight, bias, self.softcap, self.scale)

    def _finish(self, products: Tensor) -> Tensor:
        """Everything after the matrix product."""
        logits = products.to(torch.promote_types(products.dtype, torch.float32))
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits


def chunked_divergence(
    divergence: Divergence,
    student_hidden: Float[Tensor, "tokens student_hidden"],
    student_projection: Projection,
    teacher_hidden: Float[Tensor, "tokens teacher_hidden"],
    teacher_projection: Projection,
    weights: Float[Tensor, " tokens"],
    temperature: float = 1.0,
    chunk_tokens: int | None = None,
    watch_teacher: Callable[[Float[Tensor, "chunk vocab"], slice], None] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """Weighted divergence between the two heads' distributions, a chunk of tokens at a time.

    Value and gradient equal those of the dense computation. The gradient reaches
    `student_hidden` and the student head's weight and bias; the teacher's side is a constant.

    Args:
        divergence: one of `losses.py`, its parameters bound (functools.partial).
        student_hidden: last hidden states that predict the tokens.
        student_projection: the student's output head.
        teacher_hidden: the teacher's, for the same tokens.
        teacher_projection: the teacher's output head, with the same number of ids.
        weights: factor of each token in the loss (`losses.token_weights`); a constant.
        temperature: the loss temperature; divides both logits. There is no factor T^2.
        chunk_tokens: tokens projected at once; chosen from the vocabulary and device if None.
        watch_teacher: called with the teacher's log-probabilities (temperature 1) of every chunk,
            and the tokens they are of: to measure the teacher without projecting again.

    Returns:
        loss: sum of weights * nats, with a gradient.
        nats: the divergence per token, detached.
        entropy: the student's entropy per token at temperature 1, in nats, detached.

    Raises:
        UsageError: if there are no tokens, or sizes, temperature or chunk_tokens make no sense.
    """
    if teacher_projection.size != student_projection.size:
        raise UsageError(
            f"student and teacher must project to the same ids, got {student_projection.size} and "
            f"{teacher_projection.size}. Pass the shared vocab_size to both projections."
        )
    if teacher_hidden.shape[0] != student_hidden.shape[0]:
        raise UsageError(
            f"student and teacher must cover the same tokens, got {student_hidden.shape[0]} and "
            f"{teacher_hidden.shape[0]} hidden states. Take both from the same completions."
        )
    teacher = teacher_projection._constant()

    def nats_of_chunk(student_log_probs: Tensor, rows: slice) -> Tensor:
        with torch.no_grad():
            logits = teacher.logits(teacher_hidden[rows])
            teacher_log_probs = _log_softmax(logits, temperature)
            if watch_teacher is not None:
                watch_teacher(teacher_log_probs if temperature == 1 else _log_softmax(logits), rows)
        return divergence(student_log_probs, teacher_log_probs)

    return _chunked(
        nats_of_chunk, student_hidden, student_projection, weights, temperature, chunk_tokens
    )


def chunked_nll(
    student_hidden: Float[Tensor, "tokens student_hidden"],
    student_projection: Projection,
    ids: Int[Tensor, " tokens"],
    weights: Float[Tensor, " tokens"],
    temperature: float = 1.0,
    chunk_tokens: int | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """Weighted negative log-likelihood of the tokens of a text, a chunk of tokens at a time.

    Arguments, results and errors are those of `chunked_divergence`, with the tokens' ids in the
    place of the teacher.
    """
    if ids.shape[0] != student_hidden.shape[0]:
        raise UsageError(
            f"every token needs one hidden state, got {ids.shape[0]} ids and "
            f"{student_hidden.shape[0]} hidden states. Take both from the same completions."
        )

    def nats_of_chunk(student_log_probs: Tensor, rows: slice) -> Tensor:
        return -student_log_probs.gather(-1, ids[rows].unsqueeze(-1)).squeeze(-1)

    return _chunked(
        nats_of_chunk, student_hidden, student_projection, weights, temperature, chunk_tokens
    )


def _chunked(
    nats_of_chunk: Callable[[Tensor, slice], Tensor],
    hidden: Tensor,
    projection: Projection,
    weights: Tensor,
    temperature: float,
    chunk_tokens: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    tokens = hidden.shape[0]
    if tokens == 0:
        raise UsageError("a loss needs at least one token, got none. Drop empty completions first.")
    if weights.shape != (tokens,):
        raise UsageError(
            f"{tokens} tokens need as many weights, got shape {tuple(weights.shape)}. "
            "Make them with losses.token_weights."
        )
    if not temperature > 0:
        raise UsageError(f"the loss temperature must be above 0, got {temperature}. Use 1.0.")
    if chunk_tokens is None:
        chunk_tokens = chunk_size(projection.size, hidden.device.type)
    if chunk_tokens < 1:
        raise UsageError(f"chunk_tokens must be at least 1, got {chunk_tokens}. Use None.")
    # Gradients of about 1 survive float16, where those of 1 / (tokens of the window) may not.
    unit = weights.detach().abs().max().clamp(min=torch.finfo(weights.dtype).tiny)
    heads = (projection.weight, projection.bias, projection._constant())
    scaled, with_gradient = weights.detach() / unit, torch.is_grad_enabled()  # off inside forward
    settings = (nats_of_chunk, scaled, temperature, chunk_tokens, with_gradient)
    loss, nats, entropy = _ChunkedLoss.apply(hidden, *heads, *settings)
    return loss * unit.to(loss), nats, entropy


class _ChunkedLoss(torch.autograd.Function):
    """Loss of all chunks; its gradients are made in the forward pass and kept for the backward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Projection,
        nats_of_chunk: Callable[[Tensor, slice], Tensor],
        weights: Tensor,
        temperature: float,
        chunk_tokens: int,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        gradients = [
            torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
            if with_gradient and x is not None and x.requires_grad
            else None
            for x in (hidden, weight, bias)
        ]
        differentiate = any(gradient is not None for gradient in gradients)
        nats, entropy = [], []
        # The head has its dtype already; autocast would cast it again for every chunk.
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, hidden.shape[0], chunk_tokens):
                rows = slice(start, start + chunk_tokens)
                chunk = hidden[rows].to(head.weight.dtype)
                products = F.linear(chunk, head.weight, head.bias)
                with torch.set_grad_enabled(differentiate):
                    logits = head._finish(products.requires_grad_(differentiate))
                    log_probs = _log_softmax(logits, temperature)
                    chunk_nats = nats_of_chunk(log_probs, rows)
                    chunk_loss = (chunk_nats * weights[rows].to(chunk_nats)).sum()
                nats.append(chunk_nats.detach())
                entropy.append(_entropy(log_probs if temperature == 1 else _log_softmax(logits)))
                if differentiate:
                    (slope,) = torch.autograd.grad(chunk_loss, products)
                    _accumulate(gradients, rows, slope, chunk, head)
        per_token, student_entropy = torch.cat(nats), torch.cat(entropy)
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(per_token, student_entropy)
        return (per_token * weights.to(per_token)).sum(), per_token, student_entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        # Autograd casts what a bfloat16 parameter gets; until here the sums are float32.
        gradients = [None if sums is None else sums * slope for sums in ctx.saved_tensors]
        return (*gradients, None, None, None, None, None, None)


def _accumulate(
    gradients: list[Tensor | None], rows: slice, slope: Tensor, chunk: Tensor, head: Projection
) -> None:
    """Add one chunk's share to the gradients of hidden states, weight and bias."""
    of_hidden, of_weight, of_bias = gradients
    if of_hidden is not None:
        of_hidden[rows] = slope @ head.weight
    if of_weight is not None:
        kept = of_weight[: head.size]
        if kept.dtype == chunk.dtype:
            kept.addmm_(slope.t(), chunk)
        else:
            kept += slope.t() @ chunk
    if of_bias is not None:
        of_bias[: head.size] += slope.sum(dim=0, dtype=of_bias.dtype)


def _log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    return torch.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)


@torch.no_grad()
def _entropy(log_probs: Tensor) -> Tensor:
    # The clamp keeps 0 * -inf from becoming NaN.
    return -(log_probs.exp() * log_probs.clamp(min=torch.finfo(log_probs.dtype).min)).sum(dim=-1)
