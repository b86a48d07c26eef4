"""The pair that comes with the package: whole, small, and as good as its cards say."""

import hashlib
import json
from dataclasses import asdict

import pytest

from skd_lab.encode import encode_examples
from skd_lab.evaluate import evaluate_generator
from skd_lab.models import BUNDLED, load_pair
from skd_lab.recipes import RECIPES
from skd_lab.tasks import get_task

FOLDER = BUNDLED / "tiny-qwen3"
ABOUT = json.loads((FOLDER / "pair.json").read_text(encoding="utf-8"))
HEADLINE = {
    role: ABOUT["held_out"][role]["metrics"]["facts_exact"] for role in RECIPES[FOLDER.name]
}


@pytest.fixture(scope="module")
def pair():
    return load_pair("tiny-qwen3", device="cpu")


def test_every_file_is_the_one_listed():
    lines = (FOLDER / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    there = {p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*") if p.is_file()}
    assert there == {*listed, "SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name


def test_the_pair_is_small_and_its_context_long(pair):
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) < 10_000_000
    for model in (pair.student, pair.teacher):
        assert model.config.max_position_embeddings >= 2048
        assert model.config.model_type == "qwen3"
    assert pair.tokenizer.model_max_length >= 2048
    assert pair.can_roll_back and pair.eos_token_ids == [2]


def test_the_weights_are_of_the_recipe_in_the_code():
    recipes = {role: asdict(recipe) for role, recipe in RECIPES["tiny-qwen3"].items()}
    assert ABOUT["recipes"] == recipes


def test_the_scores_stated_are_those_asked_for():
    assert HEADLINE["teacher"]["value"] >= 0.93
    assert 0.3 <= HEADLINE["student"]["value"] <= 0.5
    for role in HEADLINE:
        card = (FOLDER / role / "README.md").read_text(encoding="utf-8")
        assert f"| facts_exact | {HEADLINE[role]['value']:.3f} |" in card
        assert "license: apache-2.0" in card and "skd-lab evaluate --pair tiny-qwen3" in card


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_the_scores_stated_are_those_measured(pair, role):
    task = get_task("summaries")
    encoded = encode_examples(
        pair.tokenizer, task.load("test", 60), max_prompt_tokens=100, over_long="error"
    ).encoded
    report = evaluate_generator(
        getattr(pair, role), pair, task, encoded, max_new_tokens=task.max_new_tokens
    )
    stated = HEADLINE[role]["value"]
    # four standard errors of 60 draws; a broken mask, template or weight file is far outside
    margin = 4 * (stated * (1 - stated) / 60) ** 0.5
    assert abs(report.metrics["facts_exact"]["value"] - stated) < max(margin, 0.05)
