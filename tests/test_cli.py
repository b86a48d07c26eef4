"""The frame of the command line, and each command on tiny models."""

import dataclasses
import json
import os
import string
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny_model

from skd_lab import __version__
from skd_lab.cli import main
from skd_lab.cli.flags import GROUPS, add_config_flags, config_from
from skd_lab.cli.frame import COMMANDS, build_parser
from skd_lab.config import RunConfig, flag
from skd_lab.records import EvalReport, loads_traces, read_traces
from skd_lab.tokenizer import train_tokenizer

VOCAB = 300


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """Flags that name two random Qwen3 folders with one tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer([string.printable * 3, "kites and cakes in the park"], VOCAB)
    for seed, role in enumerate(("student", "teacher")):
        model = tiny_model(
            "qwen3",
            seed=seed,
            vocab_size=VOCAB,
            dtype=torch.float32,
            eos_token_id=tokenizer.eos_token_id,
        )
        model.save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return f"--student {folder}/student --teacher {folder}/teacher --device cpu".split()


@pytest.fixture
def rows(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"Say {word}.", "completion": f" {word}"} for word in "abcdef"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_help_is_quick_because_it_loads_no_framework():
    program = (
        "import sys, skd_lab.cli\n"
        "code = skd_lab.cli.main(sys.argv[1:])\n"
        "heavy = {'torch', 'transformers', 'gradio', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    for words in (["--help"], ["train", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"skd-lab {__version__}"


def test_help_names_every_command_and_python_m_is_the_same():
    done = subprocess.run(
        [sys.executable, "-m", "skd_lab", "--help"], capture_output=True, text=True, timeout=60
    )
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ")]
    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_debug(name, capsys):
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert "--debug" in said and said.startswith(f"usage: skd-lab {name}")


def test_every_field_is_a_flag_in_a_group(capsys):
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    for field in dataclasses.fields(RunConfig):
        assert f"{flag(field.name)} " in said or f"{flag(field.name)}\n" in said, field.name
    for title in GROUPS:
        assert f"\n{title}:\n" in said
    flat = " ".join(said.split()).replace("- ", "-")  # argparse breaks lines at hyphens
    assert "tokens:25..1. (default 25; 3 for the bundled pairs)" in flat
    assert "(default 128; 64 for tiny-qwen3, tiny-gemma3; 48 for tiny-qwen3-arithmetic, " in flat
    assert "student proposes its most likely token." in flat


def test_a_flag_reaches_its_field_with_its_type():
    import argparse

    parser = argparse.ArgumentParser()
    add_config_flags(parser)
    words = (
        "--student a --teacher b --steps 7 --learning-rate 2e-3 --student-greedy "
        "--lr-schedule linear --teacher-top-p 0.5 --run-dir runs/x"
    )
    config = config_from(parser.parse_args(words.split()))
    wanted = RunConfig(
        student="a",
        teacher="b",
        steps=7,
        learning_rate=2e-3,
        student_greedy=True,
        lr_schedule="linear",
        teacher_top_p=0.5,
        run_dir="runs/x",
    )
    assert config == wanted
    # flags win over a file, the file over the preset
    file = {"pair": "tiny-qwen3", "gamma": 2, "steps": 9}
    config = config_from(parser.parse_args(["--steps", "3"]), file)
    assert (config.steps, config.gamma, config.accept_top_k) == (3, 2, 3)


def test_no_flag_has_a_default_of_its_own():
    # a default in argparse would shadow the preset of a pair
    args = build_parser().parse_args(["train"])
    for field in dataclasses.fields(RunConfig):
        assert getattr(args, field.name) is None, field.name


ROLLOUT = "rollout --max-new-tokens 9 --accept-top-k 2".split()


def test_rollout_prints_a_strip(models, capsys):
    assert main([*ROLLOUT, *models, "--prompt", "kites"]) == 0
    said = capsys.readouterr()
    assert "student     student: Qwen3ForCausalLM" in said.err  # the report, once
    assert said.err.count("Qwen3ForCausalLM") == 2
    assert said.out.strip()


def test_rollout_writes_traces_that_read_back(models, tmp_path, capsys):
    file = tmp_path / "deep" / "trace.ndjson"
    words = [*ROLLOUT, *models, "--prompt", "kites", "--prompt", "cakes", "--gamma", "2"]
    assert main([*words, "--json", "-o", str(file)]) == 0
    printed = loads_traces(capsys.readouterr().out)
    assert printed == read_traces(file)
    assert [trace.header["row"] for trace in printed] == [0, 1]
    for trace, prompt in zip(printed, ("kites", "cakes"), strict=True):
        assert prompt in trace.header["prompt"]
        assert (trace.header["accept_top_k"], trace.header["gamma"]) == (2, 2)
        assert 1 <= len(trace.tokens) <= 9
        for token in trace.tokens:
            assert (token["source"] == "student") == (token["teacher_rank"] <= 2)


def test_rollout_text_depends_on_the_seed_not_on_gamma(models, capsys):
    def ids(*more):
        assert main([*ROLLOUT, *models, "--prompt", "kites", "--json", *more]) == 0
        [trace] = loads_traces(capsys.readouterr().out)
        return [token["kept_id"] for token in trace.tokens]

    assert ids("--gamma", "1") == ids("--gamma", "4") != ids("--seed", "3")


@pytest.fixture
def run_folder(models, rows, tmp_path, capsys) -> Path:
    words = (
        f"train --task jsonl --data-path {rows} --run-dir {tmp_path}/run --max-prompt-tokens 64 "
        "--max-new-tokens 6 --steps 2 --batch-size 2 --trace-prompts 0 --quiet"
    )
    assert main([*words.split(), *models]) == 0
    said = capsys.readouterr().out
    assert "6 kept (0 of them cut), 0 dropped, 6 in all" in said
    assert "2 of skd" in said and f"{tmp_path}/run/student" in said
    return tmp_path / "run"


def test_evaluate_a_finished_run(run_folder, rows, tmp_path, capsys):
    words = ["evaluate", "--run", str(run_folder), "--n", "4", "--split", "train"]
    assert main([*words, "--json", "-o", str(tmp_path / "report.json")]) == 0
    report = EvalReport.from_json(capsys.readouterr().out)
    assert report == EvalReport.from_json((tmp_path / "report.json").read_text())
    assert report.n == 4 and report.kl_references > 0
    # its own student, not the one it started from
    config = RunConfig.from_json((run_folder / "config.json").read_text())
    start = ["--student", config.student]
    assert main([*words, *start, "--json"]) == 0
    assert EvalReport.from_json(capsys.readouterr().out).kl_samples != report.kl_samples
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"KL on references{report.kl_references:>19.4f}" in said.replace("   nats", " nats")
    assert "95% interval" in said


def test_another_data_seed_gives_other_prompts(run_folder, capsys):
    words = ["evaluate", "--run", str(run_folder), "--n", "2", "--split", "train", "--json"]

    def evaluated(*more: str) -> set[str]:
        assert main([*words, *more]) == 0
        return {row["id"] for row in EvalReport.from_json(capsys.readouterr().out).completions}

    assert evaluated() == evaluated("--data-seed", "0") != evaluated("--data-seed", "7")
    assert main([*words, "--data-seed", "-1"]) == 2
    assert "--data-seed must be at least 0, got -1" in " ".join(capsys.readouterr().err.split())


def test_evaluate_needs_a_finished_run(run_folder, tmp_path, capsys):
    assert main(["evaluate", "--run", str(tmp_path / "gone")]) == 2
    assert "holds no finished student" in " ".join(capsys.readouterr().err.split())
    assert main(["evaluate", "--run", str(run_folder), "--n", "0"]) == 2
    assert "at least 1, got 0" in " ".join(capsys.readouterr().err.split())


def test_train_starts_from_a_config_file(run_folder, tmp_path, capsys):
    other = tmp_path / "other"
    words = ["train", "--config", str(run_folder / "config.json"), "--run-dir", str(other)]
    assert main([*words, "--gamma", "2", "--quiet", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    config = RunConfig.from_json((other / "config.json").read_text())
    assert (config.gamma, config.steps, said["run_dir"]) == (2, 2, str(other))
    assert said["last"]["loss"] >= 0


def test_resume_needs_no_flag_but_the_folder(run_folder, capsys):
    assert main(["train", "--resume", "--run-dir", str(run_folder), "--quiet"]) == 0
    assert "2 of skd" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, message",
    [("{", "is no JSON"), ("[1]", "no JSON object"), ('{"stepz": 3}', "no field 'stepz'")],
)
def test_a_config_file_that_is_none(text, message, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(text)
    assert main(["train", "--config", str(path)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_closed_pipe_is_no_error():
    # so little that it stays in the buffer until the end
    command = [sys.executable, "-m", "skd_lab", "--version"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=buffered, **pipes) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read().decode()
    assert said == "" and process.returncode == 0


@pytest.mark.parametrize("found", [None, "2.3.0"])
def test_tools_for_language_models_need_their_package(found, monkeypatch, capsys):
    from importlib.metadata import PackageNotFoundError

    def version(name):
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr("skd_lab.cli.app.version", version)
    assert main(["app", "--mcp"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"which is {found or 'not installed'}" in said and "skd-lab[mcp]" in said
