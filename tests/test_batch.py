"""Padding, masks and the one next-token shift."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3ForCausalLM

from skd_lab.batch import collate, completion_hidden, completion_logits
from skd_lab.errors import UsageError
from skd_lab.losses import token_nll
from skd_lab.projection import Projection
from skd_lab.records import Rollout, TokenTrace

VOCAB, PAD = 11, 0


def rollout(prompt, completion, hidden=None):
    ids = torch.tensor(completion, dtype=torch.long)
    none = torch.full((len(ids),), math.nan)
    trace = TokenTrace(
        source=["reference"] * len(ids),
        proposed_id=ids,
        kept_id=ids,
        teacher_rank=torch.zeros_like(ids),
        student_log_prob=none,
        teacher_log_prob=none,
        block=torch.zeros_like(ids),
    )
    return Rollout(
        prompt_ids=prompt, completion_ids=ids, trace=trace, finished=True, teacher_hidden=hidden
    )


def test_collate_pads_on_the_right():
    batch = collate([rollout([5, 6, 7], [8, 2]), rollout([9], [4, 3, 2])], pad_id=PAD)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 2], [9, 4, 3, 2, PAD]]
    assert batch.attention_mask.tolist() == [[True] * 5, [True] * 4 + [False]]
    assert batch.completion_mask.int().tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 1, 0]]
    assert batch.lengths.tolist() == [2, 3]
    assert batch.completion_ids.tolist() == [8, 2, 4, 3, 2]
    assert batch.tokens == 5 and batch.teacher_hidden is None


def test_teacher_hidden_needs_every_rollout():
    first, second = torch.arange(4.0).reshape(2, 2), torch.arange(6.0).reshape(3, 2) + 10
    with_both = collate([rollout([5], [8, 2], first), rollout([9], [4, 3, 2], second)], pad_id=PAD)
    assert with_both.teacher_hidden[:, 0].tolist() == [0, 2, 10, 12, 14]
    assert collate([rollout([5], [8], first[:1]), rollout([9], [4])], PAD).teacher_hidden is None


def test_to_moves_every_tensor():
    batch = collate([rollout([5], [8, 2], torch.zeros(2, 3))], pad_id=PAD).to("meta")
    tensors = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 5 and {t.device.type for t in tensors} == {"meta"}
    assert batch.writers == ("reference",)


def planted_logits(batch, offset):
    """Logits at each position that are certain of the token `offset` places later."""
    length = batch.input_ids.shape[1]
    position = (torch.arange(length) + offset).clamp(0, length - 1)
    logits = torch.full((*batch.input_ids.shape, VOCAB), -math.inf)
    return logits.scatter(-1, batch.input_ids[:, position].unsqueeze(-1), 0.0)


# No token equals its neighbour, so certainty about the wrong position is certainly wrong.
rows = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, VOCAB - 1)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(rows)
def test_planted_logits_show_the_shift(shapes):
    """Certainty about the true next token costs nothing, the first and the last token included."""
    rollouts = []
    for prompt, completion, first in shapes:
        ids = [1 + (first + i) % (VOCAB - 1) for i in range(prompt + completion)]
        rollouts.append(rollout(ids[:prompt], ids[prompt:]))
    batch = collate(rollouts, pad_id=PAD)
    nats = {
        offset: token_nll(
            completion_logits(planted_logits(batch, offset), batch), batch.completion_ids
        )
        for offset in (0, 1, 2)
    }
    assert nats[1].shape == (batch.tokens,)
    assert (nats[1] == 0).all()
    assert (nats[0] == math.inf).all()
    # Offset 2 runs off the end of the longest row, whose last token then predicts itself.
    ends = batch.lengths.cumsum(0) - 1
    inner = torch.ones(batch.tokens, dtype=torch.bool)
    inner[ends] = False
    assert (nats[2][inner] == math.inf).all()
    assert int((nats[2] == 0).sum()) <= len(ends)


def test_logits_come_in_the_order_of_the_ids():
    batch = collate([rollout([5, 6], [8, 2]), rollout([9], [4, 3, 2])], pad_id=PAD)
    states = torch.arange(8.0).reshape(2, 4, 1)
    # Row 0: states 1, 2 predict tokens 2, 3. Row 1: states 0, 1, 2 predict 1, 2, 3.
    assert completion_logits(states, batch).flatten().tolist() == [1, 2, 4, 5, 6]


def tiny_model():
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=PAD,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Qwen3ForCausalLM(config).double().eval()


def test_padding_and_company_change_no_logits():
    model = tiny_model()
    rollouts = [rollout([5, 6, 7, 1], [8, 2]), rollout([9], [4, 3]), rollout([3, 3], [1] * 6)]

    @torch.no_grad()
    def logits(some, pad_id=PAD):
        batch = collate(some, pad_id)
        out = model(batch.input_ids, attention_mask=batch.attention_mask)
        return completion_logits(out.logits, batch)

    together = logits(rollouts)
    alone = torch.cat([logits([one]) for one in rollouts])
    assert together.std() > 0.01
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(together, logits(rollouts, pad_id=7), rtol=1e-10, atol=1e-12)


def test_hidden_states_of_completions_project_to_their_logits():
    model = tiny_model()
    batch = collate([rollout([5, 6, 7, 1], [8, 2]), rollout([9], [4, 3, 3])], PAD)
    hidden = completion_hidden(model, batch)
    with torch.no_grad():
        logits = model(batch.input_ids, attention_mask=batch.attention_mask).logits
    assert hidden.requires_grad and hidden.shape == (5, 16)
    torch.testing.assert_close(
        Projection.of(model).logits(hidden), completion_logits(logits, batch), rtol=1e-12, atol=0
    )


def test_rows_that_cannot_be_trained_are_refused():
    with pytest.raises(UsageError, match="at least one rollout, got none"):
        collate([], PAD)
    with pytest.raises(UsageError, match="Row 1 of the batch has 0 prompt tokens and 2 completion"):
        collate([rollout([5], [8]), rollout([], [8, 2])], PAD)
    with pytest.raises(UsageError, match="Row 0 of the batch has 1 prompt tokens and 0 completion"):
        collate([rollout([5], [])], PAD)
