"""Tasks: what they load, which splits share nothing, and what a completion scores."""

import json
from pathlib import Path

import pytest

from skd_lab.errors import DataError, UsageError
from skd_lab.tasks import TASKS, Example, Gsm8k, get_task
from skd_lab.tasks.rows import held_out_split


def write(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_example_is_prompt_or_messages():
    with pytest.raises(UsageError, match="both"):
        Example(id="x", prompt="a", messages=[])
    with pytest.raises(UsageError, match="neither"):
        Example(id="x")


def test_unknown_task_is_refused_with_the_names():
    with pytest.raises(UsageError, match=r"'sums'.*arithmetic, .*dialogsum, .*jsonl, .*summaries"):
        get_task("sums")


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_refuses_a_wrong_split_and_number(name):
    task = TASKS[name]
    assert task.name == name and task.description and task.max_new_tokens > 0
    with pytest.raises(UsageError, match="train, validation, test"):
        task.load("dev")
    with pytest.raises(UsageError, match="at least 1, got 0"):
        task.load("train", 0)


# --- gsm8k


def problem(number: int) -> dict[str, str]:
    return {
        "question": f"Ann has {number} pens and buys 1. How many?",
        "answer": f"{number}+1 = <<{number}+1={number + 1}>>{number + 1} pens.\n#### {number + 1}",
    }


def test_gsm8k_strips_or_keeps_calculator_marks(tmp_path):
    path = write(tmp_path / "a.jsonl", [problem(2)])
    example = Gsm8k().load("train", data_path=path)[0]
    assert example.reference == "2+1 = 3 pens.\n#### 3"
    assert example.messages == [{"role": "user", "content": "Ann has 2 pens and buys 1. How many?"}]
    kept = Gsm8k(calculator_marks="keep").load("train", data_path=path)[0]
    assert kept.reference == problem(2)["answer"]
    with pytest.raises(UsageError, match="strip or keep"):
        Gsm8k(calculator_marks="maybe")


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        ("so\n#### 1250", 1.0),
        ("#### $1,250.", 1.0),
        ("#### 1250.00", 1.0),
        ("#### 3\nno, rather\n#### 1250", 1.0),
        ("#### 1250\n#### 3", 0.0),
        ("1250", 0.0),
        ("#### 1250 pens", 1.0),
        ("#### 1250 or 1251", 0.0),
        ("####", 0.0),
        ("", 0.0),
        ("#### 1,251", 0.0),
    ],
)
def test_gsm8k_scores_the_number_behind_the_last_marks(completion, right):
    example = Example(id="x", prompt="?", meta={"answer": "1,250"})
    assert TASKS["gsm8k"].score(example, completion) == {"accuracy": right}


def test_gsm8k_single_file_is_split_without_overlap(tmp_path):
    path = write(tmp_path / "a.jsonl", [problem(i) for i in range(50)] + [problem(0)])
    parts = {
        split: TASKS["gsm8k"].load(split, data_path=path)
        for split in ("train", "validation", "test")
    }
    questions = {s: {e.meta["question"] for e in found} for s, found in parts.items()}
    assert {s: len(found) for s, found in questions.items()} == {
        "train": 40,
        "validation": 5,
        "test": 5,
    }
    assert len(set.union(*questions.values())) == 50
    assert sum(map(len, parts.values())) == 51
    assert (
        TASKS["gsm8k"].load("train", 3, seed=1, data_path=path)
        == (TASKS["gsm8k"].load("train", 9, seed=1, data_path=path)[:3])
    )
    assert TASKS["gsm8k"].load("train", 9, seed=2, data_path=path) != (
        TASKS["gsm8k"].load("train", 9, seed=1, data_path=path)
    )


def test_gsm8k_folder_keeps_its_own_test(tmp_path):
    write(tmp_path / "train.jsonl", [problem(i) for i in range(20)])
    write(tmp_path / "test.jsonl", [problem(i) for i in range(100, 103)])
    sizes = {
        split: len(TASKS["gsm8k"].load(split, data_path=tmp_path))
        for split in ("train", "validation", "test")
    }
    assert sizes == {"train": 18, "validation": 2, "test": 3}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?"}, 'line 2: no text in field "answer"'),
        ({"question": " ", "answer": "#### 1"}, 'line 2: no text in field "question"'),
        ({"question": "?", "answer": "It is 3."}, "line 2: the answer must end in ####"),
    ],
)
def test_gsm8k_names_the_bad_line(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        TASKS["gsm8k"].load("train", data_path=write(tmp_path / "a.jsonl", [problem(1), row]))


def test_gsm8k_without_a_network_says_what_to_do(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def offline(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(DataError, match="openai/gsm8k.*no route.*--data-path"):
        TASKS["gsm8k"].load("test", 1)


def test_gsm8k_by_hub_name_takes_its_main_set(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name, config, *, split):
        asked.append((name, config, split))
        return [problem(i) for i in range(10)]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(TASKS["gsm8k"].load("test")) == 10
    assert len(TASKS["gsm8k"].load("train")) == 9
    assert asked == [("openai/gsm8k", "main", "test"), ("openai/gsm8k", "main", "train")]


# --- jsonl


def test_jsonl_reads_prompts_and_chats(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
    answer = [{"role": "assistant", "content": "4"}]
    path = write(
        tmp_path / "a.jsonl",
        [
            {"prompt": "Q:", "completion": " A"},
            {"prompt": "only"},
            {"messages": turns + answer},
            {"messages": turns},
        ],
    )
    found = {e.id: e for e in TASKS["jsonl"].load("train", data_path=path)}
    assert (found["line-1"].prompt, found["line-1"].reference) == ("Q:", " A")
    assert (found["line-2"].prompt, found["line-2"].reference) == ("only", None)
    assert (found["line-3"].messages, found["line-3"].reference) == (turns, "4")
    assert (found["line-4"].messages, found["line-4"].reference) == (turns, None)


def test_jsonl_scores():
    task = TASKS["jsonl"]
    example = Example(id="x", prompt="?", reference="a b c d")
    assert task.score(example, " a b  c d\n") == {"exact_match": 1.0, "rouge_l": 1.0}
    # longest common subsequence a b: precision 2/2, recall 2/4
    assert task.score(example, "a b") == {"exact_match": 0.0, "rouge_l": pytest.approx(2 / 3)}
    assert list(task.score(Example(id="x", prompt="?"), "a")) == ["exact_match", "rouge_l"]


def test_jsonl_small_files_hold_nothing_out_and_folders_have_their_own(tmp_path):
    path = write(tmp_path / "train.jsonl", [{"prompt": str(i)} for i in range(9)])
    sizes = [len(TASKS["jsonl"].load(s, data_path=path)) for s in TASKS["jsonl"].splits]
    assert sizes == [9, 0, 0]
    write(tmp_path / "test.jsonl", [{"prompt": "t"}])
    assert [e.prompt for e in TASKS["jsonl"].load("test", data_path=tmp_path)] == ["t"]
    write(path, [{"prompt": str(i)} for i in range(10)])
    sizes = [len(TASKS["jsonl"].load(s, data_path=path)) for s in TASKS["jsonl"].splits]
    assert sizes == [8, 1, 1]


def test_held_out_split_does_not_depend_on_the_order():
    names = [f"k{i}" for i in range(30)]
    split = held_out_split(names)
    backwards = held_out_split(names[::-1])
    for part in split:
        assert {names[i] for i in split[part]} == {names[::-1][i] for i in backwards[part]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.jsonl is empty"),
        ("\n \n", r"a\.jsonl is empty"),
        ('{"prompt": "a"}\n{"prompt": ', "line 2"),
        ('{"prompt": "a"}\n\n[1]', "line 3"),
        ('{"prompt": "a"}\n{"text": "a"}', 'line 2.*"prompt"'),
        ('{"prompt": 3}', 'line 1.*"prompt"'),
        ('{"prompt": "  "}', "line 1: the prompt is empty"),
        ('{"prompt": "a", "completion": 3}', 'line 1: "completion" must be text, got int'),
        ('{"prompt": "a", "completion": ""}', "line 1: the completion is empty"),
        ('{"prompt": "a", "messages": []}', "line 1: both"),
    ],
)
def test_jsonl_names_the_bad_line(tmp_path, text, message):
    path = tmp_path / "a.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        TASKS["jsonl"].load("train", data_path=path)


def test_jsonl_needs_a_file(tmp_path):
    with pytest.raises(UsageError, match="--data-path"):
        TASKS["jsonl"].load("train")
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        TASKS["jsonl"].load("train", data_path=tmp_path / "gone.jsonl")
