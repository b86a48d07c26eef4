"""Grids as data: their axes, the cells they make, and those that are ready."""

import dataclasses

import pytest

from skd_lab.axes import OWN
from skd_lab.cells import models_once
from skd_lab.errors import UsageError
from skd_lab.grids import Cell, Grid
from skd_lab.methods import CORE_METHODS, METHODS
from skd_lab.regimes import regime_grid
from skd_lab.studies import PAPER_TIERS, QUICK, RATES, paper_grid


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"methods": ["skd"]}, "no axis 'methods'. Choose one of: family, task"),
        ({"method": ["sdk"]}, "sdk.*on_policy_kd"),
        ({"task": ["sums"]}, "unknown task 'sums'"),
        ({"start": ["weak"]}, "axis start: 'weak' is none of own, barely, sft100"),
        ({"prompts": [0]}, "axis prompts: 0 is no whole number above 0 or full"),
        ({"prompts": ["all"]}, "axis prompts: 'all'"),
        ({"seed": [-1]}, "axis seed: -1"),
        ({"seed": []}, "axis seed has no value"),
        ({"objective": ["kl"]}, "kl"),
        ({"accept_top_k": [0]}, "accept-top-k"),
        ({"steps": ["many"]}, "--steps must be a whole number, got many"),
        ({"family": ["llama"]}, "axis family: 'llama' is none of tiny-qwen3"),
        ({"start": ["100x"]}, "axis start: '100x' is none of own, .*PROMPTSxUPDATES"),
        ({"start": ["100x40@50"]}, "axis start: '100x40@50' is none of own"),
        ({"teacher": ["small"]}, "axis teacher: 'small' is no PROMPTSxUPDATES"),
        ({"replacement": ["random"]}, "axis replacement: 'random' is none of teacher_sample"),
        ({"budget": ["gpu"]}, "axis budget: 'gpu' is none of cpu"),
        ({"budget": ["cpu"]}, "measured on runs .* no summaries-supervised_kd-100-own-s0"),
        (
            {"budget": [None, "cpu"], "method": ["sft"]},
            "the grid has no summaries-skd-100-own-s0.*the methods skd",
        ),
        ({"task": ["gsm8k"], "teacher": ["9x9"]}, "teacher '9x9' is trained from random weights"),
        ({"task": ["gsm8k"], "start": ["barely"]}, "task 'gsm8k' has none with these models"),
    ],
)
def test_axes_that_cannot_be_are_refused_before_anything_runs(axes, message):
    with pytest.raises(UsageError, match=message):
        Grid(blocks=(axes,))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="--set run_dir: no such setting"):
        Grid(fixed={"run_dir": "x"})
    with pytest.raises(UsageError, match="--test-prompts must be at least 1, got 0"):
        Grid(test_prompts=0)
    with pytest.raises(UsageError, match="no split 'exam'"):
        Grid(split="exam")


def test_axes_a_method_does_not_know_make_no_cells():
    grid = Grid(
        blocks=(
            {
                "method": ["sft", "skd", "gkd"],
                "accept_top_k": [1, 5],
                "objective": ["forward_kl", "reverse_kl"],
            },
        )
    )
    trained = [cell.name for cell in grid.cells() if cell["method"] not in ("start", "teacher")]
    assert trained == [
        "summaries-sft-100-own-s0",
        "summaries-skd-100-own-s0-k1",
        "summaries-skd-100-own-s0-k1-reverse_kl",
        "summaries-skd-100-own-s0-k5",
        "summaries-skd-100-own-s0-k5-reverse_kl",
        "summaries-gkd-100-own-s0-forward_kl",
        "summaries-gkd-100-own-s0-reverse_kl",
    ]


def test_cells_go_seed_by_seed_behind_the_start_they_begin_with():
    grid = Grid(blocks=({"method": ["sft", "skd"], "start": ["sft100"], "seed": [1, 0]},))
    assert [cell.name for cell in grid.cells()] == [
        "summaries-teacher",
        "summaries-start-sft100-s1",
        "summaries-sft-100-sft100-s1",
        "summaries-skd-100-sft100-s1",
        "summaries-start-sft100-s0",
        "summaries-sft-100-sft100-s0",
        "summaries-skd-100-sft100-s0",
    ]
    schedule = Cell(values={"task": "summaries", "method": "skd", "accept_top_k": "updates:1..25"})
    assert schedule.name == "summaries-skd-kupdates_1..25"


def test_the_presets_are_grids_and_paper_has_what_the_paper_compares():
    assert {cell["task"] for cell in QUICK.cells()} == {"summaries", "arithmetic"}
    trained = {
        tier: [c for c in paper_grid([tier]).cells() if c["method"] not in ("start", "teacher")]
        for tier in PAPER_TIERS
    }
    assert len(trained[1]) == 2 * 5 * 2 * 5
    assert {1, 2, 3, 5, 10, 25, 1024} <= {cell.values.get("accept_top_k") for cell in trained[2]}
    methods = {cell["method"] for tier in (1, 3) for cell in trained[tier]}
    assert set(METHODS) >= methods == set(CORE_METHODS)
    assert {None, "reverse_kl"} <= {cell.values.get("objective") for cell in trained[4]}
    assert {cell["task"] for cell in trained[5]} == {
        *("summaries", "arithmetic", "translation", "instruction"),
    }
    assert {cell.values.get("family") for cell in trained[5]} == {None, "tiny-gemma3"}
    assert paper_grid().rates == RATES
    every = {cell.name for tier in PAPER_TIERS for cell in paper_grid([tier]).cells()}
    assert {cell.name for cell in paper_grid().cells()} == every
    with pytest.raises(UsageError, match="there is no tier 6"):
        paper_grid([6])


def test_cells_with_equal_cpu_seconds_come_last_and_know_what_they_are_measured_by():
    axes = {"method": ["sft", "skd"], "budget": [None, "cpu"], "seed": [0, 1]}
    grid = Grid(blocks=(axes,), fixed={"steps": 50})
    names = [cell.name for cell in grid.cells()]
    assert names[-2:] == ["summaries-sft-100-own-s0-cpu", "summaries-sft-100-own-s1-cpu"]
    # the baseline's own seconds are the budget
    assert not [name for name in names if "skd" in name and "cpu" in name]
    last = grid.cells()[-1]
    assert [cell.name for cell in last.paces] == [
        "summaries-sft-100-own-s1",
        "summaries-skd-100-own-s1",
    ]
    assert grid.cells()[2].paces is None and grid.config(last).steps == 50
    longer = dataclasses.replace(grid, updates={"summaries-sft-100-own-cpu": 125})
    assert longer.config(last).steps == 125 and longer.config(grid.cells()[2]).steps == 50


def test_a_method_has_one_learning_rate_on_a_task():
    axes = {"method": ["skd"], "start": ["sft100", "barely"], "accept_top_k": [None, 5]}
    grid = Grid(blocks=(axes,), chosen={"summaries-skd": 0.5})
    trained = [cell for cell in grid.cells() if cell["method"] == "skd"]
    assert len(trained) == 4 and {cell.tuned_as for cell in trained} == {"summaries-skd"}
    assert {grid.config(cell).learning_rate for cell in trained} == {0.5}


def test_a_family_chooses_the_pair_of_the_task():
    axes = {"family": ["tiny-qwen3"], "task": ["summaries", "arithmetic"], "method": ["skd"]}
    grid = Grid(blocks=(axes,))
    cells = {cell.name: cell for cell in grid.cells()}
    assert "tiny-qwen3-arithmetic-teacher" in cells and "tiny-qwen3-summaries-start-own" in cells
    pairs = {grid.config(cell).pair for cell in cells.values() if cell["method"] == "skd"}
    assert pairs == {"tiny-qwen3", "tiny-qwen3-arithmetic"}
    with pytest.raises(UsageError, match="family tiny-qwen3 has no pair for task 'gsm8k'"):
        Grid(blocks=({"family": ["tiny-qwen3"], "task": ["gsm8k"]},))


@pytest.mark.parametrize("grid", [paper_grid(PAPER_TIERS), regime_grid()], ids=["paper", "regimes"])
def test_models_are_made_once_before_the_cells_and_never_by_two_workers(grid):
    def models(cell):
        start, teacher = cell.values.get("start"), cell.values.get("teacher")
        family = cell.values.get("family")
        task = None if start == "multitask" else cell["task"]  # one for all tasks of a family
        made = (
            {(family, task, start, cell.values.get("seed"))} if start not in (None, OWN) else set()
        )
        return made | ({(family, cell["task"], teacher)} if teacher else set())

    cells, made = grid.cells(), set()
    for turn in models_once(cells):
        missing = [one for cell in turn for one in models(cell) - made]
        assert len(missing) == len(set(missing))
        made |= set(missing)
    assert made == set().union(*map(models, cells))
    assert len(list(models_once(cells))) <= 6
