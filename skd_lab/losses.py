"""Divergences between student and teacher next-token distributions, in nats, and their means.

Every divergence takes log-probabilities, student first and teacher second, and gives one number a
token. p stands for the teacher and q for the student. An id that both rule out (-inf on both
sides, such as a padding id of the vocabulary) adds nothing to a value or a gradient.
`projection.py` applies these to hidden states in chunks, for vocabularies too big to hold.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skd_lab.errors import UsageError

LogProbs = Float[Tensor, "*shape vocab"]
Nats = Float[Tensor, "*shape"]

REDUCTIONS = ("mean_over_tokens", "mean_over_sequences")


def forward_kl(student: LogProbs, teacher: LogProbs) -> Nats:
    """Forward Kullback-Leibler divergence, KL(teacher || student) = sum p (log p - log q).

    The objective of supervised KD (Hinton et al. 2015) and D of the SKD paper's Eq. 1.

    Args:
        student: log-probabilities; gradients flow here.
        teacher: log-probabilities.

    Returns:
        Nats per token; infinite where the student rules out an id that the teacher allows.
    """
    student, teacher = _at_least_float32(student), _at_least_float32(teacher)
    impossible = torch.isneginf(teacher)
    # The operand is masked beside the product: a mask on the product alone leaves NaN gradients.
    teacher = teacher.masked_fill(impossible, 0.0)
    nats = teacher.exp() * (teacher - student)
    return nats.masked_fill(impossible, 0.0).sum(dim=-1)


def reverse_kl(student: LogProbs, teacher: LogProbs) -> Nats:
    """Reverse Kullback-Leibler divergence, KL(student || teacher) = sum q (log q - log p).

    The divergence of MiniLLM (Gu et al. 2024), here over the full vocabulary at every token.

    Args:
        student: log-probabilities; gradients flow here.
        teacher: log-probabilities.

    Returns:
        Nats per token; infinite where the teacher rules out an id that the student allows.
    """
    return forward_kl(teacher, student)


def generalized_jsd(student: LogProbs, teacher: LogProbs, beta: float) -> Nats:
    """Generalized Jensen-Shannon divergence (Agarwal et al. 2024, Eq. 1).

    beta * KL(teacher || m) + (1 - beta) * KL(student || m),
    with m = beta * teacher + (1 - beta) * student. At beta = 0.5 it is symmetric and at most log 2;
    towards beta = 0 and 1 it vanishes, and does not become a KL.

    Args:
        student: log-probabilities; gradients flow here.
        teacher: log-probabilities.
        beta: mixture weight of the teacher, strictly between 0 and 1.

    Returns:
        Nats per token.

    Raises:
        UsageError: if beta is outside (0, 1).
    """
    if not 0 < beta < 1:
        raise UsageError(
            f"beta must be in (0, 1), got {beta}. Use forward_kl or reverse_kl for the end points."
        )
    m = _log_mixture(teacher, student, beta)
    return beta * forward_kl(m, teacher) + (1 - beta) * forward_kl(m, student)


def skewed_forward_kl(student: LogProbs, teacher: LogProbs, alpha: float) -> Nats:
    """Skewed forward KL of DistiLLM (Ko et al. 2024), KL(teacher || m).

    m = alpha * teacher + (1 - alpha) * student, so it never exceeds -log(alpha).

    Args:
        student: log-probabilities; gradients flow here.
        teacher: log-probabilities.
        alpha: weight of the teacher in m, strictly between 0 and 1 (0.1 in the paper).

    Returns:
        Nats per token.

    Raises:
        UsageError: if alpha is outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must be in (0, 1), got {alpha}. Use forward_kl for alpha = 0.")
    return forward_kl(_log_mixture(teacher, student, alpha), teacher)


def skewed_reverse_kl(student: LogProbs, teacher: LogProbs, alpha: float) -> Nats:
    """Skewed reverse KL of DistiLLM (Ko et al. 2024), KL(student || m).

    m = alpha * student + (1 - alpha) * teacher, so it never exceeds -log(alpha).

    Args:
        student: log-probabilities; gradients flow here.
        teacher: log-probabilities.
        alpha: weight of the student in m, strictly between 0 and 1 (0.1 in the paper).

    Returns:
        Nats per token.

    Raises:
        UsageError: if alpha is outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must be in (0, 1), got {alpha}. Use reverse_kl for alpha = 0.")
    return forward_kl(_log_mixture(student, teacher, alpha), student)


def total_variation(student: LogProbs, teacher: LogProbs) -> Nats:
    """Total variation distance, half the sum of |p - q|: a probability in [0, 1], not nats.

    One minus it is the chance that lossless speculative decoding keeps a proposal
    (Leviathan et al. 2023, Corollary 3.6).

    Args:
        student: log-probabilities; gradients flow here.
        teacher: log-probabilities.

    Returns:
        A distance per token.
    """
    student, teacher = _at_least_float32(student), _at_least_float32(teacher)
    return 0.5 * (teacher.exp() - student.exp()).abs().sum(dim=-1)


def token_nll(student: LogProbs, ids: Int[Tensor, "*shape"]) -> Nats:
    """Negative log-likelihood of the tokens of a text, -log q(id): the objective of sft and seq_kd.

    Args:
        student: log-probabilities; gradients flow here.
        ids: the token that stands at each position.

    Returns:
        Nats per token.
    """
    return -_at_least_float32(student).gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def mean_over_tokens(
    nats: Float[Tensor, " tokens"], divisor: float | None = None
) -> Float[Tensor, ""]:
    """Mean in which every token counts the same.

    Args:
        nats: a divergence per token.
        divisor: what to divide the sum by, such as the tokens of a whole accumulation window;
            the number of tokens if None.

    Returns:
        Nats per token.

    Raises:
        UsageError: if the divisor is not positive (no tokens and no divisor given, for one).
    """
    divisor = nats.numel() if divisor is None else divisor
    if not divisor > 0:
        raise UsageError(
            f"mean_over_tokens needs a positive divisor, got {divisor}. Pass at least one token, "
            "or the token count of the accumulation window."
        )
    return nats.sum() / divisor


def mean_over_sequences(
    nats: Float[Tensor, " tokens"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Token mean inside a sequence, then the mean over sequences (the SKD paper's Eq. 1).

    Args:
        nats: a divergence per token, one sequence after the other.
        lengths: tokens of each sequence; they add up to the number of nats.

    Returns:
        Nats per token.

    Raises:
        UsageError: if a sequence is empty, or the lengths do not add up.
    """
    if int(lengths.sum()) != nats.numel():
        raise UsageError(
            f"lengths add up to {int(lengths.sum())}, but there are {nats.numel()} nats. "
            "Pass the completion length of every sequence, in order."
        )
    weights = token_weights("mean_over_sequences", lengths)
    return (nats * weights.to(nats)).sum()


def token_weights(
    reduction: str,
    lengths: Int[Tensor, " batch"],
    window_tokens: int | None = None,
    window_sequences: int | None = None,
) -> Float[Tensor, " tokens"]:
    """Weight of every token in the loss, so that the parts of a window add up to its mean.

    Args:
        reduction: "mean_over_tokens" or "mean_over_sequences".
        lengths: tokens of each sequence of this microbatch.
        window_tokens: tokens of the whole accumulation window; those of `lengths` if None.
        window_sequences: sequences of the whole window; those of `lengths` if None.

    Returns:
        Float64 weights (float32 on MPS, which has no float64), one a token, sequence after
        sequence: 1 / window_tokens, or 1 / (tokens of its sequence * window_sequences).

    Raises:
        UsageError: if the reduction is unknown or a sequence is empty.
    """
    if reduction not in REDUCTIONS:
        raise UsageError(f"unknown reduction {reduction!r}. Use one of {', '.join(REDUCTIONS)}.")
    if lengths.numel() == 0 or int(lengths.min()) < 1:
        raise UsageError(
            f"every sequence needs at least one token, got lengths {lengths.tolist()}. "
            "Drop empty completions before the loss."
        )
    dtype = torch.float32 if lengths.device.type == "mps" else torch.float64
    if reduction == "mean_over_tokens":
        tokens = int(lengths.sum())
        share = 1 / (tokens if window_tokens is None else window_tokens)
        return torch.full((tokens,), share, dtype=dtype, device=lengths.device)
    sequences = lengths.numel() if window_sequences is None else window_sequences
    return (1 / (lengths.to(dtype) * sequences)).repeat_interleave(lengths)


def _log_mixture(first: LogProbs, second: LogProbs, weight: float) -> LogProbs:
    """log(weight * first + (1 - weight) * second)."""
    first, second = _at_least_float32(first), _at_least_float32(second)
    # logaddexp has a NaN gradient at -inf on both sides, even for an incoming gradient of 0; with
    # a finite number on one side it has none, and exp(-1e30) is 0 all the same.
    first = first.masked_fill(torch.isneginf(first) & torch.isneginf(second), -1e30)
    return torch.logaddexp(first + math.log(weight), second + math.log1p(-weight))


def _at_least_float32(log_probs: Tensor) -> Tensor:
    return log_probs.to(torch.promote_types(log_probs.dtype, torch.float32))
