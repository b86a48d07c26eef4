"""The ten statements: rules of verdicts, and each on rows made up to be for or against it."""

import pytest
from small_grids import row_of

from skd_lab.claims import (
    AGAINST,
    FOR,
    HOLDS,
    NOT_RUN,
    OPEN,
    REFUTED,
    UNCLEAR,
    Finding,
    grouped,
    verdict,
)
from skd_lab.statements import STATEMENTS

SEEDS = (0, 1, 2)
RIGHT, HALF, WRONG = [1.0] * 8, [1.0, 0.0] * 4, [0.0] * 8


def runs(method, scores, seeds=SEEDS, **values):
    return [row_of(method, seed, scores, **values) for seed in seeds]


def finding(low, high):
    return Finding(where="", what="", value=(low + high) / 2, low=low, high=high, runs=3)


def found(number, rows):
    [statement] = [one for one in STATEMENTS if one.number == number]
    return list(statement.find(grouped(rows, "folder")))


def said(number, rows):
    return [(one.what, one.speaks) for one in found(number, rows)]


def test_verdicts_follow_the_rules():
    clear, unclear, other = finding(0.1, 0.2), finding(-0.1, 0.2), finding(-0.2, -0.1)
    assert [one.speaks for one in (clear, unclear, other)] == [FOR, OPEN, AGAINST]
    assert verdict([]) == NOT_RUN
    assert verdict([clear, unclear]) == HOLDS
    assert verdict([clear, unclear, unclear]) == UNCLEAR and verdict([unclear]) == UNCLEAR
    # one that speaks against is enough
    assert verdict([clear] * 9 + [other]) == REFUTED
    # an interval that ends at 0 does not lie on one side
    assert finding(0.0, 0.2).speaks == OPEN


def test_too_few_seeds_and_failed_runs_are_not_looked_at():
    two = runs("skd", RIGHT, seeds=(0, 1)) + runs("imit_kd", WRONG, seeds=(0, 1))
    assert found(5, two) == []
    failed = [{**row, "status": "failed", "error": "x"} for row in runs("imit_kd", WRONG)]
    assert found(5, runs("skd", RIGHT) + failed) == []
    [one] = found(5, runs("skd", RIGHT) + runs("imit_kd", WRONG))
    assert (one.runs, one.value, one.speaks, one.folder) == (3, 1.0, FOR, "folder")
    assert found(5, []) == []


def test_statement_1_the_share_of_replaced_tokens_falls():
    falling = [[[n, 0.3 - n / 100 + seed / 1000] for n in range(20)] for seed in SEEDS]
    rows = [row_of("skd", s, HALF, replaced=falling[s]) for s in SEEDS]
    [one] = found(1, rows)
    assert one.value == pytest.approx(0.18) and one.speaks == FOR
    assert "(29.6%) minus last tenth (11.6%)" in one.what
    rising = [row_of("skd", s, HALF, replaced=[[0, 0.1], [1, 0.2 + s / 100]]) for s in SEEDS]
    assert [one.speaks for one in found(1, rising)] == [AGAINST]


def test_statement_2_k_of_the_whole_vocabulary_is_on_policy():
    on_policy = runs("on_policy_kd", HALF)
    same = runs("skd", HALF, accept_top_k=1024, replaced=[[1, 0.0]])
    assert [one.speaks for one in found(2, same + on_policy)] == [FOR]
    mended = runs("skd", HALF, accept_top_k=1024, replaced=[[1, 0.01]])
    other = runs("skd", RIGHT, accept_top_k=1024, replaced=[[1, 0.0]])
    assert [one.speaks for one in found(2, mended + on_policy)] == [OPEN]
    assert [one.speaks for one in found(2, other + on_policy)] == [AGAINST]
    assert found(2, runs("skd", HALF, accept_top_k=25) + on_policy) == []


def test_statements_3_and_4_read_the_sweep_of_k():
    rows = runs("supervised_kd", HALF) + runs("on_policy_kd", WRONG)
    rows += runs("skd", RIGHT, accept_top_k=5) + runs("skd", HALF, accept_top_k=25)
    rows += runs("skd", WRONG, accept_top_k="updates:25..1")
    assert said(3, rows) == [
        ("skd K=5 minus supervised_kd", FOR),
        ("skd K=5 minus on_policy_kd", FOR),
    ]
    assert said(4, rows) == [("skd K=25 minus skd K=updates:25..1", FOR)]


def test_statement_5_and_6_compare_scores_where_they_apply():
    rows = runs("skd", HALF) + runs("imit_kd", RIGHT) + runs("two_stage", WRONG)
    assert said(5, rows) == [("skd minus imit_kd", AGAINST), ("imit_kd minus two_stage", FOR)]
    methods = {"skd": RIGHT, "supervised_kd": WRONG, "on_policy_kd": WRONG}
    for start, looked_at in (("barely", 2), ("100x20", 2), ("sft100", 0), ("own", 0)):
        rows = [row for m, scores in methods.items() for row in runs(m, scores, start=start)]
        assert len(found(6, rows)) == looked_at
    rows = [row for m, scores in methods.items() for row in runs(m, scores, start="barely")]
    assert said(6, rows) == [
        ("skd minus on_policy_kd", FOR),
        ("supervised_kd minus on_policy_kd", OPEN),
    ]


def test_statement_7_asks_whether_the_advantage_grows():
    few = runs("skd", RIGHT) + runs("supervised_kd", WRONG)
    many = runs("skd", RIGHT, prompts=1000) + runs("supervised_kd", HALF, prompts=1000)
    [one] = found(7, few + many)
    assert one.value == pytest.approx(0.5) and one.speaks == FOR
    assert found(7, few) == []
    # another grid's test set, of which nothing can be paired
    longer = runs("skd", RIGHT * 2, prompts=1000) + runs("supervised_kd", HALF * 2, prompts=1000)
    assert found(7, few + longer) == []


def test_statement_8_compares_kl_and_9_acceptance_seed_by_seed():
    rows = [row_of("skd", s, HALF, kl_references=0.1 + s / 100) for s in SEEDS]
    rows += [row_of("sft", s, HALF, kl_references=0.3 + s / 100) for s in SEEDS]
    [one] = found(8, rows)
    assert (one.value, one.unit, one.speaks) == (pytest.approx(0.2), "nats", FOR)
    # Student's t of 0.1, 0.2, 0.3 by hand: 0.2 +- 4.303 * 0.1 / sqrt(3)
    rows = [row_of("skd", s, HALF, draft={"acceptance_rate": 0.6 + s / 10}) for s in SEEDS]
    rows.append(row_of("start", None, WRONG, draft={"acceptance_rate": 0.5}))
    [one] = found(9, rows)
    assert one.what == "skd minus start"
    assert (one.low, one.high) == (
        pytest.approx(0.2 - 4.303 * 0.1 / 3**0.5),
        pytest.approx(0.2 + 4.303 * 0.1 / 3**0.5),
    )
    assert found(9, runs("skd", HALF) + runs("sft", HALF)) == []


def test_statement_10_compares_seconds_an_update():
    rows = [row_of("skd", s, HALF, cost=10.0 + s, updates=10) for s in SEEDS]
    rows += [row_of("teacher_kd", s, HALF, cost=2 * (10.0 + s), updates=10) for s in SEEDS]
    [one] = found(10, rows)
    assert one.value == pytest.approx(0.6931, abs=1e-4) and one.speaks == FOR


def test_there_are_ten_and_equal_seconds_are_no_second_vote():
    assert [statement.number for statement in STATEMENTS] == list(range(1, 11))
    rows = runs("skd", RIGHT) + runs("imit_kd", HALF) + runs("imit_kd", WRONG, budget="cpu")
    assert said(5, rows) == [("skd minus imit_kd", FOR)]
