"""Grids of runs: that they go on after a stop, choose rates, say what failed, and by command."""

import json
import os
import re
import signal

import pytest
from matplotlib.figure import Figure
from small_grids import QUIET, SMALL, SQUARE, apart_from_time

from skd_lab import cells, compare
from skd_lab.cli.frame import main
from skd_lab.compare import run_grid
from skd_lab.errors import DataError, UsageError
from skd_lab.grids import Grid
from skd_lab.results import read_results
from skd_lab.stopping import Stopped
from skd_lab.views import (
    grid_table,
    plot_grid_cost,
    plot_grid_curves,
    plot_grid_scores,
    to_markdown,
)


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    folder = tmp_path_factory.mktemp("square")
    said = []
    rows = run_grid(SQUARE, folder, progress=False, say=said.append)
    return folder, rows, said


def test_a_grid_gives_a_row_a_cell_and_says_how_far_it_is(square):
    folder, rows, said = square
    assert [row["cell"] for row in rows] == [cell.name for cell in SQUARE.cells()]
    assert [row["method"] for row in rows] == [
        *("teacher", "start"),
        *("supervised_kd", "skd") * 2,
    ]
    assert all(row["status"] == "done" and len(row["scores"]) == row["n"] == 3 for row in rows)
    skd = rows[3]
    assert [point["step"] for point in skd["curve"]] == [0, 1, 2]
    assert (
        skd["curve"][-1]["cpu_seconds"] == pytest.approx(skd["cpu_seconds"]) and skd["cpu_seconds"]
    )
    assert [step for step, _ in skd["replaced"]] == [1, 2] and skd["updates"] == 2
    assert rows[0]["kl_samples"] is None and skd["kl_samples"] > 0
    assert read_results(folder) == rows
    assert said[0] == "6 cells, 0 of them finished before; 1 at once"
    assert re.fullmatch(r"\[1/6\] .*facts-exact.* s; 5 cells left, about \d+ min", said[1])
    assert not list(folder.glob("cells/*/checkpoints"))
    assert (folder / "cells" / skd["cell"] / "student").is_dir()


def test_a_finished_cell_is_not_run_again(square, monkeypatch):
    folder, rows, _ = square
    monkeypatch.setattr(compare, "run_cell", lambda *args, **kw: pytest.fail("ran"))
    assert run_grid(SQUARE, folder, **QUIET) == rows


def test_a_stopped_grid_goes_on_with_the_cell_it_was_at(square, tmp_path, monkeypatch):
    _, straight, _ = square
    original, trained = cells.train, []

    def stopped(config, **settings):
        trained.append(config.run_dir)
        if len(trained) == 3:
            # a kill in the middle: the folder is begun, and there is no checkpoint
            original(config.replace(steps=1, save_every=9), **settings)
            raise KeyboardInterrupt
        return original(config, **settings)

    monkeypatch.setattr(cells, "train", stopped)
    with pytest.raises(Stopped, match="4 of 6 cells are finished"):
        run_grid(SQUARE, tmp_path, **QUIET)
    assert len(read_results(tmp_path)) == 4
    run_dir = tmp_path / "cells" / SQUARE.cells()[4].name
    assert run_dir.is_dir() and not (run_dir / "cell.json").exists()
    monkeypatch.undo()
    (run_dir / "config.json").write_text(_config_of(straight, square[0], run_dir))
    for left in (run_dir / "checkpoints").iterdir():
        left.rename(run_dir / left.name)
    rows = run_grid(SQUARE, tmp_path, **QUIET)
    assert apart_from_time(rows) == apart_from_time(straight)


def test_a_sigterm_is_said_and_loses_nothing(tmp_path, monkeypatch):
    def stopped(cell, grid, folder, *, progress):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(compare, "run_cell", stopped)
    with pytest.raises(Stopped, match="0 of 6 cells are finished") as told:
        run_grid(SQUARE, tmp_path, **QUIET)
    assert told.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def _config_of(rows, folder, run_dir):
    """The config.json the whole run would have begun with."""
    config = json.loads((folder / "cells" / run_dir.name / "config.json").read_text())
    return json.dumps({**config, "run_dir": str(run_dir)})


def test_a_failed_cell_is_in_the_table_and_the_rest_goes_on(tmp_path):
    grid = Grid(
        blocks=({"method": ("sft", "skd"), "prompts": (8,), "learning_rate": (1e30, 1e-3)},),
        fixed={"steps": 3},
        test_prompts=2,
    )
    rows = run_grid(grid, tmp_path, **QUIET)
    failed = [row for row in rows if row["status"] == "failed"]
    assert {(row["method"], row["learning_rate"]) for row in failed} == {
        ("sft", 1e30),
        ("skd", 1e30),
    }
    assert all("became" in row["error"] for row in failed)
    assert len(rows) == 6 and rows[-1]["status"] == "done"
    text = to_markdown(grid_table(rows))
    broken, whole = text.split("### ")[1:]
    assert "learning rate 1e+30" in broken and "| skd | 0 | failed: The" in broken
    assert "learning rate 0.001" in whole and "| skd | 1 |" in whole
    for figure in (plot_grid_scores(rows), plot_grid_curves(rows), plot_grid_cost(rows)):
        assert isinstance(figure, Figure)
    # tried again by the next call, the others are not
    assert main(["compare", "--out", str(tmp_path), "--report-only"]) == 1


def test_another_grid_s_settings_are_refused_and_more_cells_are_not(square):
    folder, rows, _ = square
    other = Grid(blocks=SQUARE.blocks, fixed={**SMALL, "steps": 3}, test_prompts=3)
    with pytest.raises(UsageError, match="made with fixed .*--out"):
        run_grid(other, folder, **QUIET)
    before = (folder / "grid.json").read_text()
    # a part of it runs nothing, and takes nothing away from what is there
    assert run_grid(SQUARE.with_axes({"seed": (1,)}), folder, **QUIET) == rows
    assert read_results(folder) == rows
    blocks = json.loads((folder / "grid.json").read_text())["blocks"]
    assert blocks[:1] == json.loads(before)["blocks"] and len(blocks) == 2


def test_damaged_files_are_named(square, tmp_path):
    path = tmp_path / "results.jsonl"
    good = (square[0] / "results.jsonl").read_text()
    path.write_text(good + '{"cell": "x"}\n')
    with pytest.raises(DataError, match="results.jsonl, line 7: no row .*no field status"):
        read_results(tmp_path)
    path.write_text(good[:-40])
    with pytest.raises(DataError, match="results.jsonl, line 6"):
        read_results(tmp_path)
    row = json.loads(good.splitlines()[2])
    path.write_text(json.dumps({**row, "scores": [1.0]}) + "\n")
    with pytest.raises(DataError, match="line 1: .*1 scores of 3 prompts"):
        read_results(path)
    cell = tmp_path / "cells" / SQUARE.cells()[0].name / "cell.json"
    cell.parent.mkdir(parents=True)
    cell.write_text("{")
    with pytest.raises(DataError, match="cell.json is damaged .*Delete it"):
        run_grid(SQUARE, tmp_path, **QUIET)


def test_references_that_a_method_needs_are_missed_before_anything_runs(tmp_path):
    lines = [{"prompt": f"Say {n}."} for n in range(40)]
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    fixed = {**SMALL, "data_path": str(data)}
    axes = {"task": ("jsonl",), "prompts": (8,)}
    grid = Grid(blocks=({**axes, "method": ("on_policy_kd", "sft")},), fixed=fixed)
    with pytest.raises(UsageError, match="sft trains on references, and 8 of 8 prompts .*skd"):
        run_grid(grid, tmp_path / "grid", **QUIET)
    assert not (tmp_path / "grid").exists()
    many = Grid(blocks=({**axes, "prompts": (99,), "method": ("skd",)},), fixed=fixed)
    with pytest.raises(UsageError, match="has 32 training prompts here, and the grid asks for 99"):
        run_grid(many, tmp_path / "grid", **QUIET)


def test_a_metric_without_its_package_stops_the_grid_first(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    grid = Grid(blocks=({"task": ("translation",)},), fixed=SMALL)
    with pytest.raises(UsageError, match="task translation is scored by the package sacrebleu"):
        run_grid(grid, tmp_path, **QUIET)


@pytest.mark.slow
def test_two_workers_make_the_same_table(square, tmp_path):
    rows = run_grid(SQUARE, tmp_path, workers=2, **QUIET)
    assert apart_from_time(rows) == apart_from_time(square[1])


def test_the_command_plans_runs_and_reports(square, capsys):
    folder = str(square[0])
    words = ["--axis", "method=supervised_kd,skd", "--axis", "seed=0,1", "--axis", "prompts=8"]
    words += ["--set", "steps=2", "--set", "eval_every=1", "--set", "eval_prompts=2"]
    words = ["compare", *words, "--test-prompts", "3", "--out", folder]
    assert main([*words, "--plan"]) == 0
    assert capsys.readouterr().out.split() == [cell.name for cell in SQUARE.cells()]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["rows"]] == ["start", "supervised_kd", "skd", "teacher"]
    assert main(["compare", "--out", folder, "--report-only"]) == 0
    shown = capsys.readouterr().out
    assert "### summaries, 8 prompts, start own" in shown and "6 cells done, 0 failed" in shown
    names = {path.name for path in square[0].iterdir()}
    assert {"table.md", "table.csv", "table.json", "scores.png", "curves.png"} <= names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--axis", "method"], "takes NAME=VALUE, got 'method'"),
        (["--axis", "colour=red"], "no axis 'colour'"),
        (["--axis", "seed=x"], "axis seed: 'x'"),
        (["--tier", "1"], "--tier belongs to --preset paper"),
        (["--preset", "paper", "--tier", "9"], "no tier 9"),
        (["--set", "color=1"], "no such setting"),
        (["--regime", "weak_student"], "--regime belongs to --preset regimes"),
        (["--preset", "regimes", "--regime", "lucky"], "no regime 'lucky'"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--tune", "fast"], "takes numbers with commas, got 'fast'"),
        (["--tune", "-1"], "--learning-rate must be above 0"),
    ],
)
def test_the_command_refuses_what_cannot_be(words, message, tmp_path, capsys):
    assert main(["compare", *words, "--out", str(tmp_path / "grid")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "grid").exists()
