"""What a round of a rollout makes grows as the length of the text, never as its square."""

import pytest
import torch
from test_exactness import pair
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skd_lab.drafting import DraftAndVerify
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout


class Made(TorchDispatchMode):
    """Numbers in the tensors that are made inside, by operation."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in tree_leaves(args) if torch.is_tensor(x)}
        self.sizes += [
            x.numel()
            for x in tree_leaves(out)
            if torch.is_tensor(x) and x.untyped_storage().data_ptr() not in given
        ]
        return out


def made_by_the_last_round(architecture, prompt, monkeypatch):
    rounds = []
    inner = DraftAndVerify._next_block

    def watched(game):
        with Made() as made:
            going = inner(game)
        rounds.append((sum(made.sizes), max(made.sizes)))
        return going

    monkeypatch.setattr(DraftAndVerify, "_next_block", watched)
    interleaved_rollout(
        *pair(architecture),
        [[3] * prompt] * 2,
        accept_top_k=32,
        gamma=4,
        max_new_tokens=12,
        eos_token_ids=[],
        student_policy=SamplingPolicy(),
        teacher_policy=SamplingPolicy(),
        uniforms=draw_uniforms(5, 2, 12),
    )
    monkeypatch.undo()
    assert len(rounds) == 3
    return rounds[-2]  # in the last one no row is left to be kept


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3", "llama"])
def test_twice_the_text_makes_at_most_twice_as_much(architecture, monkeypatch):
    whole, largest = made_by_the_last_round(architecture, 112, monkeypatch)
    double, double_largest = made_by_the_last_round(architecture, 224, monkeypatch)
    assert double <= 2 * whole and double_largest <= 2 * largest
    assert double_largest < 224 * 224  # the square of the text is nowhere
