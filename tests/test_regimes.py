"""The search for regimes, and the models it makes for itself."""

import json

import pytest
from small_grids import SMALL
from transformers import AutoConfig

from skd_lab.cells import make_models, run_cell, teacher_shape
from skd_lab.cli.frame import main
from skd_lab.errors import UsageError
from skd_lab.grids import Grid
from skd_lab.regimes import REGIMES, regime_grid


def test_each_regime_is_a_grid_at_equal_updates_and_equal_seconds():
    for name in REGIMES:
        cells = regime_grid([name], seeds=1).cells()
        budgets = {cell.values.get("budget") for cell in cells}
        methods = {cell["method"] for cell in cells} - {"start", "teacher"}
        assert budgets == {None, "cpu"} and methods == {"supervised_kd", "on_policy_kd", "skd"}
    whole = {cell.name for cell in regime_grid().cells()}
    parts = [cell.name for name in REGIMES for cell in regime_grid([name]).cells()]
    assert whole == set(parts)
    with pytest.raises(UsageError, match="no regime 'lucky'. Choose of: weak_student"):
        regime_grid(["lucky"])


def test_the_command_searches_a_part(tmp_path, capsys):
    words = ["compare", "--preset", "regimes", "--regime", "weak_student", "--axis", "seed=0"]
    assert main([*words, "--plan", "--out", str(tmp_path)]) == 0
    plan = capsys.readouterr().out.split()
    assert "summaries-skd-100-100x20-s0" in plan
    assert "summaries-supervised_kd-100-100x160-s0-cpu" in plan
    assert main(["compare", "--regime", "weak_student", "--out", str(tmp_path)]) == 2
    assert "--regime belongs to --preset regimes" in capsys.readouterr().err


def test_models_are_made_as_their_names_say(tmp_path):
    axes = {"method": ("skd",), "prompts": (8,), "start": ("6x2@48",), "teacher": ("7x3",)}
    grid = Grid(blocks=(axes,), fixed=SMALL, test_prompts=2)
    teacher, start, trained = grid.cells()
    made = make_models(trained, grid, tmp_path)
    student, taught = (AutoConfig.from_pretrained(made[role]) for role in ("student", "teacher"))
    assert (student.hidden_size, student.head_dim, student.intermediate_size) == (48, 12, 96)
    assert taught.hidden_size == teacher_shape("tiny-qwen3").hidden_size == 192
    # the same folders for the rows they are compared with, made once
    assert make_models(start, grid, tmp_path) == made
    assert make_models(teacher, grid, tmp_path) == {"teacher": made["teacher"]}
    row = run_cell(trained, grid, tmp_path)
    assert row["status"] == "done" and row["start"] == "6x2@48"
    config = json.loads((tmp_path / "cells" / row["cell"] / "config.json").read_text())
    assert (config["student"], config["teacher"]) == (made["student"], made["teacher"])
