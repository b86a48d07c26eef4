"""A comparison's table and figures, from made-up rows."""

import csv
import io

import pytest
from small_grids import row_of

from skd_lab.methods import CORE_METHODS
from skd_lab.views import (
    grid_table,
    plot_grid_cost,
    plot_grid_curves,
    plot_grid_differences,
    plot_grid_drafts,
    plot_grid_scores,
    plot_grid_sweep,
    plot_grid_texts,
    to_csv,
    to_markdown,
)
from skd_lab.views.grid_marks import look
from skd_lab.views.grid_table import score_at


def test_the_table_by_hand():
    curve = [
        {"step": 0, "cpu_seconds": 0.0, "score": 0.0},
        {"step": 1, "cpu_seconds": 20.0, "score": 0.8},
    ]
    rows = [
        row_of("supervised_kd", 0, [1.0, 0.0, 0.0, 0.0], cost=10.0),
        row_of("supervised_kd", 1, [1.0, 1.0, 0.0, 0.0], cost=10.0),
        row_of("skd", 1, [1.0, 1.0, 1.0, 0.0], cost=20.0, curve=curve),
        row_of("skd", 1, [1.0, 1.0, 1.0, 1.0], cost=20.0, accept_top_k=5),
    ]
    supervised, skd, k5 = grid_table(rows)
    assert (supervised["value"], supervised["runs"]) == (3 / 8, 2)
    # paired on the seed both have
    assert supervised["minus_baseline"] == pytest.approx(-1 / 4)
    assert (k5["name"], k5["minus_baseline"]) == ("skd K=5", pytest.approx(1 / 4))
    assert skd["minus_baseline"] is None and skd["kl_references"] == 0.5
    # the cheapest method with a teacher took 10 seconds: half way along skd's line
    assert skd["at_equal_compute"] == pytest.approx(0.4) and k5["at_equal_compute"] is None
    assert skd["kl_samples"] is None
    read = list(csv.DictReader(io.StringIO(to_csv([supervised, skd, k5]))))
    assert read[1]["name"] == "skd" and float(read[1]["value"]) == 0.75 and read[1]["p"] == ""
    text = to_markdown([supervised, skd, k5])
    assert text.startswith("### summaries, 100 prompts, start own\n")
    assert "| supervised_kd | 2 | 37.5% [" in text and "| -25.0 [" in text


def test_a_curve_is_read_between_its_points():
    curve = [{"cpu_seconds": 0.0, "score": 0.2}, {"cpu_seconds": 10.0, "score": 0.4}]
    assert score_at(curve, 5.0) == pytest.approx(0.3) and score_at(curve, 50.0) == 0.4
    assert score_at([], 5.0) is None and score_at(None, 5.0) is None


def a_grid():
    """Rows as a small grid leaves them: two methods, two seeds, one setting."""
    rows = [row_of("teacher", None, [1.0, 1.0, 0.0]), row_of("start", None, [0.0, 0.0, 0.0])]
    for method, cost in (("supervised_kd", 10.0), ("skd", 20.0)):
        for seed in (0, 1):
            curve = [
                {"step": n, "cpu_seconds": n * cost / 2, "score": n / 4, "nll_samples": 3.0 - n}
                for n in range(3)
            ]
            row = row_of(method, seed, [1.0, float(seed), 0.0], cost=cost, curve=curve)
            row |= {"updates": 2, "teacher_nll": [[1, 2.0], [2, 1.5]], "replaced": [[1, None]]}
            row |= {f"seconds_{phase}": 1.0 for phase in ("draft", "verify", "score", "update")}
            row |= {"student_tokens": 40, "teacher_tokens": 10 if method == "skd" else 0}
            draft = {"acceptance_rate": 0.8 + seed / 10, "expected_acceptance": 0.82, "z": 0.5}
            rows.append({**row, "draft": {**draft, "tokens_per_block": 3.0}})
    return rows


def test_figures_of_a_grid():
    rows = a_grid()
    scores, curves, cost = (
        plot(rows) for plot in (plot_grid_scores, plot_grid_curves, plot_grid_cost)
    )
    assert [t.get_text() for t in scores.axes[0].get_yticklabels()] == [
        *("skd", "supervised_kd", "start"),
    ]
    assert scores.axes[0].get_xlabel().endswith("; teacher 66.7%")
    assert len(curves.axes) == 2
    lines = {line.get_label(): line for line in curves.axes[-1].get_legend().get_lines()}
    assert set(lines) == {"supervised_kd", "skd"}
    # told apart without colour, too
    assert len({line.get_linestyle() for line in lines.values()}) == 2
    assert len({line.get_color() for line in lines.values()}) == 2
    assert len(cost.axes[0].patches) == 2 * 4
    # tokens an update, skd below: drawn from the student, drawn from the teacher
    assert [bar.get_width() for bar in cost.axes[1].patches] == [20.0, 5.0, 20.0, 0.0]
    # a method looks the same in every group, whatever else is in it
    groups = [row_of("sft", 0, [1.0]), row_of("skd", 0, [1.0]), row_of("skd", 0, [0.0], steps=9)]
    first, second = plot_grid_scores(groups).axes
    assert first.lines[0].get_color() == second.lines[0].get_color() != first.lines[3].get_color()
    replaced, trained_on, own = plot_grid_texts(rows).axes
    assert not replaced.lines and len(trained_on.lines) == len(own.lines) == 2
    assert list(own.lines[0].get_ydata()) == [3.0, 2.0, 1.0]
    assert plot_grid_sweep(rows) is None
    swept = [
        row_of("skd", seed, [float(seed), 1.0, 0.0], accept_top_k=k)
        for seed in (0, 1)
        for k in (1, 5, "updates:1..5")
    ]
    labels = plot_grid_sweep(swept).axes[0].get_xticklabels()
    assert [t.get_text() for t in labels] == ["1", "5", "updates:\n1..5"]
    assert plot_grid_scores([]).axes == []


def test_differences_and_drafts_as_figures():
    rows = a_grid()
    [axes] = plot_grid_differences(rows).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["supervised_kd"]
    assert {t.get_text() for t in axes.texts} == {"p = 1.000"}
    [axes] = plot_grid_drafts(rows).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["skd", "supervised_kd"]
    assert {t.get_text() for t in axes.texts} == {"3.00 tokens a block"}
    rates = {line.get_xdata()[0] for line in axes.lines}
    assert sorted(rates) == pytest.approx([0.82, 0.85])
    assert plot_grid_drafts([{**row, "draft": None} for row in rows]) is None
    assert plot_grid_differences([row for row in rows if row["method"] != "skd"]) is None


def test_runs_with_equal_cpu_seconds_are_a_group_with_the_baseline_in_it():
    rows = a_grid()
    rows.append(row_of("supervised_kd", 0, [1.0, 1.0, 1.0], cost=20.0, budget="cpu"))
    rows.append(row_of("skd", 0, [1.0, 1.0, 1.0], cost=20.0, accept_top_k=5))
    table = grid_table(rows)
    equal = [row for row in table if row["budget"]]
    assert [row["name"] for row in equal] == ["start", "supervised_kd", "skd", "teacher"]
    # paired on seed 0 alone, which is all it was run with
    assert equal[1]["minus_baseline"] == pytest.approx(2 / 3) and equal[2]["runs"] == 2
    assert {row["at_equal_compute"] for row in equal} == {None}
    assert "### summaries, 100 prompts, start own, equal CPU seconds" in to_markdown(table)


def test_each_learning_rate_is_a_group_and_a_figure_is_over_them():
    rows = [
        row_of(method, seed, [score, float(seed)], learning_rate=rate)
        for method, scores in (("sft", (0.2, 0.4, 0.0)), ("skd", (0.5, 0.9, 0.7)))
        for rate, score in zip((1e-3, 3e-3, 1e-2), scores, strict=True)
        for seed in (0, 1)
    ]
    table = [row for row in grid_table(rows) if row["name"] == "sft"]
    # paired with skd at the same rate
    assert [row["minus_baseline"] for row in table] == pytest.approx([-0.15, -0.25, -0.35])
    assert "start own, learning rate 0.003\n" in to_markdown(table)
    [axes] = plot_grid_sweep(rows, "learning_rate").axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.001", "0.003", "0.01"]
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert lines["skd"] == pytest.approx([0.5, 0.7, 0.6])
    assert plot_grid_sweep(rows[:2], "learning_rate") is None
    assert "rate" not in axes.get_title(loc="left") and axes.get_xlabel() == "learning rate"


def test_many_groups_stand_in_two_columns():
    groups = [row_of("skd", 0, [1.0], start=start) for start in ("a", "b", "c", "d", "e")]
    figure = plot_grid_scores(groups)
    assert len(figure.axes) == 5 and figure.axes[0].get_gridspec().ncols == 2
    assert plot_grid_scores(groups[:3]).axes[0].get_gridspec().ncols == 1


def test_families_and_teachers_made_for_a_grid_are_kept_apart():
    rows = [
        row_of(method, 0, [1.0], family=family, teacher=teacher)
        for family, teacher in ((None, None), ("tiny-gemma3", None), (None, "9x9"))
        for method in ("teacher", "skd")
    ]
    heads = [line for line in to_markdown(grid_table(rows)).splitlines() if line.startswith("#")]
    assert heads == [
        "### summaries, 100 prompts, start own",
        "### tiny-gemma3, summaries, 100 prompts, start own",
        "### summaries, 100 prompts, start own, teacher 9x9",
    ]
    assert [row["name"] for row in grid_table(rows)] == ["skd", "teacher"] * 3


def test_ten_methods_look_different_whatever_is_swept_beside_them():
    methods = list(CORE_METHODS)
    rows = [row_of(method, 0, [1, 0]) for method in methods]
    at = methods.index("skd") + 1
    swept = [row_of("skd", 0, [1, 0], accept_top_k=k, cell=f"skd-k{k}") for k in range(1, 10)]
    rows[at:at] = swept
    assert len({look(method, rows) for method in methods}) == len(methods)
