"""Commands other than train that are asked for what cannot be."""
# ruff: noqa: F401, F811 (fixtures are imported)

import pytest
from refusals import CONTEXT, contents, models, refused

from skd_lab.cli import main


@pytest.fixture
def rollout(models) -> list[str]:
    return (
        f"rollout --student {models}/student --teacher {models}/teacher --device cpu "
        "--max-new-tokens 6 --prompt kites"
    ).split()


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        (["--prompt", ""], ["--prompt is empty"]),
        (["--prompt", " \n"], ["--prompt is empty"]),
        (["--prompt", "too long " * 200], [str(CONTEXT), "Shorten the prompt"]),
        (["--max-new-tokens", "251"], [str(CONTEXT), "Shorten the prompt"]),
        (["--gamma", "0"], ["--gamma", "got 0"]),
        (["--accept-top-k", "0"], ["--accept-top-k", "got 0"]),
        (["--student-temperature", "0"], ["--student-greedy"]),
        (["--seed", "-1"], ["--seed", "-1"]),
        (["--device", "abacus"], ["abacus"]),
        (["--dtype", "float7"], ["float7", "float32"]),
    ],
)
def test_rollouts_that_cannot_be(change, pieces, rollout, refused):
    refused([*rollout, *change], 2, *pieces)


def test_a_trace_file_that_cannot_be_written(rollout, tmp_path, refused):
    (tmp_path / "file").write_text("not a folder")
    refused([*rollout, "-o", str(tmp_path / "file/traces.ndjson")], 1, "traces.ndjson")


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        ("--task nosuch", ["'nosuch'", "summaries"]),
        ("--split nosuch", ["'nosuch'", "test"]),
        ("--n 0", ["at least 1", "0"]),
        ("--run nowhere", ["nowhere"]),
        ("--eval-batch-size 0", ["batch_size", "at least 1", "got 0"]),
    ],
)
def test_evaluations_that_cannot_be(change, pieces, models, refused):
    words = f"evaluate --student {models}/student --teacher {models}/teacher --device cpu --n 2"
    refused([*words.split(), *change.split()], 2, *pieces)


@pytest.mark.parametrize(
    ("words", "pieces"),
    [("nosuch", ["'nosuch'", "tiny-qwen3"]), ("--held-out 0", ["--held-out", "got 0"])],
)
def test_pairs_that_cannot_be_made(words, pieces, tmp_path, refused):
    refused(["pretrain", "--out", str(tmp_path / "pair"), *words.split()], 2, *pieces)


def test_a_pair_that_is_already_there(tmp_path, refused):
    (tmp_path / "tiny-qwen3").mkdir()
    (tmp_path / "tiny-qwen3" / "pair.json").write_text("{}")
    refused(["pretrain", "--out", str(tmp_path)], 2, str(tmp_path), "--overwrite")
    assert contents(tmp_path) == {"tiny-qwen3/pair.json": b"{}"}


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_pairs_never_take_the_place_of_something_else(tmp_path, refused, overwrite):
    (tmp_path / "thesis.txt").write_text("mine")
    refused(["pretrain", "--out", str(tmp_path), *overwrite], 2, "no pairs of tiny-qwen3", "--out")
    assert contents(tmp_path) == {"thesis.txt": b"mine"}


def test_evaluate_says_when_a_short_file_holds_nothing_out(tmp_path, refused):
    data = tmp_path / "two.jsonl"
    data.write_text('{"prompt": "one", "completion": "a"}\n{"prompt": "two", "completion": "b"}\n')
    words = ["evaluate", "--pair", "tiny-qwen3", "--task", "jsonl", "--data-path", str(data)]
    refused(words, 2, "no prompts in its test split", "--split train")
    assert main([*words, "--split", "train"]) == 0
