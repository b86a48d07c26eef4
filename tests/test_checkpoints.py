"""Checkpoints: whole or not at all, the newest ones kept, damage noticed."""

import errno
import os
from pathlib import Path

import pytest
import torch
from tiny import tiny_model

from skd_lab import checkpoints
from skd_lab.checkpoints import (
    list_checkpoints,
    load_optimizer_state,
    read_checkpoint,
    save_checkpoint,
    save_student,
)
from skd_lab.errors import DataError, SkdError


class SilentTokenizer:
    """Stands in for a tokenizer that is saved beside the weights."""

    def save_pretrained(self, folder):
        (Path(folder) / "tokenizer.json").write_text("{}")


class FullDisk(SilentTokenizer):
    def save_pretrained(self, folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def student():
    return tiny_model("qwen3", seed=1, dtype=torch.float32)


def optimizer_of(model):
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def save(folder, step, student, tokenizer=None, keep=None):
    return save_checkpoint(
        folder, step, student, tokenizer or SilentTokenizer(), optimizer_of(student), keep
    )


def test_a_checkpoint_gives_back_the_weights_and_the_optimizer(tmp_path, student):
    path = save(tmp_path, 7, student)
    assert read_checkpoint(path) == 7
    loaded = type(student).from_pretrained(path / "student")
    for name, value in student.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    fresh = torch.optim.AdamW(loaded.parameters())
    fresh.load_state_dict(load_optimizer_state(path))
    assert all(float(state["step"]) == 1 for state in fresh.state.values())


def test_only_the_newest_stay_in_order_of_steps(tmp_path, student):
    for step in (2, 10, 9):
        save(tmp_path, step, student, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000009", "step-000010"]


def test_a_full_disk_leaves_what_was_there(tmp_path, student):
    first = save(tmp_path, 1, student)
    with pytest.raises(SkdError, match="No space left on device.*--resume"):
        save(tmp_path, 2, student, FullDisk())
    assert list_checkpoints(tmp_path) == [first] and read_checkpoint(first) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_writing_the_student_again_replaces_it_whole(tmp_path, student):
    save_student(tmp_path / "student", student, SilentTokenizer(), "one")
    with pytest.raises(SkdError):
        save_student(tmp_path / "student", student, FullDisk(), "two")
    assert (tmp_path / "student" / "README.md").read_text() == "one"
    save_student(tmp_path / "student", student, SilentTokenizer(), "three")
    assert (tmp_path / "student" / "README.md").read_text() == "three"
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_what_a_kill_left_behind_is_no_checkpoint(tmp_path, student):
    (tmp_path / ".step-000009.tmp").mkdir()
    (tmp_path / "step-abc").mkdir()
    path = save(tmp_path, 3, student)
    assert list_checkpoints(tmp_path) == [path]
    assert list_checkpoints(tmp_path / "nowhere") == []


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_checkpoint_is_noticed(tmp_path, student, damage):
    path = save(tmp_path, 3, student)
    weights = path / "student" / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    else:
        weights.unlink()
    with pytest.raises(DataError, match=r"model.safetensors is missing or cut short.*Delete"):
        read_checkpoint(path)


def test_no_pickle_is_loaded(tmp_path, student):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    path = save(tmp_path, 3, student)
    torch.save({"state": Trap()}, path / "optimizer.pt")
    with pytest.raises(Exception, match="[Ww]eights"):
        load_optimizer_state(path)
    assert checkpoints.__doc__ and "no pickle" in checkpoints.__doc__
