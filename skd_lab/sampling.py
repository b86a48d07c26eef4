"""Logits to distribution to token. Randomness is an argument: one uniform per (row, position).

Position t of row b uses uniforms[0, b, t] for the student's proposal and uniforms[1, b, t] for
a teacher's draw, whatever the block size, the batch or the cache: those change cost, not text.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skd_lab.errors import SkdError, UsageError


@dataclass(frozen=True, kw_only=True)
class SamplingPolicy:
    """How a token is drawn from logits: temperature, then top_k, then top_p (nucleus).

    Raises:
        UsageError: for a temperature <= 0, a top_k < 1 or a top_p outside (0, 1].
    """

    temperature: float = 1.0
    """Logits are divided by it before the softmax."""
    top_k: int | None = None
    """Keep the k most likely ids (ties by lower id); None keeps all."""
    top_p: float | None = None
    """Keep the smallest set of most likely ids whose probability reaches top_p."""
    greedy: bool = False
    """Take the most likely id (ties by lower id); the other fields are then not looked at."""

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise UsageError(
                f"temperature must be a positive number, got {self.temperature}. "
                "For the most likely token at every step ask for greedy=True instead."
            )
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(
                f"top_k must be at least 1, got {self.top_k}. Leave it out to keep every token."
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(
                f"top_p must be in (0, 1], got {self.top_p}. Leave it out to keep every token."
            )


GREEDY = SamplingPolicy(greedy=True)
"""The most likely token at every step."""

_ROLES = 2  # student, teacher


def draw_uniforms(
    seed: int, rows: int, max_new_tokens: int, first_row: int = 0
) -> Float[Tensor, "2 rows tokens"]:
    """Uniform numbers in [0, 1), keyed by (seed, role, global row, position).

    Counter-based (Philox), so more rows or a longer limit never change what was there, a
    process slices its own rows with first_row, and a resumed run needs no generator state.

    Args:
        seed: any integer >= 0.
        rows: how many rows, the first being first_row.
        max_new_tokens: positions per row.

    Returns:
        float64; index 0 is the student's role, index 1 the teacher's.

    Raises:
        UsageError: if seed, rows, max_new_tokens or first_row is negative.
    """
    for name, value in [("seed", seed), ("rows", rows), ("max_new_tokens", max_new_tokens)]:
        if value < 0:
            raise UsageError(f"{name} must not be negative, got {value}.")
    if first_row < 0:
        raise UsageError(f"first_row must not be negative, got {first_row}.")
    uniforms = np.empty((_ROLES, rows, max_new_tokens))
    for role in range(_ROLES):
        for row in range(rows):
            # words of the counter: position (grows by itself), row, unused, unused
            counter = np.array([0, first_row + row, 0, 0], dtype=np.uint64)
            bits = np.random.Philox(key=np.array([seed, role], dtype=np.uint64), counter=counter)
            uniforms[role, row] = np.random.Generator(bits).random(max_new_tokens)
    return torch.from_numpy(uniforms)


def mixing_uniforms(seed: int, rows: int, first_row: int = 0) -> list[float]:
    """One number in [0, 1) a global row: which of two sources writes it (see methods.py)."""
    # key 3: the uniforms of the two roles have 0 and 1, the order of prompts has 2
    key = np.array([seed, 3], dtype=np.uint64)
    counters = np.arange(first_row, first_row + rows, dtype=np.uint64)
    return [
        np.random.Generator(
            np.random.Philox(key=key, counter=np.array([0, row, 0, 0], dtype=np.uint64))
        ).random()
        for row in counters
    ]


def sample(
    logits: Float[Tensor, "*shape vocab"],
    policy: SamplingPolicy,
    uniforms: Float[Tensor, "*shape"],
    checked: bool = True,
) -> Int[Tensor, "*shape"]:
    """Draw one id per row by inverse CDF in id order, in float64 from the softmax on.

    With c = cumsum(softmax(logits / temperature)) after top_k and top_p, the first id with
    c > u * c[-1]. An id of probability 0 is never drawn.

    Args:
        logits: raw logits of any float type.
        policy: how to draw.
        uniforms: one number in [0, 1) per row (unused if policy.greedy).
        checked: False to raise nothing: looking at numbers makes an accelerator wait. A row that
            should have raised gets any id; refuse_non_finite tells it afterwards.

    Raises:
        SkdError: if the logits of a row hold nan or have no finite maximum.
    """
    if policy.greedy:
        best = logits.max(dim=-1, keepdim=True).values
        if checked:
            _all_finite(best)
        return (logits == best).to(torch.int8).argmax(dim=-1)  # first index: ties by lower id
    return draw(warp(logits, policy), uniforms, checked).to(logits.device)


def refuse_non_finite(logits: Float[Tensor, "*shape vocab"]) -> None:
    """What `sample` does of itself unless it is told not to.

    Raises:
        SkdError: if the logits of a row hold nan or have no finite maximum.
    """
    _all_finite(logits.max(dim=-1).values)


def warp(
    logits: Float[Tensor, "*shape vocab"], policy: SamplingPolicy
) -> Float[Tensor, "*shape vocab"]:
    """The distribution a policy draws from: float64, not renormalised, 0 outside its reach.

    On MPS, which has no float64, the result lies on the CPU.
    """
    logits = logits.cpu() if logits.device.type == "mps" else logits
    if policy.greedy:
        best = logits.max(dim=-1, keepdim=True).values
        first = (logits == best).to(torch.int8).argmax(dim=-1)
        return torch.nn.functional.one_hot(first, logits.shape[-1]).double()
    scaled = logits.double()
    if policy.temperature != 1:
        scaled = scaled / policy.temperature
    probabilities = torch.softmax(scaled, dim=-1)
    if policy.top_k is None and policy.top_p is None:
        return probabilities
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if policy.top_k is not None:
        keep[..., policy.top_k :] = False
        ordered = ordered * keep
    if policy.top_p is not None:
        before = ordered.cumsum(dim=-1) - ordered
        # the token that crosses the threshold is inside: the set must reach top_p
        keep &= before < policy.top_p * ordered.sum(dim=-1, keepdim=True)
    return probabilities * torch.zeros_like(keep).scatter(-1, order, keep)


def draw(
    weights: Float[Tensor, "*shape vocab"], uniforms: Float[Tensor, "*shape"], checked: bool = True
) -> Int[Tensor, "*shape"]:
    """One id per row by inverse CDF in id order, from weights that need not add up to 1.

    Unless it is checked, a row of weights that are not finite gets some id.

    Raises:
        SkdError: if a row's weights are not finite.
    """
    cumulative = weights.cumsum(dim=-1)
    if cumulative.device.type != "cpu":
        # parallel scans may dip by an ulp between neighbours; restore monotony
        cumulative = cumulative.cummax(dim=-1).values
    total = cumulative[..., -1:]
    if checked:
        _all_finite(total)
    target = uniforms.to(cumulative).unsqueeze(-1) * total
    # u < 1, yet u * total may round up to total, and no id would lie above it
    target = torch.minimum(target, torch.nextafter(total, torch.zeros_like(total)))
    found = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
    return found if checked else found.clamp(max=weights.shape[-1] - 1)


def teacher_rank(
    teacher_logits: Float[Tensor, "*shape vocab"], ids: Int[Tensor, "*shape"]
) -> Int[Tensor, "*shape"]:
    """The teacher's rank of each id: 1 for its most likely token, ties by lower id.

    Args:
        teacher_logits: raw, before temperature and nucleus: on warped logits K would be
            nearly inert, and ids of probability zero would be let in by ties.
        ids: the proposals.
    """
    if teacher_logits.dtype in (torch.float16, torch.bfloat16):
        teacher_logits = teacher_logits.float()
    own = teacher_logits.gather(-1, ids.unsqueeze(-1))
    ids_before = torch.arange(teacher_logits.shape[-1], device=ids.device) < ids.unsqueeze(-1)
    ahead = (teacher_logits > own) | ((teacher_logits == own) & ids_before)
    return ahead.sum(dim=-1) + 1


def top_k_mask(
    logits: Float[Tensor, "*shape vocab"], k: Int[Tensor, "*shape"]
) -> Bool[Tensor, "*shape vocab"]:
    """Where an id ranks among the k most likely ones (as teacher_rank counts), k per row."""
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    inside = torch.arange(logits.shape[-1], device=logits.device) < k.unsqueeze(-1)
    return torch.zeros_like(inside).scatter(-1, order, inside)


def token_log_probs(
    logits: Float[Tensor, "*shape vocab"], ids: Int[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """log softmax(logits)[ids] at temperature 1, nats, in at least float32."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(dim=-1)


def _all_finite(values: Tensor) -> None:
    if not torch.isfinite(values).all():
        raise SkdError(
            "A model returned logits that are not finite, so no token can be drawn. The weights "
            "have likely diverged: go back to an earlier checkpoint or lower the learning rate."
        )
