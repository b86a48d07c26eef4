"""gamma="adaptive": the text of any other gamma, in blocks as long as proposals stand together."""

import pytest
import torch
from test_exactness import EOS, VOCAB, ids, pair

from skd_lab.errors import UsageError
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout

PROMPTS = [[3, 4, 5], [6], [7, 8]]
NEW = 60


def roll(gamma, accept_top_k, eos=()):
    return interleaved_rollout(
        *pair("qwen3"),
        PROMPTS,
        accept_top_k=accept_top_k,
        gamma=gamma,
        max_new_tokens=NEW,
        eos_token_ids=eos,
        student_policy=SamplingPolicy(),
        teacher_policy=SamplingPolicy(),
        uniforms=draw_uniforms(5, len(PROMPTS), NEW),
    )


def widths(rollout):
    """Proposals of each block, kept or discarded."""
    trace = rollout.trace
    found = [0] * (1 + trace.block.tolist()[-1])
    for block, thrown in zip(trace.block.tolist(), trace.discarded, strict=True):
        found[block] += 1 + len(thrown)
    return found


@pytest.mark.parametrize("accept_top_k", [1, 4, VOCAB])
def test_the_text_is_that_of_every_gamma(accept_top_k):
    for eos in ((), EOS):
        assert ids(roll("adaptive", accept_top_k, eos)) == ids(roll(3, accept_top_k, eos))


def test_blocks_grow_where_all_stands_and_shrink_where_little_does():
    for rollout in roll("adaptive", VOCAB):
        first, *_, longest, _ = widths(rollout)
        assert first == 5 < longest == max(widths(rollout))
    for rollout in roll("adaptive", 1):
        assert rollout.accepted < 0.5 * rollout.verified
        assert widths(rollout)[0] == 5
        assert set(widths(rollout)[-20:]) == {1}


def test_blocks_are_a_function_of_the_text():
    first, again = roll("adaptive", 8), roll("adaptive", 8)
    assert all(torch.equal(a.trace.block, b.trace.block) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("gamma", [0, "fast", 2.5])
def test_any_other_gamma_is_refused(gamma):
    with pytest.raises(UsageError, match="gamma must be at least 1 .* or 'adaptive'"):
        roll(gamma, 4)
