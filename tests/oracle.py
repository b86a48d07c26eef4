"""Algorithm 1 as the paper writes it: one row, token by token, no cache, no blocks, no batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.sampling import SamplingPolicy, sample, warp
from skd_lab.sampling import draw as draw_weights


def next_logits(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """Raw logits [vocab] of the token after ids, by a forward over everything."""
    with torch.no_grad():
        return model(torch.tensor([list(ids)]), use_cache=False).logits[0, -1]


def draw(logits: Tensor, policy: SamplingPolicy, uniform: Tensor) -> int:
    return int(sample(logits[None], policy, uniform[None])[0])


def rank_of(logits: Tensor, token: int) -> int:
    """Place of the token when ids are sorted by logit, ties by lower id: 1 is the top."""
    order = sorted(range(len(logits)), key=lambda i: (-float(logits[i]), i))
    return order.index(token) + 1


def algorithm_1(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    prompt: Sequence[int],
    *,
    accept_top_k: int,
    max_new_tokens: int,
    eos_token_ids: Sequence[int],
    student_policy: SamplingPolicy,
    teacher_policy: SamplingPolicy,
    uniforms: Tensor,
) -> tuple[list[int], list[str], list[int]]:
    """Ids, sources and ranks of one row; uniforms is [2, tokens]."""
    ids, sources, ranks = list(prompt), [], []
    for t in range(max_new_tokens):
        token = draw(next_logits(student, ids), student_policy, uniforms[0, t])
        teacher_logits = next_logits(teacher, ids)
        ranks.append(rank_of(teacher_logits, token))
        if ranks[-1] > accept_top_k:
            token = draw(teacher_logits, teacher_policy, uniforms[1, t])
        sources.append("student" if ranks[-1] <= accept_top_k else "teacher")
        ids.append(token)
        if token in eos_token_ids:
            break
    return ids[len(prompt) :], sources, ranks


def speculative_loop(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    prompt: Sequence[int],
    *,
    gamma: int,
    bonus: bool,
    max_new_tokens: int,
    eos_token_ids: Sequence[int],
    student_policy: SamplingPolicy,
    teacher_policy: SamplingPolicy,
    uniforms: Tensor,
) -> tuple[list[int], list[str]]:
    """Speculative sampling (Leviathan et al. 2023) of one row without a cache.

    Ids and sources; uniforms is [2, tokens]. A refusal's number is used twice: stretched, it
    draws from the residual.
    """
    ids, sources = list(prompt), []

    def laws():
        p = warp(next_logits(teacher, ids), teacher_policy)
        q = warp(next_logits(student, ids), student_policy)
        return p / p.sum(), q / q.sum()

    def keep(token, source):
        ids.append(token)
        sources.append(source)
        return token in eos_token_ids or len(sources) == max_new_tokens

    while True:
        for _ in range(gamma):
            t = len(sources)
            p, q = laws()
            token = draw(next_logits(student, ids), student_policy, uniforms[0, t])
            ratio, number = p[token] / q[token], uniforms[1, t]
            if number >= ratio:
                rest, number = (p - q).clamp(min=0), (number - ratio) / (1 - ratio)
                token = int(draw_weights(rest[None], number[None])[0])
                if keep(token, "teacher"):
                    return ids[len(prompt) :], sources
                break
            if keep(token, "student"):
                return ids[len(prompt) :], sources
        else:
            if bonus:
                number = uniforms[1, len(sources)]
                if keep(draw(next_logits(teacher, ids), teacher_policy, number), "teacher"):
                    return ids[len(prompt) :], sources
