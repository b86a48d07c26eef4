"""Rollouts in the shape of the released SKD code, written here from its description.

One prompt at a time; blocks of five; both models with the framework's own growing caches, cropped
after a refusal; the finished text decoded to words and tokenised again before it is scored by the
teacher a second time. Its block loop calls `generate` for every draft; here the student's steps are
plain forwards, which is faster, so what is measured is a lower bound of its cost.
"""

from typing import Any

import torch
from transformers import DynamicCache

from skd_lab.acceptance import Block, TopKRule
from skd_lab.sampling import SamplingPolicy, sample

GAMMA = 5


@torch.no_grad()
def released_rollout(
    pair: Any, prompt: list[int], *, accept_top_k: int, max_new_tokens: int, uniforms: torch.Tensor
) -> tuple[list[int], int]:
    """One completion.

    Args:
        pair: with a tokenizer whose words are ids.
        uniforms: [2, max_new_tokens].

    Returns:
        Completion ids, and how many proposals were refused.
    """
    policy = SamplingPolicy()
    rule = TopKRule(accept_top_k, student_policy=policy, teacher_policy=policy)
    caches = [DynamicCache(config=model.config) for model in (pair.student, pair.teacher)]
    ids, refused = list(prompt), 0
    while (kept := len(ids) - len(prompt)) < max_new_tokens:
        width = min(GAMMA, max_new_tokens - kept)
        places = torch.arange(kept, kept + width)[None]
        draft, seen = list(ids), []
        for place in range(kept, kept + width):
            logits = _forward(pair.student, draft, caches[0])[:, -1:]
            seen.append(logits)
            draft.append(int(sample(logits[:, 0], policy, uniforms[0, place, None])))
        block = Block(
            proposals=torch.tensor([draft[len(ids) :]]),
            student_logits=torch.cat(seen, dim=1),
            teacher_logits=_forward(pair.teacher, draft[:-1], caches[1])[:, -width:],
            places=places,
            uniforms=uniforms[:, places],
        )
        stands = rule.accepts(block)[0].tolist()
        first = stands.index(False) if False in stands else width
        ids = draft[: len(ids) + first]
        if first < width:
            at = torch.tensor([0]), torch.tensor([first])
            ids.append(int(rule.replacement(block.at(*at))))
            refused += 1
        for cache in caches:
            surplus = cache.get_seq_length() - (len(ids) - 1)
            if surplus > 0:
                cache.crop(-surplus)
    return ids[len(prompt) :], refused


@torch.no_grad()
def score_again(pair: Any, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """The second teacher forward, on the text after it was made words and ids again."""
    text = pair.tokenizer.decode(completion)
    ids = pair.tokenizer(text, add_special_tokens=False).input_ids
    return pair.teacher(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]


def _forward(model: Any, ids: list[int], cache: DynamicCache) -> torch.Tensor:
    fresh = ids[cache.get_seq_length() :]
    return model(torch.tensor([fresh]), past_key_values=cache, use_cache=True).logits
