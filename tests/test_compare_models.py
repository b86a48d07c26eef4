"""Where the runs of a grid start, and the learning rates they get."""

import json
from dataclasses import replace

import pytest
from small_grids import QUIET, SMALL

from skd_lab import compare
from skd_lab.bundle import bundled_folders
from skd_lab.cells import run_cell
from skd_lab.compare import run_grid
from skd_lab.errors import UsageError
from skd_lab.grids import Grid
from skd_lab.methods import METHODS
from skd_lab.recipes import STARTS
from skd_lab.starts import make_start
from skd_lab.views import (
    grid_table,
    to_markdown,
)

BARELY = replace(STARTS["tiny-qwen3"]["barely"], prompts={"summaries": 8}, steps=2)


def test_a_start_is_made_once_and_is_its_seeds_own(tmp_path, monkeypatch):
    monkeypatch.setattr("skd_lab.starts.STARTS", {"tiny-qwen3": {"barely": BARELY}})
    first = make_start("tiny-qwen3", "barely", 1, tmp_path)
    written = (first / "model.safetensors").stat().st_mtime_ns
    assert make_start("tiny-qwen3", "barely", 1, tmp_path) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    other = make_start("tiny-qwen3", "barely", 2, tmp_path)
    again = make_start("tiny-qwen3", "barely", 1, tmp_path / "again")
    weights = [(f / "model.safetensors").read_bytes() for f in (first, other, again)]
    assert weights[0] == weights[2] != weights[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [first.name, other.name, "again"]
    )
    with pytest.raises(UsageError, match="no start 'sft1k' for pair 'tiny-qwen3'"):
        make_start("tiny-qwen3", "sft1k", 1, tmp_path)


def test_the_start_of_the_recipes_own_seed_comes_with_the_package(tmp_path):
    for pair, starts in STARTS.items():
        for start, recipe in starts.items():
            found = make_start(pair, start, recipe.seed, tmp_path)
            assert found == bundled_folders(pair, start)[0] and (found / "config.json").exists()
    assert not list(tmp_path.iterdir())


def test_a_cell_starts_from_its_start(tmp_path, monkeypatch):
    monkeypatch.setattr("skd_lab.starts.STARTS", {"tiny-qwen3": {"barely": BARELY}})
    grid = Grid(
        blocks=({"method": ("sft",), "start": ("barely",), "prompts": (8,), "seed": (1,)},),
        fixed=SMALL,
        test_prompts=2,
    )
    row = run_cell(grid.cells()[-1], grid, tmp_path)
    assert row["status"] == "done"
    start = make_start("tiny-qwen3", "barely", 1, tmp_path / "starts")
    config = json.loads((tmp_path / "cells" / row["cell"] / "config.json").read_text())
    assert config["student"] == str(start)


def test_learning_rates_are_chosen_on_validation_for_each_method(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "TUNING_PROMPTS", 2)
    axes = {"method": ("sft", "skd"), "prompts": (8,)}
    grid = Grid(blocks=(axes,), fixed={"steps": 2}, test_prompts=2, rates=(1e-5, 1e30, 1e-3))
    asked = []

    def pretend(cell, grid, folder, *, progress):
        """Scores in which sft does best at 1e-5, skd at 1e-3; a third rate fails."""
        asked.append((cell["method"], cell.values.get("seed"), grid.split, grid.config(cell)))
        rate = grid.config(cell).learning_rate
        row = {"cell": cell.name, **cell.values}
        if rate == 1e30 and cell["method"] not in ("start", "teacher"):
            return {**row, "status": "failed", "error": "The loss became nan."}
        value = 0.9 if (cell["method"] == "sft") == (rate == 1e-5) else 0.1
        row |= {"status": "done", "metric": "m", "metrics": {"m": {"value": value}}, "n": 1}
        row |= {"kl_samples": 0.1, "chosen_rate": grid.chosen.get(cell.tuned_as)}
        return {**row, "scores": [value], "seconds": 1.0}

    monkeypatch.setattr(compare, "run_cell", pretend)
    rows = run_grid(grid, tmp_path, **QUIET)
    table = {row["name"]: row for row in grid_table(rows)}
    assert {name: row["chosen_rate"] for name, row in table.items()} == {
        **{"start": None, "teacher": None},
        **{"sft": 1e-5, "skd": 1e-3},
    }
    assert "chosen on validation prompts: sft 1e-05, skd 0.001." in to_markdown(table.values())
    trained = [one for one in asked if one[0] in ("sft", "skd")]
    assert {(seed, split) for _, seed, split, _ in trained[:6]} == {(1000, "validation")}
    assert [(m, s, split, c.learning_rate) for m, s, split, c in trained[6:]] == [
        ("sft", 0, "test", 1e-5),
        ("skd", 0, "test", 1e-3),
    ]
    asked.clear()
    more = replace(grid, blocks=({**axes, "prompts": (9,)},))
    assert {row.get("chosen_rate") for row in run_grid(more, tmp_path, **QUIET)} >= {1e-5, 1e-3}
    chosen = [(m, config.n_prompts, config.learning_rate) for m, _, _, config in asked]
    assert chosen[-2:] == [("sft", 9, 1e-5), ("skd", 9, 1e-3)]
    tuned = {
        config.n_prompts for m, _, split, config in asked if split == "validation" and m in METHODS
    }
    assert tuned == {8}, "the cells that are added have the rates of those that are there"
    with pytest.raises(UsageError, match="made with rates"):
        run_grid(Grid(blocks=(axes,), fixed={"steps": 2}, test_prompts=2), tmp_path, **QUIET)
