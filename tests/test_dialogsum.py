"""The DialogSum task: its three sources, several references, and lines that are damaged."""

import json
from pathlib import Path

import pytest

from skd_lab.errors import DataError
from skd_lab.tasks import Example, get_task

TASK = get_task("dialogsum")


def row(number: int, **changes: object) -> dict:
    dialogue = f"#Person1#: Hi, I'm {number}.\n#Person2#: Hello!"
    return {"dialogue": dialogue, "summary": f"{number} says hi.", "topic": "hi"} | changes


def three(number: int) -> dict:
    return {
        "dialogue": row(number)["dialogue"],
        **{f"summary{i}": f"{number} says hi, {i}." for i in (1, 2, 3)},
        "topic1": "hi",
    }


def write(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in rows), encoding="utf-8")
    return path


def test_a_file_is_split_without_overlap(tmp_path):
    path = write(tmp_path / "a.jsonl", [row(i) for i in range(40)])
    parts = {split: TASK.load(split, data_path=path) for split in TASK.splits}
    assert {split: len(found) for split, found in parts.items()} == {
        "train": 32, "validation": 4, "test": 4,
    }  # fmt: skip
    dialogues = [e.meta["dialogue"] for found in parts.values() for e in found]
    assert len(set(dialogues)) == 40
    assert (
        TASK.load("train", 3, seed=1, data_path=path)
        == (TASK.load("train", 9, seed=1, data_path=path)[:3])
    )


def test_a_folder_keeps_its_own_splits_and_may_say_dev(tmp_path):
    write(tmp_path / "train.jsonl", [row(i) for i in range(20)])
    write(tmp_path / "dev.jsonl", [row(i) for i in range(20, 23)])
    write(tmp_path / "test.jsonl", [three(i) for i in range(30, 32)])
    sizes = {split: len(TASK.load(split, data_path=tmp_path)) for split in TASK.splits}
    assert sizes == {"train": 20, "validation": 3, "test": 2}
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(DataError, match=r"train\.jsonl"):
        TASK.load("train", data_path=tmp_path)


def test_one_example_holds_every_summary_of_its_dialogue(tmp_path):
    rows = [three(1), row(2), row(2, summary="Hi by 2."), row(2, summary="2.")]
    found = {e.id: e for e in TASK.load("train", data_path=write(tmp_path / "a.jsonl", rows))}
    assert set(found) == {"dialogsum-1", "dialogsum-2"}
    assert found["dialogsum-1"].meta["references"] == [f"1 says hi, {i}." for i in (1, 2, 3)]
    assert found["dialogsum-2"].meta["references"] == ["2 says hi.", "Hi by 2.", "2."]
    assert found["dialogsum-2"].reference == "2 says hi."
    assert found["dialogsum-1"].messages == [
        {
            "role": "user",
            "content": "Summarize the dialogue.\n#Person1#: Hi, I'm 1.\n#Person2#: Hello!",
        }
    ]


def test_scores_are_means_over_references_and_the_best_one():
    example = Example(id="x", prompt="?", meta={"references": ["a b c d", "e f"]})
    # against "a b c d": words a b of 2 and 4 (F1 2/3), pair "a b" of 1 and 3 (F1 1/2)
    assert TASK.score(example, "a b") == {
        "rouge_l": pytest.approx(1 / 3),
        "rouge_l_best": pytest.approx(2 / 3),
        "rouge_1": pytest.approx(1 / 3),
        "rouge_2": pytest.approx(1 / 4),
    }
    # the order counts for rouge_l, not for rouge_1
    back = TASK.score(Example(id="x", prompt="?", meta={"references": ["a b"]}), "b a")
    assert back == {"rouge_l": 0.5, "rouge_l_best": 0.5, "rouge_1": 1.0, "rouge_2": 0.0}
    assert set(TASK.score(example, "").values()) == {0.0}
    assert next(iter(back)) == TASK.headline


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"summary": "?"}, 'line 2: no text in field "dialogue"'),
        (row(2, dialogue=" "), 'line 2: no text in field "dialogue"'),
        ({"dialogue": "a: b"}, 'line 2: no text in field "summary"'),
        (row(2, summary=3), 'line 2: no text in field "summary"'),
        (three(2) | {"summary3": ""}, 'line 2: no text in field "summary3"'),
    ],
)
def test_a_damaged_line_is_named_with_its_file(tmp_path, bad, message):
    path = write(tmp_path / "rows.jsonl", [row(1), bad])
    with pytest.raises(DataError, match=rf"rows\.jsonl, {message}"):
        TASK.load("train", data_path=path)


def test_the_hub_has_its_own_splits_and_repeats_test_dialogues(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name, config, *, split):
        asked.append((name, config, split))
        return [row(i // 3, summary=f"Summary {i}.") for i in range(30)]

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = TASK.load("test")
    assert len(found) == 10 and all(len(e.meta["references"]) == 3 for e in found)
    TASK.load("validation")
    assert asked == [("knkarthick/dialogsum", None, split) for split in ("test", "validation")]


def test_without_a_network_it_says_what_to_do(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def offline(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(DataError, match="knkarthick/dialogsum.*no route.*dialogue and summary"):
        TASK.load("train", 1)
