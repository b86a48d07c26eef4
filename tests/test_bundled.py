"""The pairs that come with the package: whole, small, and as good as their cards say."""

import hashlib
import json
from dataclasses import asdict

import pytest

from skd_lab.encode import encode_examples
from skd_lab.evaluate import evaluate_generator
from skd_lab.models import BUNDLED, bundled_pairs, load_pair
from skd_lab.presets import GENERATED_PROMPTS, PRESETS, with_preset
from skd_lab.recipes import BASE, RECIPES, task_of
from skd_lab.tasks import get_task

BOUNDS = {
    "tiny-qwen3": {"teacher": (0.93, 1), "student": (0.3, 0.5)},
    "tiny-qwen3-arithmetic": {"teacher": (0.97, 1), "student": (0.2, 0.7)},
}
PAIRS = sorted(BOUNDS)
ABOUT = {
    name: json.loads((BUNDLED / name / "pair.json").read_text(encoding="utf-8")) for name in PAIRS
}


def headline(name: str, role: str) -> tuple[str, float]:
    metric, row = next(iter(ABOUT[name]["held_out"][role]["metrics"].items()))
    return metric, row["value"]


@pytest.fixture(scope="module")
def pairs():
    return {name: load_pair(name, device="cpu") for name in PAIRS}


def test_every_pair_has_a_recipe_a_preset_and_a_task():
    assert bundled_pairs() == PAIRS == sorted(RECIPES) == sorted(PRESETS)
    assert {name: ABOUT[name]["task"] for name in PAIRS} == {name: task_of(name) for name in PAIRS}


@pytest.mark.parametrize("name", PAIRS)
def test_every_file_is_the_one_listed(name):
    folder = BUNDLED / name
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert there == {*listed, "SHA256SUMS"}
    for file, digest in listed.items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest, file


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_small_and_its_context_long(name, pairs):
    folder, pair = BUNDLED / name, pairs[name]
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 10_000_000
    for model in (pair.student, pair.teacher):
        assert model.config.max_position_embeddings >= 2048
        assert model.config.model_type == "qwen3"
    assert pair.tokenizer.model_max_length >= 2048
    assert pair.can_roll_back and pair.eos_token_ids == [2]


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("name", PAIRS)
def test_all_pairs_have_one_tokenizer_byte_for_byte(name, role):
    for file in ("tokenizer.json", "chat_template.jinja"):
        bytes_of = [
            (BUNDLED / n / r / file).read_bytes() for n, r in ((BASE, "student"), (name, role))
        ]
        assert bytes_of[0] == bytes_of[1], file


@pytest.mark.parametrize("name", PAIRS)
def test_the_weights_are_of_the_recipe_in_the_code(name):
    recipes = {role: asdict(recipe) for role, recipe in RECIPES[name].items()}
    assert ABOUT[name]["recipes"] == recipes
    assert GENERATED_PROMPTS[task_of(name)] == recipes["student"]["prompts"]


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("name", PAIRS)
def test_the_scores_stated_are_those_asked_for(name, role):
    metric, value = headline(name, role)
    low, high = BOUNDS[name][role]
    assert low <= value <= high and ABOUT[name]["held_out"][role]["n"] == 1000
    card = (BUNDLED / name / role / "README.md").read_text(encoding="utf-8")
    assert f"| {metric} | {value:.3f} |" in card and f"`{metric}`:" in card
    assert "license: apache-2.0" in card and f"skd-lab evaluate --pair {name}" in card


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("name", PAIRS)
def test_the_scores_stated_are_those_measured(name, role, pairs):
    pair, task = pairs[name], get_task(task_of(name))
    encoded = encode_examples(
        pair.tokenizer, task.load("test", 60), max_prompt_tokens=100, over_long="error"
    ).encoded
    report = evaluate_generator(
        getattr(pair, role), pair, task, encoded, max_new_tokens=task.max_new_tokens
    )
    metric, stated = headline(name, role)
    assert metric == task.headline
    # four standard errors of 60 draws; a broken mask, template or weight file is far outside
    margin = 4 * (stated * (1 - stated) / 60) ** 0.5
    assert abs(report.metrics[metric]["value"] - stated) < max(margin, 0.05)


def test_a_pair_brings_its_task_and_another_may_be_asked_for():
    own = with_preset({"pair": "tiny-qwen3-arithmetic"})
    assert (own.task, own.n_prompts) == ("arithmetic", 1300)
    assert own.max_new_tokens >= get_task("arithmetic").max_new_tokens
    other = with_preset({"pair": "tiny-qwen3-arithmetic", "task": "summaries"})
    assert (other.task, other.n_prompts) == ("summaries", 100)
    assert with_preset({"pair": "tiny-qwen3"}).task == "summaries"
    assert with_preset({"task": "arithmetic"}).pair == "tiny-qwen3-arithmetic"
    assert with_preset({}).pair == with_preset({"task": "gsm8k"}).pair == "tiny-qwen3"
