"""The errors of test_bad_input.py once more, through every method and every task."""
# ruff: noqa: F401, F811 (fixtures are imported)

import json
import shutil

import pytest
import torch
from refusals import LEARNER, contents, data, models, refused, replaced, train

from skd_lab.cli import main
from skd_lab.methods import CORE_METHODS
from skd_lab.tasks import TASKS
from skd_lab.tasks.generated import Generated


@pytest.fixture(params=CORE_METHODS)
def by_method(request, train):
    return [*train, "--method", request.param]


def test_data_that_cannot_be_read(by_method, data, tmp_path, refused):
    refused(replaced(by_method, data_path=tmp_path / "gone.jsonl"), 2, "gone.jsonl")
    good = data.read_text()
    data.write_text(good + '{"prompt": "a", "completion"\n')
    refused(by_method, 2, "mine.jsonl", "line 4")
    data.write_text("")
    refused(by_method, 2, "mine.jsonl", "empty")
    row = {"prompt": "far too long " * 40, "completion": "b"}
    data.write_text(json.dumps(row) + "\n")
    refused(by_method, 2, "1 of 1", "--max-prompt-tokens 64")
    assert not (tmp_path / "run").exists()
    data.write_text(good)
    assert main(by_method) == 0


def test_a_run_that_is_already_there(by_method, tmp_path, refused):
    assert main(by_method) == 0
    before = contents(tmp_path / "run")
    refused(by_method, 2, "--resume", "--overwrite")
    refused([*by_method, "--resume", "--seed", "5"], 2, "--seed was 0 and is now 5")
    others = [name for name in CORE_METHODS if name != by_method[-1]]
    changed = [*by_method[:-1], others[0], "--resume"]
    refused(changed, 2, f"--method was {by_method[-1]} and is now {others[0]}")
    assert contents(tmp_path / "run") == before


def test_models_that_cannot_be_read(by_method, models, tmp_path, refused):
    for role in ("student", "teacher"):
        bare = tmp_path / f"bare-{role}"
        shutil.copytree(models / role, bare)
        (bare / "model.safetensors").unlink()
        refused(replaced(by_method, **{role: bare}), 2, str(bare), "model.safetensors")
        refused(replaced(by_method, **{role: tmp_path / "gone"}), 2, "gone")
    assert not (tmp_path / "run").exists()


def test_a_student_that_becomes_nan(by_method, tmp_path, refused, monkeypatch):
    original, windows = LEARNER.accumulate_gradients, []

    def planted(accelerator, module, rollouts, **settings):
        windows.append(rollouts)
        if len(windows) == 2:
            with torch.no_grad():
                next(module.parameters()).fill_(torch.nan)
        return original(accelerator, module, rollouts, **settings)

    monkeypatch.setattr(LEARNER, "accumulate_gradients", planted)
    refused(by_method, 1, "loss became nan", "rows 2, 3", "--resume")
    assert len((tmp_path / "run/steps.jsonl").read_text().splitlines()) == 1
    monkeypatch.undo()
    assert main([*by_method, "--resume"]) == 0
    assert len((tmp_path / "run/steps.jsonl").read_text().splitlines()) == 3


# write their own examples and read no file
OFFLINE = {name for name, task in TASKS.items() if isinstance(task, Generated)}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_refuses_a_file_it_cannot_use(task, train, tmp_path, refused):
    words = replaced(train, task=task)
    if task in OFFLINE:
        refused(replaced(words, n_prompts=2), 2, f"task {task} makes its own examples")
        return
    refused(replaced(words, data_path=tmp_path / "gone.jsonl"), 2, "gone.jsonl")
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text('{"nothing": "here"}\n' * 20)
    refused(replaced(words, data_path=damaged), 2, "damaged.jsonl", "line 1")
    damaged.write_bytes(b"\xff\xfe\x00{]")
    refused(replaced(words, data_path=damaged), 2, "damaged.jsonl")
    damaged.write_text("")
    refused(replaced(words, data_path=damaged), 2, "damaged.jsonl", "empty")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", sorted(set(TASKS) - OFFLINE))
def test_every_task_without_a_file_says_what_it_needs(task, train, tmp_path, refused):
    place = train.index("--data-path")
    words = replaced(train[:place] + train[place + 2 :], task=task)
    # no hub can be reached here
    refused(words, 2, "--data-path")
    assert not (tmp_path / "run").exists()
