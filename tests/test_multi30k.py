"""Real translation: pairs from files and the Hub, and errors that name the place."""

import json
import sys
import types

import pytest

from skd_lab.errors import DataError, UsageError
from skd_lab.tasks import get_task

TASK = get_task("multi30k")
ROWS = [{"de": f"Ein Hund {n}", "en": f"A dog {n}"} for n in range(40)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_one_file_is_split_without_overlap(tmp_path):
    path = write(tmp_path / "pairs.jsonl", ROWS)
    parts = {s: {e.meta["source"] for e in TASK.load(s, data_path=path)} for s in TASK.splits}
    assert [len(parts[s]) for s in TASK.splits] == [32, 4, 4]
    assert len(set().union(*parts.values())) == 40
    assert TASK.load("train", 5, data_path=path) == TASK.load("train", 9, data_path=path)[:5]


def test_a_folder_of_jsonl_keeps_its_own_splits(tmp_path):
    write(tmp_path / "train.jsonl", ROWS[:20])
    write(tmp_path / "val.jsonl", ROWS[20:25])
    write(tmp_path / "test_2016_flickr.jsonl", ROWS[25:])
    assert [len(TASK.load(s, data_path=tmp_path)) for s in TASK.splits] == [20, 5, 15]
    example = min(TASK.load("train", data_path=tmp_path), key=lambda e: int(e.id.split("-")[1]))
    assert example.messages == [
        {"role": "user", "content": "Translate from German to English.\nEin Hund 0"}
    ]
    assert (example.id, example.reference) == ("multi30k-1", "A dog 0")


def test_aligned_files_are_read_line_by_line(tmp_path):
    # a line separator inside a line ends no line
    (tmp_path / "train.de").write_text("Eins\nZwei\u2028drei\n", encoding="utf-8")
    (tmp_path / "train.en").write_text("One\nTwo three\n", encoding="utf-8")
    found = {e.meta["source"]: e.reference for e in TASK.load("train", data_path=tmp_path)}
    assert found == {"Eins": "One", "Zwei\u2028drei": "Two three"}


@pytest.mark.parametrize(
    ("german", "english", "message"),
    [
        ("Eins\nZwei\n", "One\n", "train.de has 2 lines and .*train.en has 1"),
        ("Eins\n\n", "One\nTwo\n", r'train.de and train.en, line 2: no text in field "de"'),
        ("Eins\n", " \n", r'line 1: no text in field "en"'),
        ("Eins\n", None, "cannot read .*train.en: No such file"),
    ],
)
def test_aligned_files_that_do_not_fit_are_refused(tmp_path, german, english, message):
    (tmp_path / "train.de").write_text(german)
    if english is not None:
        (tmp_path / "train.en").write_text(english)
    with pytest.raises(DataError, match=message):
        TASK.load("train", data_path=tmp_path)


def test_text_that_is_not_utf_8_is_refused_with_the_file(tmp_path):
    (tmp_path / "train.de").write_bytes(b"\xff\xfe")
    (tmp_path / "train.en").write_text("One\n")
    with pytest.raises(DataError, match="train.de is no UTF-8"):
        TASK.load("train", data_path=tmp_path)


@pytest.mark.parametrize("row", [{"de": "Eins"}, {"de": 1, "en": "One"}, {"de": "Eins", "en": " "}])
def test_a_bad_line_is_named(tmp_path, row):
    path = write(tmp_path / "pairs.jsonl", [ROWS[0], row])
    with pytest.raises(DataError, match=r"pairs.jsonl, line 2: no text in field"):
        TASK.load("train", data_path=path)


def test_what_is_neither_a_jsonl_nor_a_folder_with_the_split_is_refused(tmp_path):
    lone = tmp_path / "train.de"
    lone.write_text("Eins\n")
    with pytest.raises(UsageError, match="give the folder that holds train.de and train.en"):
        TASK.load("train", data_path=lone)
    with pytest.raises(DataError, match="no test set .* test_2016_flickr.jsonl"):
        TASK.load("test", data_path=tmp_path)


def test_scores_of_a_sentence_and_of_a_corpus(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [{"de": "Eins", "en": "the cat sat on the mat"}])
    [example] = TASK.load("train", data_path=path)
    assert next(iter(TASK.score(example, ""))) == TASK.headline == "chrf"
    assert TASK.score(example, "the cat sat on the mat") == pytest.approx(
        {"chrf": 1, "bleu": 1, "exact": 1}
    )
    scores = TASK.score(example, "the cat sat on a mat")
    assert scores["bleu"] == pytest.approx((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    assert scores["exact"] == 0.0
    found = TASK.corpus_scores([example], ["the cat sat on a mat"])
    assert found["bleu"]["value"] == pytest.approx(scores["bleu"])
    assert "|tok:13a|" in found["bleu"]["signature"]


@pytest.fixture
def hub(monkeypatch):
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        if name == "openlanguagedata/flores_plus":
            order = range(30) if config == "asm_Beng" else reversed(range(30))
            return [{"id": n, "text": f"{config} {n}", "domain": "wikinews"} for n in order]
        return ROWS

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return asked


def test_the_hub_is_asked_for_its_own_names(hub):
    assert len(TASK.load("validation", 3)) == 3
    flores = get_task("flores")
    parts = {s: {e.id for e in flores.load(s)} for s in flores.splits}
    # no train set there: dev without a tenth, which is the validation
    assert [len(parts[s]) for s in flores.splits] == [27, 3, 30]
    assert not parts["train"] & parts["validation"]
    [example] = flores.load("test", 1)
    number = example.meta["source"].removeprefix("asm_Beng ")
    assert example.messages[0]["content"].endswith(f"Assamese to English.\nasm_Beng {number}")
    assert example.reference == f"eng_Latn {number}"  # joined by id, not by place
    assert set(hub) == {
        ("bentrevett/multi30k", None, "validation"),
        ("openlanguagedata/flores_plus", "asm_Beng", "dev"),
        ("openlanguagedata/flores_plus", "eng_Latn", "dev"),
        ("openlanguagedata/flores_plus", "asm_Beng", "devtest"),
        ("openlanguagedata/flores_plus", "eng_Latn", "devtest"),
    }


def test_the_archive_of_flores_is_read_as_it_is_unpacked(tmp_path):
    flores = get_task("flores")
    for part, count in (("dev", 30), ("devtest", 5)):
        (tmp_path / part).mkdir()
        for code in ("asm_Beng", "eng_Latn"):
            lines = "".join(f"{code} {part} {n}\n" for n in range(count))
            (tmp_path / part / f"{code}.{part}").write_text(lines, encoding="utf-8")
    found = {s: {e.reference for e in flores.load(s, data_path=tmp_path)} for s in flores.splits}
    assert [len(found[s]) for s in flores.splits] == [27, 3, 5]
    assert not found["train"] & found["validation"] and "eng_Latn devtest 4" in found["test"]
    (tmp_path / "dev" / "eng_Latn.dev").write_text("one\n")
    with pytest.raises(DataError, match=r"asm_Beng.dev has 30 lines and .*eng_Latn.dev has 1"):
        flores.load("train", data_path=tmp_path)


def test_without_a_network_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="bentrevett/multi30k.*--data-path"):
        TASK.load("test", 1)
