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
    newest_whole,
    read_checkpoint,
    save_checkpoint,
    save_student,
)
from skd_lab.errors import DataError, SkdError, UsageError


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
    state = optimizer_of(student).state_dict()
    return save_checkpoint(folder, step, student, tokenizer or SilentTokenizer(), state, keep)


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
    for step in (2, 999_999, 1_000_000):
        save(tmp_path, step, student, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-999999", "step-1000000"]


def test_checkpoints_behind_a_new_one_are_of_updates_that_are_done_again(tmp_path, student):
    for step in (2, 4, 6):
        save(tmp_path, step, student)
    save(tmp_path, 3, student, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000002", "step-000003"]


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


def test_what_a_kill_left_behind_is_no_checkpoint_and_goes_at_the_next_save(tmp_path, student):
    for name in (".step-000009.tmp", ".step-000001.old", "step-abc", "000007"):
        (tmp_path / name).mkdir()
    path = save(tmp_path, 3, student)
    assert list_checkpoints(tmp_path) == [path]
    assert not list(tmp_path.glob(".*"))
    assert list_checkpoints(tmp_path / "nowhere") == []


def change(path):
    """Another byte in the middle; the size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = ["student/model.safetensors", "student/config.json", "optimizer.pt"]
DAMAGE = {
    "was changed or cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "is missing": lambda path: path.unlink(),
    "was changed": change,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damage_to_any_file_is_noticed_and_named(tmp_path, student, name, damage):
    path = save(tmp_path, 3, student)
    DAMAGE[damage](path / name)
    with pytest.raises(DataError, match=f"step-000003 is damaged: {name} {damage}"):
        read_checkpoint(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"step": 3}', '{"step": "x", "sha256": {}}'])
def test_a_state_that_says_nothing_is_damage(tmp_path, student, text):
    path = save(tmp_path, 3, student)
    (path / "state.json").write_text(text)
    with pytest.raises(DataError, match="step-000003 is damaged: its state.json cannot be read"):
        read_checkpoint(path)


def test_a_changed_state_is_damage(tmp_path, student):
    path = save(tmp_path, 3, student)
    change(path / "state.json")
    with pytest.raises(DataError, match="step-000003 is damaged"):
        read_checkpoint(path)


def test_a_state_of_another_update_is_damage(tmp_path, student):
    path = save(tmp_path, 3, student)
    state = (path / "state.json").read_text()
    (path / "state.json").write_text(state.replace('"step": 3', '"step": 9'))
    with pytest.raises(DataError, match="state.json is of update 9"):
        read_checkpoint(path)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, student, caplog):
    for step in (1, 2, 3):
        save(tmp_path, step, student)
    assert newest_whole(tmp_path) == (tmp_path / "step-000003", 3) and not caplog.records
    change(tmp_path / "step-000003" / "student" / "model.safetensors")
    assert newest_whole(tmp_path) == (tmp_path / "step-000002", 2)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in message
    assert "step-000003 is damaged: student/model.safetensors was changed" in message
    assert message.endswith("Going on from step-000002 instead.")


def test_when_all_are_damaged_each_is_named_with_what_to_do(tmp_path, student):
    assert newest_whole(tmp_path) is None
    for step in (1, 2):
        (save(tmp_path, step, student) / "optimizer.pt").unlink()
    pieces = "step-000002 is damaged: optimizer.pt is missing.*step-000001 .*--overwrite"
    with pytest.raises(UsageError, match=pieces):
        newest_whole(tmp_path)


def test_no_pickle_is_loaded(tmp_path, student):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    path = save(tmp_path, 3, student)
    torch.save({"state": Trap()}, path / "optimizer.pt")
    with pytest.raises(Exception, match="[Ww]eights"):
        load_optimizer_state(path)
    assert checkpoints.__doc__ and "no pickle" in checkpoints.__doc__
