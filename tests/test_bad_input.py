"""Bad input through the command line: one paragraph on stderr, exit 2 for usage and 1 for failure.

Nothing that was written before is lost, and there is no traceback unless --debug asks for it.
"""
# ruff: noqa: F401, F811 (fixtures are imported)

import errno
import json
import shutil

import pytest
import torch
from refusals import (
    CONTEXT,
    LEARNER,
    TRAIN,
    VOCAB,
    contents,
    data,
    models,
    refused,
    replaced,
    train,
)

from skd_lab.cli import main
from skd_lab.errors import UsageError
from skd_lab.tokenizer import train_tokenizer


def test_the_small_run_works(train, tmp_path, capsys):
    assert main([*train, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["steps"] == 3 and said["prompts"]["kept"] == 3
    assert (tmp_path / "run/student/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        ("--method nosuch", ["'nosuch'", "skd", "supervised_kd"]),
        ("--task nosuch", ["'nosuch'", "summaries", "gsm8k"]),
        ("--objective nosuch", ["'nosuch'", "forward_kl"]),
        ("--method skd --objective token_nll", ["token_nll", "forward_kl"]),
        ("--objective generalized_jsd --beta 1", ["beta", "got 1"]),
        ("--steps many", ["--steps", "whole number", "'many'"]),
        ("--learning-rate fast", ["--learning-rate", "a number", "'fast'"]),
        ("--lr-schedule zigzag", ["--lr-schedule", "'zigzag'", "cosine"]),
        ("--nonsense 3", ["--nonsense"]),
        ("--ste 3", ["--ste"]),
        ("--accept-top-k 0", ["--accept-top-k", "whole number from 1", "got 0"]),
        ("--accept-top-k -4", ["--accept-top-k", "whole number from 1", "got -4"]),
        ("--accept-top-k tokens:9", ["--accept-top-k", "tokens:25..1", "'tokens:9'"]),
        ("--accept-top-k updates:0..9", ["--accept-top-k", "updates:1..25", "'updates:0..9'"]),
        ("--replacement student", ["--replacement", "'student'", "student_in_top_k"]),
        ("--variant code", ["--variant", "'code'", "released"]),
        ("--variant released --student-top-k 5", ["--student-top-k", "released", "Leave it out"]),
        ("--beta 0.3", ["beta is 0.3", "'forward_kl'", "generalized_jsd"]),
        ("--skew 0.3", ["skew is 0.3", "skewed_forward_kl"]),
        ("--objective skewed_reverse_kl --skew 0", ["skew must be in (0, 1)", "got 0"]),
        ("--on-policy-fraction 0.3", ["--on-policy-fraction", "'skd'", "gkd or mixed_skd"]),
        ("--method gkd --on-policy-fraction 1.5", ["--on-policy-fraction", "[0, 1]", "1.5"]),
        ("--method imit_kd --objective reverse_kl", ["'imit_kd'", "reverse_kl", "forward_kl"]),
        ("--method two_stage --on-policy-fraction 0.2", ["'two_stage'", "gkd or mixed_skd"]),
        ("--track comet", ["comet", "tensorboard"]),
        ("--gamma 0", ["--gamma", "at least 1", "got 0"]),
        ("--max-new-tokens -3", ["--max-new-tokens", "at least 1", "got -3"]),
        ("--student-temperature 0", ["got 0", "--student-greedy"]),
        ("--teacher-temperature -1", ["got -1", "--teacher-greedy"]),
        ("--student-temperature nan", ["--student-temperature", "nan"]),
        ("--loss-temperature 0", ["--loss-temperature", "got 0"]),
        ("--student-top-p 1.5", ["--student-top-p", "1.5"]),
        ("--warmup-steps 3", ["--warmup-steps", "3 steps"]),
        ("--resume --overwrite", ["--resume", "--overwrite"]),
        ("--resume", ["no run", "--resume"]),
    ],
)
def test_flags_that_cannot_be(change, pieces, train, tmp_path, refused, monkeypatch):
    def load(*_, **__):
        raise AssertionError("a wrong flag costs no waiting for models")

    monkeypatch.setattr("skd_lab.models.load_tokenizer", load)
    monkeypatch.setattr("skd_lab.models.load_model", load)
    refused([*train, *change.split()], 2, *pieces)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        ("", ["COMMAND"]),
        ("nosuch", ["'nosuch'", "rollout"]),
        ("train --pair nosuch", ["'nosuch'", "a teacher"]),
        ("train --student here", ["--student", "--teacher"]),
    ],
)
def test_commands_that_cannot_be(words, pieces, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(words.split(), 2, *pieces)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ('{"prompt": "a", "completion": "b"}\n{"prompt": "a", \n', ["line 2"]),
        ('{"prompt": "a", "completion": "b"}\n\n["a", "b"]\n', ["line 3"]),
        ('{"prompt": "a", "completion": "b"}\n{"completion": "b"}\n', ["line 2", "prompt"]),
        ('{"prompt": "a", "completion": "b"}\n{"prompt": 3}\n', ["line 2", "prompt"]),
        ('{"messages": [{"role": "user"}]}\n', ["line 1", "content"]),
        ('{"prompt": "", "completion": "b"}\n', ["empty"]),
        ("", ["empty"]),
        ("\n\n", ["empty"]),
    ],
)
def test_data_that_cannot_be_read(text, pieces, train, data, tmp_path, refused):
    data.write_text(text, encoding="utf-8")
    refused(train, 2, "mine.jsonl", *pieces)
    assert not (tmp_path / "run/config.json").exists()


def test_a_file_that_is_not_there(train, tmp_path, refused):
    refused(replaced(train, data_path=tmp_path / "gone.jsonl"), 2, "gone.jsonl")


def test_references_that_are_missing(train, data, refused):
    data.write_text('{"prompt": "a"}\n' * 3, encoding="utf-8")
    refused([*train, "--method", "supervised_kd"], 2, "supervised_kd", "3 of 3")


def test_prompts_that_are_too_long(train, data, tmp_path, refused):
    row = {"prompt": "far too long " * 40, "completion": "b"}
    data.write_text(json.dumps(row) + "\n", encoding="utf-8")
    refused(train, 2, "1 of 1", "--max-prompt-tokens 64", "--over-long cut_left")
    refused(replaced(train, over_long="error"), 2, "64")
    refused(replaced(train, max_prompt_tokens=251), 2, "251", "257", str(CONTEXT))
    assert not (tmp_path / "run/config.json").exists()


def test_a_model_folder_without_weights(train, models, tmp_path, refused):
    bare = tmp_path / "bare"
    shutil.copytree(models / "student", bare)
    (bare / "model.safetensors").unlink()
    refused(replaced(train, student=bare), 2, str(bare), "model.safetensors")
    (bare / "config.json").unlink()
    refused(replaced(train, student=bare), 2, str(bare), "config.json")
    refused(replaced(train, student=tmp_path / "gone"), 2, "gone")


def test_tokenizers_that_differ(train, models, tmp_path, refused):
    other = tmp_path / "other"
    shutil.copytree(models / "teacher", other)
    tokenizer = train_tokenizer(["zebras quickly jump over zany quartz"] * 9, VOCAB + 9)
    tokenizer.save_pretrained(other)
    sizes = [f"({size} tokens)" for size in (VOCAB, len(tokenizer))]
    said = refused(replaced(train, teacher=other), 2, "student", "other", *sizes)
    assert "id 259 " in said  # the first merge: specials and bytes are the same
    assert not (tmp_path / "run/config.json").exists()


def test_a_run_that_is_already_there(train, tmp_path, refused):
    assert main(train) == 0
    before = contents(tmp_path / "run")
    refused(train, 2, "--resume", "--overwrite")
    refused([*train, "--resume", "--gamma", "2"], 2, "--gamma was 5 and is now 2")
    # an overwrite that cannot start deletes nothing
    refused([*replaced(train, student=tmp_path / "gone"), "--overwrite"], 2, "gone")
    assert contents(tmp_path / "run") == before
    assert main([*train, "--resume"]) == 0
    assert main([*train, "--overwrite"]) == 0


def test_a_place_that_cannot_be_written(train, tmp_path, refused, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    refused(replaced(train, run_dir=tmp_path / "file/run"), 1, str(tmp_path / "file/run"))

    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("skd_lab.files.tempfile.mkstemp", read_only)
    refused(train, 1, "Read-only file system", str(tmp_path / "run"))


@pytest.mark.parametrize("room", [4_000, 20_000, 60_000])
def test_a_disk_that_fills_up(room, train, tmp_path, refused):
    resource = pytest.importorskip("resource", reason="the limit stands for a full disk")
    run = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        refused(train, 1, "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all(json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines())
    assert all(path.stat().st_size < room for path in run.rglob("*") if path.is_file())
    assert main([*train, "--resume"]) == 0


def test_a_loss_that_is_not_a_number(train, tmp_path, refused, monkeypatch):
    original, windows = LEARNER.accumulate_gradients, []

    def planted(accelerator, module, rollouts, **settings):
        windows.append(rollouts)
        if len(windows) == 3:
            with torch.no_grad():
                next(module.parameters()).fill_(torch.nan)
        return original(accelerator, module, rollouts, **settings)

    monkeypatch.setattr(LEARNER, "accumulate_gradients", planted)
    refused(train, 1, "loss became nan", "rows 4, 5")  # the third window of two prompts
    run = tmp_path / "run"
    assert len((run / "steps.jsonl").read_text().splitlines()) == 2
    assert [path.name for path in sorted((run / "checkpoints").iterdir())][-1].endswith("2")
    assert not (run / "student").exists()
    monkeypatch.undo()
    assert main([*train, "--resume"]) == 0


def test_weights_that_are_not_numbers(train, models, tmp_path, refused):
    from safetensors.torch import load_file, save_file

    spoiled = tmp_path / "spoiled"
    shutil.copytree(models / "student", spoiled)
    weights = load_file(spoiled / "model.safetensors")
    next(iter(weights.values())).fill_(torch.nan)
    save_file(weights, spoiled / "model.safetensors", metadata={"format": "pt"})
    refused(replaced(train, student=spoiled), 1, "spoiled", "nan")


def test_debug_shows_where(train):
    with pytest.raises(UsageError, match="nosuch"):
        main([*train, "--method", "nosuch", "--debug"])


def test_an_unforeseen_error_is_one_paragraph_too(train, capsys, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a bug\n\nin many lines")

    monkeypatch.setattr(TRAIN, "train", fail)
    assert main(train) == 1
    said = capsys.readouterr().err.strip()
    assert "\n\n" not in said and "--debug" in said and "RuntimeError" in said


def test_ctrl_c_is_130(train, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(TRAIN, "train", stop)
    assert main(train) == 130
    assert "Traceback" not in capsys.readouterr().err
