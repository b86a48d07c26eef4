"""The pairs that come with the package: whole, small, and as good as their cards say."""

import hashlib
import json
import re
from dataclasses import asdict

import pytest

from skd_lab.bundle import bundled_folders, bundled_starts
from skd_lab.cards import OTHER_PROMPTS
from skd_lab.encode import encode_examples
from skd_lab.errors import UsageError
from skd_lab.evaluate import evaluate_generator
from skd_lab.models import BUNDLED, bundled_pairs, load_pair
from skd_lab.presets import GENERATED_PROMPTS, PRESETS, with_preset
from skd_lab.pretrain import places_of
from skd_lab.recipes import (
    DEFAULT_START,
    FAMILIES,
    STARTS,
    TASKS,
    WINDOW,
    family_of,
    pair_name,
    task_of,
)
from skd_lab.tasks import get_task

TEACHERS = {"summaries": 0.93, "arithmetic": 0.97, "translation": 0.97, "instruction": 0.95}
"""What was asked of a teacher on held-out prompts, at least."""
UNSEEN = {"tiny-qwen3-instruction": 0.95, "tiny-gemma3-instruction": 0.94}
"""Reached on steps that never followed one another in training."""
STUDENT = (0.05, 0.75)
PAIRS = [pair_name(family, task) for family in FAMILIES for task in TASKS]
ABOUT = {
    name: json.loads((BUNDLED / name / "pair.json").read_text(encoding="utf-8")) for name in PAIRS
}
MODELS = sorted(
    {place for name in PAIRS for place in places_of(family_of(name), task_of(name)).values()}
)


def headline(name: str, model: str) -> tuple[str, float]:
    metric, row = next(iter(ABOUT[name]["held_out"][model]["metrics"].items()))
    return metric, row["value"]


def measure(pair, role: str, task, n: int) -> float:
    encoded = encode_examples(
        pair.tokenizer, task.load("test", n), max_prompt_tokens=200, over_long="error"
    ).encoded
    report = evaluate_generator(
        getattr(pair, role), pair, task, encoded, max_new_tokens=task.max_new_tokens
    )
    return report.metrics[task.headline]["value"]


def test_every_family_has_a_pair_for_every_task_with_a_preset_and_starts():
    assert sorted(bundled_pairs()) == sorted(PAIRS) == sorted(PRESETS) == sorted(STARTS)
    assert bundled_pairs()[0] == next(iter(PRESETS)) == "tiny-qwen3"
    for name in PAIRS:
        about = ABOUT[name]
        assert (about["family"], about["task"]) == (family_of(name), task_of(name))
        assert bundled_starts(name) == list(STARTS[name])
        assert pair_name(about["family"], about["task"]) == name
        own = bundled_folders(name)
        assert own == bundled_folders(name, DEFAULT_START[about["task"]])
        assert own[1] == bundled_folders(about["family"])[1]  # one teacher a family


def test_a_start_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match="no start 'sft9' of pair 'tiny-qwen3'.*barely, sft100"):
        load_pair("tiny-qwen3", start="sft9")
    with pytest.raises(UsageError, match="no bundled pair 'tiny-gpt'.*tiny-qwen3, "):
        bundled_starts("tiny-gpt")


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
def test_both_families_are_the_real_classes_with_a_long_context(name):
    pair = load_pair(name, device="cpu")
    for model in (pair.student, pair.teacher):
        config = model.config
        assert config.max_position_embeddings >= 2048
        if family_of(name) == "tiny-gemma3":
            assert type(model).__name__ == "Gemma3ForCausalLM"
            assert config.sliding_window == WINDOW
            assert set(config.layer_types) == {"sliding_attention", "full_attention"}
        else:
            assert type(model).__name__ == "Qwen3ForCausalLM"
    assert pair.tokenizer.model_max_length >= 2048
    assert pair.can_roll_back and pair.eos_token_ids == [2]
    assert pair.teacher.num_parameters() > 5 * pair.student.num_parameters()


def test_ordinary_texts_cross_the_window():
    tokenizer = load_pair("tiny-gemma3", device="cpu").tokenizer
    for task in TASKS:
        encoded = encode_examples(
            tokenizer, get_task(task).load("test", 100), max_prompt_tokens=2048, over_long="error"
        ).encoded
        lengths = [len(one.prompt_ids) + len(one.reference_ids) for one in encoded]
        assert sum(length > WINDOW for length in lengths) > 70


@pytest.mark.parametrize("task", TASKS)
def test_the_longest_texts_fit_limits_and_context(task):
    tokenizer = load_pair("tiny-qwen3", device="cpu").tokenizer
    limit = min(
        get_task(task).max_new_tokens, PRESETS[pair_name("tiny-qwen3", task)]["max_new_tokens"]
    )
    for split in get_task(task).splits:
        encoded = encode_examples(
            tokenizer, get_task(task).load(split, 700, seed=3), max_prompt_tokens=2048,
            over_long="error",
        ).encoded  # fmt: skip
        assert max(len(one.prompt_ids) for one in encoded) <= 128
        assert max(len(one.reference_ids) for one in encoded) <= limit


@pytest.mark.parametrize("place", MODELS)
def test_all_models_have_one_tokenizer_byte_for_byte(place):
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        base = (BUNDLED / "tiny-qwen3" / "student" / file).read_bytes()
        assert (BUNDLED / place / file).read_bytes() == base, file


@pytest.mark.parametrize("name", PAIRS)
def test_the_weights_are_of_the_recipes_in_the_code(name):
    recipes = {"teacher": FAMILIES[family_of(name)], **STARTS[name]}
    in_code = {key: asdict(recipe) for key, recipe in recipes.items()}
    assert ABOUT[name]["recipes"] == json.loads(json.dumps(in_code))
    task = task_of(name)
    assert {task: GENERATED_PROMPTS[task]} == STARTS[name][DEFAULT_START[task]].prompts


@pytest.mark.parametrize("name", PAIRS)
def test_the_teacher_is_as_good_as_asked_and_the_student_is_not(name):
    task = task_of(name)
    metric, value = headline(name, "teacher")
    assert metric == get_task(task).headline and TEACHERS[task] <= value <= 1
    assert STUDENT[0] <= headline(name, "student")[1] <= STUDENT[1]
    scores = {start: headline(name, start)[1] for start in STARTS[name]}
    assert scores["barely"] <= scores["sft100"] + 0.02 <= scores["sft1k"] + 0.04
    assert max(scores.values()) < value - 0.15
    if task == "instruction":
        unseen = ABOUT[name]["unseen"]["teacher"]
        assert unseen["n"] == 1000
        assert unseen["metrics"]["answer_exact"]["value"] >= UNSEEN[name]


@pytest.mark.parametrize("name", PAIRS)
def test_cards_say_the_scores_with_the_command_that_measures_them(name):
    for key, place in places_of(family_of(name), task_of(name)).items():
        metric, value = headline(name, key)
        assert ABOUT[name]["held_out"][key]["n"] == 1000
        card = (BUNDLED / place / "README.md").read_text(encoding="utf-8")
        assert f"| {task_of(name)} | test | 1,000 | {metric} | {value:.3f} |" in card
        assert f"`{metric}`" in card and "license: apache-2.0" in card
        assert f"evaluate --pair {name} --student skd_lab/bundled/{place} --split test" in card


@pytest.mark.parametrize("family", FAMILIES)
def test_a_teachers_card_says_how_its_recipe_was_chosen_and_scores_on_other_prompts(family):
    card = (BUNDLED / family / "teacher" / "README.md").read_text(encoding="utf-8")
    chosen = card.split("## Held-out scores")[1]
    assert "decided in several sittings" in chosen and "not the same weights" in chosen
    other = chosen.split(f"`--data-seed {OTHER_PROMPTS}`")[1]
    for task in TASKS:
        [row] = re.findall(
            rf"\| {task} \| test \| 1,000 \| {get_task(task).headline} \| (\S+)", other
        )
        assert abs(float(row) - headline(pair_name(family, task), "teacher")[1]) < 0.03


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("name", PAIRS)
def test_the_scores_stated_are_those_measured(name, role):
    stated = headline(name, role)[1]
    found = measure(load_pair(name, device="cpu"), role, get_task(task_of(name)), 60)
    # four standard errors of 60 draws; a broken mask, template or weight file is far outside
    margin = 4 * (stated * (1 - stated) / 60) ** 0.5
    assert abs(found - stated) < max(margin, 0.07)


def test_a_pair_brings_its_task_and_another_may_be_asked_for():
    own = with_preset({"pair": "tiny-qwen3-arithmetic"})
    assert (own.task, own.n_prompts) == ("arithmetic", GENERATED_PROMPTS["arithmetic"])
    assert own.max_new_tokens >= get_task("arithmetic").max_new_tokens
    other = with_preset({"pair": "tiny-gemma3-arithmetic", "task": "summaries"})
    assert (other.task, other.n_prompts) == ("summaries", GENERATED_PROMPTS["summaries"])
    assert with_preset({"pair": "tiny-gemma3"}).task == "summaries"
    for task in TASKS:  # of two pairs for a task, the first family's
        assert with_preset({"task": task}).pair == pair_name("tiny-qwen3", task)
    assert with_preset({}).pair == with_preset({"task": "gsm8k"}).pair == "tiny-qwen3"
