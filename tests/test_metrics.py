"""Scores against numbers worked out by hand."""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from skd_lab.errors import UsageError
from skd_lab.metrics import (
    acceptance_rate,
    bleu,
    bootstrap_interval,
    chrf,
    crossed_bootstrap,
    exact_match,
    numeric_match,
    paired_bootstrap,
    parse_number,
    replacement_rate,
    rouge_l,
    written_tokens,
)


@dataclass
class Counts:
    """What the rates read of a rollout."""

    accepted: int
    replaced: int
    verified: int
    completion_ids: list[int] = field(default_factory=list)


def test_exact_match_ignores_white_space_only():
    assert exact_match(" a  b\n", "a b") == 1.0
    assert exact_match("A b", "a b") == 0.0
    assert exact_match("ab", "a b") == 0.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("72", 72.0),
        (" 1,250. ", 1250.0),
        ("$1,250.50", 1250.5),
        ("-$3", -3.0),
        ("$ -3", None),
        ("10%", 10.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1e999", None),
        ("", None),
        ("3 pens", None),
        ("1 2", None),
        ("nan", None),
        ("١", None),
    ],
)
def test_parse_number(text, value):
    assert parse_number(text) == value


def test_numeric_match():
    assert numeric_match("1,250.00", "$1250") == 1.0
    assert numeric_match("1250.01", "1250") == 0.0
    assert numeric_match("", "") == 0.0


def test_rouge_l_by_hand():
    # "police killed the gunman" against "police kill the gunman": common subsequence of 3 words,
    # precision 3/4, recall 3/4 (Lin 2004, section 3)
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(2 / 4)
    assert rouge_l("", "police") == 0.0


def test_bleu_by_hand():
    # 1-grams 5/6, 2-grams 3/5, 3-grams 2/4, 4-grams 1/3, equal lengths: no brevity penalty
    value = bleu(["the cat sat on a mat"], [["the cat sat on the mat"]])
    assert value == pytest.approx((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    # the second reference holds every n-gram; rows may have different numbers of references
    both = bleu(
        ["the cat sat on a mat", "a b c d"],
        [["the cat sat on the mat", "the cat sat on a mat"], ["a b c d"]],
    )
    assert both == pytest.approx(1.0)


def test_chrf_by_hand():
    assert chrf(["abcdef"], [["abcdef"]]) == pytest.approx(1.0)
    assert chrf(["xyz"], [["abc"]]) == 0.0
    # "ab" against "abc": n = 1: P 1, R 2/3; n = 2: P 1, R 1/2; F2 of the mean P and mean R
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    expected = 5 * precision * recall / (4 * precision + recall)
    assert chrf(["ab"], [["abc"]]) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("score", [bleu, chrf])
def test_corpus_scores_refuse_lists_that_do_not_match(score):
    with pytest.raises(UsageError, match="1 texts and 2"):
        score(["a"], [["a"], ["b"]])
    with pytest.raises(UsageError, match="0 texts"):
        score([], [])


def test_rates_count_tokens_not_rollouts():
    rollouts = [Counts(9, 1, 10, [0] * 10), Counts(0, 2, 2, [0] * 2), Counts(0, 0, 0, [0] * 3)]
    assert acceptance_rate(rollouts) == 9 / 12
    assert replacement_rate(rollouts) == 3 / 15
    assert math.isnan(acceptance_rate([])) and math.isnan(replacement_rate([]))
    assert math.isnan(acceptance_rate(rollouts[2:]))


def test_bootstrap_interval_of_a_share_is_the_binomial_one():
    values = [1.0] * 60 + [0.0] * 40
    low, high = bootstrap_interval(values, seed=0, draws=4000)
    # normal approximation: .6 +- 1.96 sqrt(.6 * .4 / 100) = .504, .696; a resample mean is a
    # multiple of .01, so the ends are within about one of these
    assert low == pytest.approx(0.504, abs=0.012) and high == pytest.approx(0.696, abs=0.012)
    narrow = bootstrap_interval(values, seed=0, confidence=0.5)
    assert low < narrow[0] < 0.6 < narrow[1] < high


def test_bootstrap_is_a_function_of_its_seed():
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert bootstrap_interval([3.0], seed=0) == (3.0, 3.0)


def test_bootstrap_refuses_what_has_no_mean():
    for values in ([], [1.0, math.nan]):
        with pytest.raises(UsageError, match="finite numbers"):
            bootstrap_interval(values, seed=0)
    with pytest.raises(UsageError, match="confidence"):
        bootstrap_interval([1.0], seed=0, confidence=1.0)


def test_paired_bootstrap_uses_the_pairing():
    easy = [float(i % 2) for i in range(200)]
    better = [min(1.0, value + (i % 10 == 0)) for i, value in enumerate(easy)]
    difference, low, high = paired_bootstrap(better, easy, seed=0)
    assert difference == pytest.approx(0.1) and 0.05 < low < 0.1 < high < 0.15
    assert paired_bootstrap(easy, easy, seed=0) == (0.0, 0.0, 0.0)
    with pytest.raises(UsageError, match="got 1 and 2"):
        paired_bootstrap([1.0], [1.0, 2.0], seed=0)


def test_ties_with_nothing_stay_ties():
    """Means of right and wrong answers are exact, or the p-value hangs on the last bit of a sum."""
    values = np.random.Generator(np.random.Philox(0)).integers(-1, 2, (3, 41)).astype(float)
    values[0, 0] += 12 - values.sum()  # a little above nothing, so that p is not 1
    runs, prompts = values.shape
    rng = np.random.Generator(np.random.Philox(5))
    of_runs = rng.multinomial(runs, np.full(runs, 1 / runs), 2000)
    of_prompts = rng.multinomial(prompts, np.full(prompts, 1 / prompts), 2000)
    exact = [int(a @ values.astype(int) @ b) for a, b in zip(of_runs, of_prompts, strict=True)]
    assert sum(total == 0 for total in exact) > 20
    beside = min(sum(total <= 0 for total in exact), sum(total >= 0 for total in exact)) / 2000
    assert crossed_bootstrap(values, seed=5)[3] == min(1.0, 2 * beside)


def test_written_tokens_count_who_drew_them():
    def rollout(source, proposed, discarded=0):
        trace = SimpleNamespace(source=source, proposed_id=np.array(proposed))
        return SimpleNamespace(trace=trace, discarded=discarded)

    interleaved = rollout(["student", "teacher", "student"], [5, 6, 7], discarded=2)
    own, taught = rollout(["student"] * 2, [1, 2]), rollout(["teacher"] * 4, [-1] * 4)
    reference = rollout(["reference"] * 3, [-1] * 3)
    # the refused proposal was drawn by the student, its replacement by the teacher
    assert written_tokens([interleaved]) == {"student_tokens": 5, "teacher_tokens": 1}
    assert written_tokens([own, taught]) == {"student_tokens": 2, "teacher_tokens": 4}
    assert written_tokens([reference]) == {"student_tokens": 0, "teacher_tokens": 0}
