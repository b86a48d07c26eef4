"""The arithmetic task: problems that cannot be remembered, and steps that are checked."""

import hashlib
import json
import re
from fractions import Fraction

import numpy as np
import pytest

from skd_lab.errors import UsageError
from skd_lab.loading import load_tokenizer
from skd_lab.models import BUNDLED
from skd_lab.tasks import Example, get_task
from skd_lab.tasks.arithmetic import WordProblem, answer_of, draw_problem, solve, valid_solutions
from skd_lab.tasks.arithmetic_steps import read_steps
from skd_lab.tasks.arithmetic_stories import BOXES, ITEMS, LARGEST, PEOPLE, STORIES

TASK = get_task("arithmetic")
EGGS = WordProblem(
    "more_then_less",
    {"a": 12, "b": 3, "c": 4},
    {"A": "Anna", "B": "Ben", "items": "eggs", "boxes": "bags"},
)
EXAMPLE = Example(id="x", prompt="?", meta={"numbers": EGGS.numbers, "answer": "11"})


def kinds_and_numbers(examples: list[Example]) -> set[tuple]:
    return {(e.meta["kind"], *e.meta["numbers"].values()) for e in examples}


def test_problems_repeat_by_seed_and_grow_by_prefix():
    assert TASK.load("train", 20) == TASK.load("train", 50)[:20]
    assert TASK.load("train", 20) != TASK.load("train", 20, seed=1)
    assert len({e.messages[0]["content"] for e in TASK.load("test", 500)}) == 500


def test_the_text_is_pinned():
    """The bundled models were trained on this very text: a change needs new models."""
    text = json.dumps([(e.messages, e.reference) for e in TASK.load("train", 100)])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "09cd4e0158d0c6c4"


def test_no_story_meets_the_numbers_of_another_split_whatever_the_seeds():
    parts = {split: kinds_and_numbers(TASK.load(split, 1000, seed=7)) for split in TASK.splits}
    parts["train"] |= kinds_and_numbers(TASK.load("train", 5000, seed=8))
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["validation"]
    assert not parts["validation"] & parts["test"]
    # of every kind there are some to train on and some to hold out
    assert all({kind for kind, *_ in found} == set(STORIES) for found in parts.values())


def test_names_and_order_do_not_decide_the_split():
    other = WordProblem(EGGS.kind, dict(reversed(EGGS.numbers.items())), {"A": "Hugo", "B": "Chen"})
    assert EGGS.split == other.split and EGGS.key != other.key


def test_results_stay_small_whole_and_above_one():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        problem = draw_problem(rng)
        steps = solve(problem.kind, problem.numbers)
        assert all(2 <= result <= LARGEST for _, result in steps.values())
        assert problem.words["A"] != problem.words["B"]
    assert solve("shared", {"a": 10, "b": 5, "p": 4}) is None  # 15 / 4
    assert solve("less", {"a": 5, "b": 6}) is None
    assert solve("more", {"a": 30, "b": 11}) is None
    assert solve("shared", {"a": 10, "b": 5, "p": 3}) == {"x": ("10+5=15", 15), "y": ("15/3=5", 5)}


def test_a_problem_tells_every_number_once_and_who_and_what():
    for example in TASK.load("train", 800):
        text = example.messages[0]["content"]
        said = sorted(map(int, re.findall(r"\d+", text)))
        assert said == sorted(example.meta["numbers"].values()), text
        assert text.endswith("?") and any(name in text for name in PEOPLE)
        assert any(item in text for item in ITEMS)


def test_references_use_every_wording_and_all_are_right():
    seen: dict[str, set[str]] = {kind: set() for kind in STORIES}
    for example in TASK.load("train", 1500):
        assert TASK.score(example, example.reference) == {"answer_exact": 1, "steps_exact": 1}
        shape = re.sub(r"\d+", "0", example.reference)
        seen[example.meta["kind"]].add(re.sub("|".join(PEOPLE + ITEMS + BOXES), "_", shape))
    assert {kind: len(shapes) for kind, shapes in seen.items()} == {
        kind: len(story.solutions) for kind, story in STORIES.items()
    }
    assert valid_solutions(EGGS) == [
        "12+3=15\n15-4=11\n#### 11",
        "First 12+3=15.\nThen 15-4=11.\n#### 11",
        "There are 12+3=15 eggs.\nThen 15-4=11 are left.\n#### 11",
    ]
    assert answer_of(EGGS) == 11


@pytest.mark.parametrize(
    "text",
    [
        "12+3=15\n15-4=11\n#### 11",
        "12 + 3 = 15, 15 - 4 = 11.\n#### 11.00",
        "12-4=8\n8+3=11\n#### 11",  # another way
        "12+3-4=11\n#### 11",
    ],
)
def test_other_right_ways_are_right(text):
    assert TASK.score(EXAMPLE, text) == {"answer_exact": 1.0, "steps_exact": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "#### 11",  # no steps
        "12+3=16\n16-5=11\n#### 11",  # wrong, then made to fit
        "12+3=15\n15-4=12\n#### 11",
        "12+3=15\n#### 11",  # not there yet
        "12-1=11\n#### 11",  # a number from nowhere
        "12+3=15=15\n15-4=11\n#### 11",
        "12+3= 15-4=11\n#### 11",
        "12+=15\n15-4=11\n#### 11",
        "12/0=3\n15-4=11\n#### 11",
    ],
)
def test_a_right_answer_needs_right_steps(text):
    assert TASK.score(EXAMPLE, text) == {"answer_exact": 1.0, "steps_exact": 0.0}


@pytest.mark.parametrize("text", ["", "11", "####", "12+3=15\n15-4=11", "12+3=15\n#### 15"])
def test_without_the_right_answer_nothing_is_right(text):
    assert TASK.score(EXAMPLE, text) == {"answer_exact": 0.0, "steps_exact": 0.0}


def test_steps_are_read_with_products_first():
    [step] = read_steps("so 2 + 3*4 - 6/2 = 11 eggs")
    assert step.numbers == (2, 3, 4, 6, 2) and step.is_true
    assert read_steps("1.5*2=3")[0].value == Fraction(3)
    assert read_steps("nothing to see") == []


def test_the_bundled_tokenizer_knows_the_words():
    tokenizer = load_tokenizer(BUNDLED / "tiny-qwen3" / "student")
    examples = TASK.load("validation", 300)
    words = {word for e in examples for word in re.findall(r"[A-Za-z]+", e.messages[0]["content"])}
    assert len(words) > 40
    for word in words:
        assert len(tokenizer.tokenize(f" {word}")) <= 3, word
    prompts = [
        tokenizer.apply_chat_template(e.messages, add_generation_prompt=True, return_dict=False)
        for e in examples
    ]
    answers = [tokenizer(e.reference)["input_ids"] for e in examples]
    assert sum(map(len, prompts)) / 300 < 40 and sum(map(len, answers)) / 300 < 32
    assert max(map(len, answers)) < TASK.max_new_tokens
    assert tokenizer.tokenize("12+3=15")[:4] == ["1", "2", "+", "3"]


def test_a_file_and_too_many_problems_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="task arithmetic makes its own examples"):
        TASK.load("train", 1, data_path="x.jsonl")
    monkeypatch.setattr(type(TASK), "_patience", 3)
    with pytest.raises(UsageError, match="split test of task arithmetic has about"):
        TASK.load("test", 1000)


@pytest.mark.parametrize("name", ["arithmetic", "summaries"])
def test_more_problems_than_there_are_are_refused_without_drawing_any(name, monkeypatch):
    task = get_task(name)
    monkeypatch.setattr(type(task), "draw", lambda self, rng: pytest.fail("it drew"))
    for split in task.splits:
        with pytest.raises(UsageError, match=f"has about {task.size(split)} different problems"):
            task.load(split, 10**7)


def test_sizes_are_those_of_all_there_are():
    sizes = [get_task("summaries").size(split) for split in TASK.splits]
    people, times, days, other = 8 * 7, 6, 7, 6
    assert sum(sizes) == people * days * times * (other * other + other)
    assert 0.78 < TASK.size("train") / sum(map(TASK.size, TASK.splits)) < 0.82
