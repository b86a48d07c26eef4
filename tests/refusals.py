"""Fixtures of the tests of bad input: a small run that works, and a command that must fail."""

import importlib
import json
import string
from pathlib import Path

import pytest
import torch
from tiny import tiny_model

from skd_lab.cli import main
from skd_lab.tokenizer import train_tokenizer

VOCAB, CONTEXT = 300, 256
TRAIN = importlib.import_module("skd_lab.train")  # the attribute of that name is the function
LEARNER = importlib.import_module("skd_lab.learner")


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """Folders student/ and teacher/: random Qwen3 models with one tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer([string.printable * 3, "kites and cakes in the park"], VOCAB)
    for seed, role in enumerate(("student", "teacher")):
        model = tiny_model(
            "qwen3",
            seed=seed,
            vocab_size=VOCAB,
            dtype=torch.float32,
            sharpness=4.0,
            eos_token_id=tokenizer.eos_token_id,
            max_position_embeddings=CONTEXT,
        )
        model.save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    path = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"Say {word}.", "completion": f" {word}"} for word in ("yes", "no", "kite")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def train(models, data, tmp_path) -> list[str]:
    """A small run that works."""
    return (
        f"train --student {models}/student --teacher {models}/teacher --device cpu "
        f"--task jsonl --data-path {data} --run-dir {tmp_path}/run --max-prompt-tokens 64 "
        "--max-new-tokens 6 --steps 3 --batch-size 2 --trace-prompts 0 --save-every 1 --quiet"
    ).split()


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail; returns what it said."""

    def run(words: list[str], code: int, *pieces: str) -> str:
        capsys.readouterr()
        assert main(words) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("skd-lab: ") == 1
        # before it stand what was loaded, and transformers' own bar
        paragraph = said.err[said.err.index("skd-lab: ") :].strip()
        assert "\n\n" not in paragraph and "Traceback" not in paragraph
        assert "Something unexpected" not in paragraph
        assert paragraph.endswith((".", "--help"))
        flat = " ".join(paragraph.split())
        for piece in pieces:
            assert piece in flat
        return flat

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def replaced(words: list[str], **values: object) -> list[str]:
    """The same command with other values of its flags."""
    words = list(words)
    for name, value in values.items():
        flag = "--" + name.replace("_", "-")
        if flag in words:
            words[words.index(flag) + 1] = str(value)
        else:
            words += [flag, str(value)]
    return words
