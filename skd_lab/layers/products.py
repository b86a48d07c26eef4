"""Products with a model's weights, and norms, for decoding a few tokens at a time (flat.py).

A product of 40 rows and a wide matrix runs at two thirds of the processor's speed if the library
has to rearrange the matrix in every call. Rearranged once for a rollout it runs at full speed:
docs/performance.md has the figures. The copy lives as long as the rollout does.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_COPY = 2**30
"""Bytes of weights up to which a model's are rearranged: the copy stands beside the model."""

# below it the call itself costs more than the arrangement saves
_SMALLEST = 2**17
# where the transposed product was the faster one: 10.1 to 6.1 ms for 8 tokens at 384 x 32,000
_FEW, _WIDE = 8, 8192


def can_rearrange(weight: Tensor) -> bool:
    """Whether this processor's library takes weights like this one in its own arrangement."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@dataclass(frozen=True, eq=False)
class Norm:
    """x / rms(x), times a factor; in float32, as the modules do it."""

    factor: Tensor
    eps: Tensor
    before_cast: bool
    """Gemma multiplies in float32, Qwen in the dtype of its weights."""

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.float()
        if x.dtype == torch.float32:
            length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
            scale = torch.addcmul(self.eps, length, length, value=1 / x.shape[-1]).rsqrt_()
        else:  # their float32 norm must round as the modules' does, or float64 is lost here
            scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        if self.before_cast:
            return (wide * scale).mul_(self.factor).to(x.dtype)
        return (wide * scale).to(x.dtype).mul_(self.factor)


class Product:
    """x -> x @ weight.T for x of two dimensions.

    Args:
        weights: matrices of as many columns, which stand for one, row under row.
        copied: they may be copied: joined, and rearranged where that is faster.
    """

    def __init__(self, *weights: Tensor, copied: bool) -> None:
        joined = torch.cat(weights) if copied and len(weights) > 1 else None
        self._parts = [weight.t() for weight in ([joined] if joined is not None else weights)]
        self._packed: Tensor | None = None
        whole = joined if joined is not None else weights[0]
        if copied and whole.numel() >= _SMALLEST and can_rearrange(whole):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(whole.detach())
            self._parts = []

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed is not None:
            return torch.ops.mkldnn._linear_pointwise(x, self._packed, None, "none", [], "")
        if len(self._parts) == 1:
            return torch.mm(x, self._parts[0])
        return torch.cat([torch.mm(x, part) for part in self._parts], dim=1)

    def added(self, to: Tensor, x: Tensor) -> Tensor:
        """to + x @ weight.T."""
        if self._packed is None and len(self._parts) == 1:
            return torch.addmm(to, x, self._parts[0])
        return self(x).add_(to)


def head_product(x: Tensor, head: Tensor) -> Tensor:
    """x @ head.T with an output head as it lies."""
    if x.device.type == "cpu" and len(x) <= _FEW and len(head) >= _WIDE:
        # a CPU's product of few rows and a wide head reads the head at half its speed
        return torch.mm(head, x.t()).t().contiguous()
    return torch.mm(x, head.t())
