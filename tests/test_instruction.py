"""The instruction task: steps that are done right, and compositions that training never has."""

import hashlib
import json
from itertools import pairwise

import numpy as np
import pytest

from skd_lab.errors import UsageError
from skd_lab.loading import load_tokenizer
from skd_lab.models import BUNDLED
from skd_lab.tasks import Example, get_task
from skd_lab.tasks.instruction import (
    Instruction,
    draw_instruction,
    is_held_out,
    split_sizes,
    valid_answers,
)
from skd_lab.tasks.instruction_steps import KINDS, STEPS, WORDS, results

TASK = get_task("instruction")
FISH = Instruction("words", ("cat", "fish", "eggs"), ("reverse", "add_end"), ((), ("dog",)))
META = {"steps": ["eggs fish cat", "eggs fish cat dog"], "spelled": None}
EXAMPLE = Example(id="x", prompt="?", meta=META)
SPELLED = Example(id="y", prompt="?", meta={"steps": ["t a c"], "spelled": "c a t"})
RIGHT = {"answer_exact": 1.0, "steps_exact": 1.0}


def test_instructions_repeat_by_seed_and_grow_by_prefix():
    for split in ("train", "unseen"):
        assert TASK.load(split, 20) == TASK.load(split, 50)[:20]
        assert TASK.load(split, 20) != TASK.load(split, 20, seed=1)


def test_the_text_is_pinned():
    """Models are trained on this very text: a change needs new models."""
    text = json.dumps([(e.messages, e.reference) for e in TASK.load("train", 100)])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "0f97f394ac50b950"


def test_held_out_pairs_of_steps_are_in_the_test_alone():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        problem = draw_instruction(rng)
        assert not problem.unseen or problem.split == "test"
    for split in ("train", "validation"):
        for example in TASK.load(split, 600):
            pairs = pairwise(example.meta["composition"])
            assert not any(is_held_out(*pair) for pair in pairs)
    test = TASK.load("test", 600)
    unseen = [e for e in test if e.meta["unseen"]]
    assert 0.5 < len(unseen) / 600 < 0.7
    alone = TASK.load("unseen", 200)
    assert all(e.meta["unseen"] for e in alone) and alone == unseen[:200]


def test_every_step_is_seen_by_itself_and_with_most_others():
    names = [name for name in STEPS]
    pairs = [(a, b) for a in names for b in names if a != b and not STEPS[a].ends]
    held_out = [pair for pair in pairs if is_held_out(*pair)]
    assert (len(held_out), len(pairs)) == (14, 99)
    # nothing is held out as a whole: each step follows, and is followed by, others in training
    for name in names:
        assert not all(is_held_out(a, b) for a, b in pairs if b == name)
    train = TASK.load("train", 1500)
    assert {name for e in train for name in e.meta["composition"]} == set(STEPS)
    kinds = [e.meta["kind"] for e in train]
    assert [0.4 < kinds.count("words") / 1500 < 0.6, kinds.count("letters") > 100] == [True, True]


def test_no_list_meets_its_composition_in_two_splits():
    def problems(split, seed):
        return {
            (e.messages[0]["content"].split("\n")[0], *e.meta["composition"])
            for e in TASK.load(split, 700, seed=seed)
        }

    train = problems("train", 7) | problems("train", 8)
    assert not train & problems("test", 7) and not train & problems("validation", 7)


@pytest.mark.parametrize(
    ("name", "values", "after"),
    [
        ("reverse", (), "c b a"),
        ("drop_first", (), "b c"),
        ("drop_last", (), "a b"),
        ("swap_first_two", (), "b a c"),
        ("first_to_end", (), "b c a"),
        ("add_end", ("d",), "a b c d"),
        ("add_start", ("d",), "d a b c"),
        ("replace", ("b", "d"), "a d c"),
        ("count", (), "3"),
        ("give_first", (), "a"),
        ("give_last", (), "c"),
    ],
)
def test_each_step_by_hand(name, values, after):
    assert results(("a", "b", "c"), (name,), (values,)) == [tuple(after.split())]


def test_numbers_and_repeated_items_by_hand():
    assert results(("1", "12"), ("add_to_each",), (("9",),)) == [("10", "21")]
    assert results(("a", "b", "a"), ("replace",), (("a", "c"),)) == [("c", "b", "c")]
    assert results(("a", "b"), ("reverse", "add_end"), ((), ("a",))) == [
        ("b", "a"),
        ("b", "a", "a"),
    ]
    assert {name for name, step in STEPS.items() if set(step.kinds) != set(KINDS)} == {
        "add_to_each"
    }


def test_references_use_every_wording_and_all_are_right():
    shapes = {"A": 0, "1": 0, "bare": 0}
    for example in TASK.load("train", 800):
        assert TASK.score(example, example.reference) == RIGHT
        line = example.reference.split("\n")[-2]
        named = line.split()[0].endswith(":")
        shapes["A" if named else "1" if line[1:2] == "." else "bare"] += 1
    assert min(shapes.values()) > 200
    assert valid_answers(FISH) == [
        "Reverse: eggs fish cat\nAdd: eggs fish cat dog\n#### eggs fish cat dog",
        "1. eggs fish cat\n2. eggs fish cat dog\n#### eggs fish cat dog",
        " eggs fish cat\n eggs fish cat dog\n#### eggs fish cat dog",
    ]


def test_prompts_name_the_list_and_every_step_in_order():
    layouts = set()
    for example in TASK.load("train", 400):
        head, *asked = example.messages[0]["content"].split("\n")
        assert head.split(":")[0].lower() == example.meta["kind"]
        assert "{" not in head + "".join(asked)
        count = len(example.meta["composition"])
        if asked[0].startswith("1. "):
            layouts.add("numbers")
            assert len(asked) == count
        else:
            layouts.add(
                "then" if ", then" in asked[0] else "first" if "Then" in asked[0] else "one"
            )
            assert len(asked) == 1 and asked[0].lower().count("then ") == count - 1
    assert layouts == {"numbers", "then", "first", "one"}


@pytest.mark.parametrize(
    "text",
    [
        "Step: eggs fish cat\nWhatever: eggs fish cat dog\n#### eggs fish cat dog",
        "  eggs fish  cat \n\neggs fish cat dog\n####   eggs fish cat  dog ",
        "1. eggs fish cat\nAdd: eggs fish cat dog\n#### eggs fish cat dog\n",
    ],
)
def test_other_right_ways_are_right(text):
    assert TASK.score(EXAMPLE, text) == RIGHT


@pytest.mark.parametrize(
    "text",
    [
        "#### eggs fish cat dog",
        "eggs fish cat dog\n#### eggs fish cat dog",
        "eggs cat fish\neggs fish cat dog\n#### eggs fish cat dog",
        "eggs fish cat dog\neggs fish cat\n#### eggs fish cat dog",
        "eggs fish cat\neggs fish cat dog\neggs fish cat dog\n#### eggs fish cat dog",
        "eggs fish cat\neggs fish cat dog\n#### nothing\n#### eggs fish cat dog",
    ],
)
def test_a_right_answer_needs_right_steps(text):
    assert TASK.score(EXAMPLE, text) == {"answer_exact": 1.0, "steps_exact": 0.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "####",
        "eggs fish cat\neggs fish cat dog",
        "#### eggs fish cat",
        "#### eggs, fish, cat, dog",
        "#### eggs fish cat dog dog",
        "#### eggs fish cat dog\n#### eggs",
    ],
)
def test_without_the_right_answer_nothing_is_right(text):
    assert TASK.score(EXAMPLE, text) == {"answer_exact": 0.0, "steps_exact": 0.0}


def test_letters_may_be_spelled_first_or_not():
    assert TASK.score(SPELLED, "Letters: c a t\nReverse: t a c\n#### t a c") == RIGHT
    assert TASK.score(SPELLED, "t a c\n#### t a c") == RIGHT
    assert TASK.score(SPELLED, "c a d\nt a c\n#### t a c")["steps_exact"] == 0.0


def test_the_bundled_tokenizer_knows_the_words():
    tokenizer = load_tokenizer(BUNDLED / "tiny-qwen3" / "student")
    assert all(len(tokenizer.tokenize(f" {word}")) == 1 for word in WORDS)
    examples = TASK.load("validation", 500)
    answers = [len(tokenizer(e.reference)["input_ids"]) for e in examples]
    assert sum(answers) / 500 < 40 and max(answers) < TASK.max_new_tokens


def test_a_file_and_too_many_instructions_are_refused():
    assert split_sizes()["unseen"] < split_sizes()["test"]
    for split in ("train", "unseen"):
        with pytest.raises(UsageError, match="task instruction makes its own examples"):
            TASK.load(split, 1, data_path="x.jsonl")
    with pytest.raises(UsageError, match="different problems"):
        TASK.load("validation", 10**12)
