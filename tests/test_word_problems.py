"""Real word problems: rows of the Hub's form, one number for an answer, errors with a place."""

import json
import sys
import types

import pytest

from skd_lab.errors import DataError
from skd_lab.tasks import get_task
from skd_lab.tasks.base import Example

SVAMP = {
    "ID": "chal-1",
    "Body": "Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each pack",
    "Question": "How much do you have to pay to buy each pack?",
    "Equation": "( 76.0 - 25.0 )",
    "Answer": "51.0",
    "Type": "Subtraction",
}
ASDIV = {
    "body": "Seven red apples and two green apples are in the basket.",
    "question": "How many apples are in the basket?",
    "solution_type": "Addition",
    "answer": "9 (apples)",
    "formula": "7+2=9",
}
MATH = {
    "problem": "What is $\\frac12+\\frac13$?",
    "level": "Level 1",
    "type": "Prealgebra",
    "solution": "It is $\\boxed{\\frac{5}{6}}$.",
}
ULTRA = {
    "task": "Math_CoT",
    "dataset": "MATH",
    "instruction": "Solve: 2+3",
    "response": "Step 1: add.\n\\boxed{5}",
    "id": "1",
    "parent_id": "0",
}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def one(name, path, *rows):
    [example] = get_task(name).load("train", data_path=write(path, *rows))
    return example


def test_svamp_shows_the_equation_and_the_number(tmp_path):
    example = one("svamp", tmp_path / "a.jsonl", SVAMP)
    assert example.messages == [
        {
            "role": "user",
            "content": "Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on"
            " each pack. How much do you have to pay to buy each pack?",
        }
    ]
    assert example.reference == "76 - 25 = 51\n#### 51"
    numbers = {**SVAMP, "Answer": 51.0, "Equation": "( ( 76.0 - 25.0 ) * ( 1.05 + 2.0 ) )"}
    example = one("svamp", tmp_path / "b.jsonl", numbers)
    assert example.reference == "( 76 - 25 ) * ( 1.05 + 2 ) = 51\n#### 51"
    apart = {**SVAMP, "Equation": "( 76.0 - 25.0 ) * ( 1.0 )"}
    assert one("svamp", tmp_path / "c.jsonl", apart).reference.startswith("( 76 - 25 ) * ( 1 ) =")


def test_asdiv_takes_the_unit_off_and_leaves_out_what_is_no_number(tmp_path):
    rows = [{**ASDIV, "answer": answer} for answer in ("2; 3", "Emily", "8:30 (AM)", "2:1")]
    example = one("asdiv", tmp_path / "a.jsonl", *rows, ASDIV)
    assert example.messages[0]["content"] == f"{ASDIV['body']} {ASDIV['question']}"
    assert example.reference == "7+2=9\n#### 9" and example.id == "asdiv-5"
    with pytest.raises(DataError, match=r"b.jsonl has no problem for task asdiv"):
        one("asdiv", tmp_path / "b.jsonl", *rows)


def test_math_reads_the_box(tmp_path):
    example = one("math", tmp_path / "a.jsonl", MATH)
    assert example.meta["answer"] == r"\frac{5}{6}" and example.reference == MATH["solution"]
    assert get_task("math").score(example, r"So $\boxed{5/6}$") == {
        "accuracy": 1.0,
        "exact_match": 0.0,
    }
    assert set(get_task("math").score(example, r"\boxed{\frac{5}{6}}").values()) == {1.0}
    assert set(get_task("math").score(example, r"\frac{5}{6}").values()) == {0.0}


def test_ultrainteract_keeps_chains_of_thought_that_end_in_a_box(tmp_path):
    rows = [{**ULTRA, "task": "Coding"}, {**ULTRA, "response": "print(5)"}, ULTRA]
    example = one("ultrainteract", tmp_path / "a.jsonl", *rows)
    assert example.id == "ultrainteract-3" and example.reference == ULTRA["response"]


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        ("#### 1250", 1.0),
        ("#### $1,250.", 1.0),
        ("#### 1250.00", 1.0),
        ("#### 1250 dollars", 1.0),
        (r"\boxed{1{,}250}", 1.0),
        (r"It is $\boxed{\$1250 \text{ dollars}}$.", 1.0),
        ("#### 2500/2", 1.0),
        (r"\boxed{1250} and then" + "\n#### 3", 0.0),
        ("#### 1250 or 1251", 0.0),
        ("1250", 0.0),
        ("#### -1250", 0.0),
        ("#### one thousand", 0.0),
        ("####", 0.0),
        ("", 0.0),
    ],
)
@pytest.mark.parametrize("name", ["svamp", "asdiv"])
def test_one_number_is_right(name, completion, right):
    example = Example(id="x", prompt="?", meta={"answer": "1250"})
    assert get_task(name).score(example, completion) == {"accuracy": right}


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("svamp", {**SVAMP, "Answer": "many"}, "line 2: the answer must be a number, got 'many'"),
        ("svamp", {**SVAMP, "Answer": None}, 'line 2: no text in field "Answer"'),
        ("svamp", {**SVAMP, "Answer": True}, 'line 2: no text in field "Answer"'),
        ("svamp", {"Question": "?"}, 'line 2: no text in field "Body"'),
        ("asdiv", {**ASDIV, "formula": " "}, 'line 2: no text in field "formula"'),
        ("math", {"problem": "1+1"}, 'line 2: no text in field "solution"'),
        ("math", {**MATH, "solution": "5/6"}, r"line 2: the solution must hold .*got '5/6'"),
        ("ultrainteract", {"instruction": "?"}, 'line 2: no text in field "task"'),
    ],
)
def test_a_bad_row_is_named(tmp_path, name, row, message):
    good = {"svamp": SVAMP, "asdiv": ASDIV, "math": MATH, "ultrainteract": ULTRA}[name]
    path = write(tmp_path / "rows.jsonl", good, row)
    with pytest.raises(DataError, match=f"rows.jsonl, {message}"):
        get_task(name).load("train", data_path=path)


def test_a_set_without_a_test_of_its_own_is_split(tmp_path):
    task = get_task("asdiv")
    path = write(tmp_path / "a.jsonl", *({**ASDIV, "body": f"{n} apples."} for n in range(50)))
    parts = {s: {e.meta["question"] for e in task.load(s, data_path=path)} for s in task.splits}
    assert [len(parts[s]) for s in task.splits] == [40, 5, 5]
    assert len(set().union(*parts.values())) == 50


def test_the_hub_is_asked_for_its_own_names(monkeypatch):
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        row = {
            "ChilleD/SVAMP": SVAMP,
            "EleutherAI/asdiv": ASDIV,
            "openbmb/UltraInteract_sft": ULTRA,
        }
        row = row.get(name, MATH)
        field = {"Body", "body", "problem", "instruction"} & set(row)
        return [{**row, **dict.fromkeys(field, f"{config} {n}?")} for n in range(20)]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    sizes = {
        name: [len(get_task(name).load(split)) for split in ("train", "validation", "test")]
        for name in ("svamp", "asdiv", "math", "ultrainteract")
    }
    assert sizes == {
        "svamp": [18, 2, 20],
        "asdiv": [16, 2, 2],
        "math": [126, 14, 140],
        "ultrainteract": [16, 2, 2],
    }
    assert set(asked) >= {
        ("ChilleD/SVAMP", None, "test"),
        ("EleutherAI/asdiv", None, "validation"),
        ("EleutherAI/hendrycks_math", "number_theory", "train"),
        ("openbmb/UltraInteract_sft", None, "train"),
    }
    ids = [example.id for example in get_task("math").load("test")]
    assert len(set(ids)) == len(ids)
