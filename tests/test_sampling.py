"""Sampling: the law of a draw, its corner cases, and numbers that never move."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skd_lab.errors import SkdError, UsageError
from skd_lab.sampling import GREEDY, SamplingPolicy, draw_uniforms, sample, teacher_rank

PLAIN = SamplingPolicy()


def logits_of(*probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()


def draw(logits, policy, *uniforms):
    rows = torch.tensor(uniforms, dtype=torch.float64)
    return sample(logits.expand(len(uniforms), -1), policy, rows).tolist()


def test_a_draw_is_the_inverse_of_the_cumulative_distribution_in_id_order():
    logits = logits_of(0.5, 0.25, 0.25)
    assert draw(logits, PLAIN, 0.0, 0.49, 0.51, 0.74, 0.76, 0.999) == [0, 0, 1, 1, 2, 2]


def test_an_id_of_probability_zero_is_never_drawn():
    logits = logits_of(0.0, 0.5, 0.0, 0.5, 0.0)
    edge = math.nextafter(1.0, 0.0)
    assert draw(logits, PLAIN, 0.0, 0.5, edge) == [1, 3, 3]


@given(st.integers(2, 300), st.integers(0, 10**6))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_the_largest_uniform_still_draws_a_possible_id(size, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 20 * torch.randn(1, size, generator=generator)
    logits[0, -1] = -math.inf
    (drawn,) = draw(logits, PLAIN, math.nextafter(1.0, 0.0))
    assert drawn < size - 1 and logits[0, drawn].item() > -math.inf


def test_temperature_top_k_and_top_p():
    logits = logits_of(0.1, 0.4, 0.2, 0.3)
    halves = SamplingPolicy(temperature=0.5)  # probabilities squared, of 0.30
    assert draw(logits, halves, 0.03, 0.034, 0.5) == [0, 1, 1]
    assert draw(logits, SamplingPolicy(top_k=2), 0.0, 4 / 7 - 1e-9, 4 / 7 + 1e-9) == [1, 1, 3]
    # 0.4 does not reach 0.6, 0.4 + 0.3 does: the token that crosses is inside
    assert set(draw(logits, SamplingPolicy(top_p=0.6), *[i / 50 for i in range(50)])) == {1, 3}
    assert set(draw(logits, SamplingPolicy(top_p=0.39), *[i / 50 for i in range(50)])) == {1}
    assert set(draw(logits, SamplingPolicy(top_p=1.0), *[i / 50 for i in range(50)])) == set(
        range(4)
    )


def test_top_k_and_greedy_break_ties_by_the_lower_id():
    logits = logits_of(0.2, 0.3, 0.3, 0.2)
    assert draw(logits, GREEDY, 0.9) == [1]
    assert draw(logits, SamplingPolicy(top_k=1), 0.9) == [1]
    kept = set(draw(logits, SamplingPolicy(top_k=3), *[i / 50 for i in range(50)]))
    assert kept == {0, 1, 2}


def test_the_histogram_is_the_distribution():
    probabilities = torch.tensor([0.05, 0.5, 0.0, 0.15, 0.3])
    uniforms = draw_uniforms(0, 1, 40_000)[0, 0]
    drawn = sample(probabilities.log().expand(40_000, -1), PLAIN, uniforms)
    seen = torch.bincount(drawn, minlength=5) / 40_000
    assert (seen - probabilities).abs().max() < 5 * (0.25 / 40_000) ** 0.5


def test_logits_that_are_not_finite_are_refused():
    for policy in (PLAIN, GREEDY):
        with pytest.raises(SkdError, match="not finite"):
            draw(torch.tensor([0.0, math.nan, 1.0]), policy, 0.5)


def test_rank_is_one_based_with_ties_by_lower_id():
    logits = torch.tensor([[1.0, 3.0, 3.0, -math.inf, 2.0]]).expand(5, -1)
    assert teacher_rank(logits, torch.arange(5)).tolist() == [4, 1, 2, 5, 3]


def test_half_precision_logits_are_ranked_in_float32():
    # 2049 and 2048 are the same number in bfloat16; given as such they tie, and ties go by id
    logits = torch.tensor([[2048.0, 2049.0]], dtype=torch.bfloat16)
    assert teacher_rank(logits, torch.tensor([1])).tolist() == [2]


@given(st.integers(0, 2**40), st.integers(1, 6), st.integers(1, 9), st.integers(0, 5))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_more_rows_or_positions_never_change_a_number(seed, rows, tokens, first):
    whole = draw_uniforms(seed, first + rows + 2, tokens + 3)
    part = draw_uniforms(seed, rows, tokens, first_row=first)
    assert torch.equal(part, whole[:, first : first + rows, :tokens])


def test_roles_rows_and_seeds_have_their_own_numbers():
    uniforms = torch.cat([draw_uniforms(seed, 50, 40) for seed in (0, 1)]).flatten()
    assert len(uniforms.unique()) == len(uniforms)
    assert uniforms.min() >= 0 and uniforms.max() < 1
    assert abs(uniforms.mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"temperature": 0.0}, "greedy=True"),
        ({"temperature": -1.0}, "greedy=True"),
        ({"temperature": math.nan}, "positive number"),
        ({"top_k": 0}, "at least 1"),
        ({"top_p": 0.0}, r"\(0, 1\]"),
        ({"top_p": 1.1}, r"\(0, 1\]"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(settings_, message):
    with pytest.raises(UsageError, match=message):
        SamplingPolicy(**settings_)


def test_negative_counts_are_refused():
    with pytest.raises(UsageError, match="seed must not be negative, got -1"):
        draw_uniforms(-1, 1, 1)
