"""Judging records again with another K, and the statistics of ranks and blocks."""

import re

import pytest
from html_reader import Reader
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_trace

from skd_lab.records import Trace
from skd_lab.views import (
    acceptance_by_k,
    block_histogram,
    k_stops,
    rank_histogram,
    redecide,
    why_not,
)
from skd_lab.views.redecide import k_words, largest_k


def ranked(ranks: list[int], limit: int = 3) -> Trace:
    """A run at K = limit whose proposals had these ranks; ids say who wrote what."""
    trace = make_trace([f" w{i}" for i in range(len(ranks))], accept_top_k=limit)
    for i, (token, rank) in enumerate(zip(trace.tokens, ranks, strict=True)):
        refused = rank > limit
        token.update(
            source="teacher" if refused else "student",
            teacher_rank=rank,
            proposed_id=1000 + i if refused else i,
            teacher_draw={"id": i if refused else 3000 + i, "text": f" d{i}", "p": 0.2},
        )
    return trace


RANKS = st.lists(st.integers(1, 200), min_size=1, max_size=30)


@given(ranks=RANKS, limit=st.integers(1, 50))
def test_the_recorded_k_changes_nothing(ranks, limit):
    found = redecide(ranked(ranks, limit), limit)
    assert (found.flips, found.fork, found.ends_at) == (0, None, None)
    assert found == redecide(ranked(ranks, limit), limit)
    assert found.decisions == redecide(ranked(ranks, limit), None).decisions


@given(ranks=RANKS, limit=st.integers(1, 50), ks=st.lists(st.integers(1, 300), min_size=2))
def test_more_k_never_replaces_more_and_judged_tokens_stay_judged(ranks, limit, ks):
    found = [redecide(ranked(ranks, limit), k) for k in sorted(ks)]
    replaced = [one.replaced for one in found]
    assert replaced == sorted(replaced, reverse=True)
    assert all(one.accepted + one.replaced == len(ranks) for one in found)
    assert redecide(ranked(ranks, limit), 4000).replaced == 0


@given(ranks=RANKS, limit=st.integers(1, 50), k=st.integers(1, 300))
def test_the_fork_is_the_first_verdict_that_changes_a_token(ranks, limit, k):
    found = redecide(ranked(ranks, limit), k)
    flips = [i for i, rank in enumerate(ranks) if (rank <= limit) != (rank <= k)]
    assert found.flips == len(flips)
    assert found.fork == (flips[0] if flips else None)


def test_a_flip_to_the_same_token_is_no_fork():
    trace = ranked([1, 3, 2, 3])
    trace.tokens[1]["teacher_draw"]["id"] = 1
    found = redecide(trace, 2)
    assert found.flips == 2 and found.fork == 3


def test_a_proposal_that_would_end_the_text_ends_it():
    trace = ranked([1, 9, 2, 1])
    trace.tokens[1]["proposed_id"] = trace.tokens[-1]["kept_id"]
    assert redecide(trace, 10).ends_at == 1
    trace.header["finished"] = False
    assert redecide(trace, 10).ends_at is None


def test_a_teacher_that_writes_its_best_token_does_so_at_every_k():
    trace = ranked([1, 2])
    trace.header["policies"] = {"replacement": "teacher_argmax"}
    trace.tokens[1]["teacher_top"] = [[1, " w1", 0.6], [9, " x", 0.2]]
    assert redecide(trace, 1).fork is None  # its best token is the proposal
    trace.tokens[1]["teacher_top"] = [[9, " x", 0.6], [1, " w1", 0.2]]
    assert redecide(trace, 1).fork == 1


def test_a_given_text_never_forks():
    trace = ranked([1, 5, 9], limit=4000)
    trace.header["rule"] = "teacher_forced"
    found = redecide(trace, 3)
    assert found.replaced == 2 and found.fork is None


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"rule": "lossless"}, "no K"),
        ({"policies": {"variant": "released"}}, "variant released"),
        ({"variant": "released"}, "variant released"),
        ({"policies": {"replacement": "student_in_top_k"}}, "student_in_top_k"),
    ],
)
def test_where_another_k_tells_nothing_the_record_stays(header, reason):
    trace = ranked([1, 9, 2])
    trace.header.update(header)
    assert reason in why_not(trace)
    assert redecide(trace, 1) == redecide(trace, None)
    assert redecide(trace, 1).k is None


def test_a_text_that_nobody_judged_has_no_k():
    trace = ranked([1, 2])
    for token in trace.tokens:
        token["teacher_rank"] = 0
    assert "nothing to decide" in why_not(trace) and acceptance_by_k([trace]) == []
    assert redecide(trace, 1).decisions == ["plain", "plain"]


def test_k_for_people():
    assert k_words({"accept_top_k": 25}) == "25"
    assert k_words({"accept_top_k": [25, 25]}) == "25"
    assert k_words({"accept_top_k": [25, 10, 1]}) == "25\u20261"
    assert k_words({}) is None and k_words({"accept_top_k": 5, "rule": "lossless"}) is None
    assert largest_k({"accept_top_k": [3, 25, 1]}) == 25 and largest_k({}) == float("inf")


def test_acceptance_rises_with_k_to_one():
    curve = dict(acceptance_by_k([ranked([1, 1, 2, 7])]))
    assert curve[1] == 0.5 and curve[2] == 0.75 and curve[5] == 0.75 and curve[10] == 1.0
    assert list(curve) == k_stops([ranked([1, 1, 2, 7])]) and max(curve) == 4000


def test_the_stops_hold_the_recorded_k_and_end_at_the_vocabulary():
    traces = [ranked([1], limit=7), ranked([1], limit=40)]
    assert {7, 40, 1, 4000} <= set(k_stops(traces))
    traces[0].header["vocab_size"] = 151936
    assert k_stops(traces)[-1] == 151936


def test_the_rank_histogram_says_its_numbers_and_shows_k():
    svg = rank_histogram(ranked([1, 1, 2, 7]))
    label = Reader(svg).elements[0][1]["aria-label"]
    assert label.startswith("Acceptance as a function of K. K = 1: 50.0%, K = 2: 75.0%")
    assert "K = 3" in Reader(svg).text and "6\u201310" in Reader(svg).text
    assert "K = 5" in Reader(rank_histogram([ranked([1, 1, 2, 7])], k=5)).text
    assert not re.search(r'(?:href|src)="(?!#)', svg)


def test_the_block_histogram_counts_tokens_a_block():
    trace = ranked([1] * 6)
    for token, block in zip(trace.tokens, (0, 0, 0, 1, 2, 2), strict=True):
        token["block"] = block
    svg = Reader(block_histogram(trace))
    assert svg.elements[0][1]["aria-label"] == (
        "Lengths of draft blocks: 1 of 1, 1 of 2, 1 of 3; mean 2.00 tokens"
    )
    assert "6 tokens in 3 blocks: 2.00 tokens a teacher pass" in svg.text


def test_where_there_is_nothing_to_count_there_is_no_picture():
    trace = ranked([1])
    trace.tokens[0].update(teacher_rank=0, block=-1)
    assert rank_histogram(trace) == block_histogram(trace) == ""
