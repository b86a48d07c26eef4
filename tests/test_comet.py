"""COMET: asked for by name, run by import or by its own command, and refused where it is not."""

import json
import os
import stat
import sys
import types

import pytest

from skd_lab.comet import comet_model, comet_score
from skd_lab.errors import SkdError, UsageError
from skd_lab.tasks import get_task

MODEL = "Unbabel/wmt22-comet-da"
ROWS = (["Ein Hund", "Eine\nKatze"], ["A dog", "cat"], ["A dog", "A cat"])


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setenv("SKD_LAB_COMET", MODEL)
    monkeypatch.setenv("PATH", os.defpath)  # a comet-score of this machine's is none of the test's
    monkeypatch.setitem(sys.modules, "comet", None)


def fake_module(monkeypatch):
    """A comet that scores by length and keeps what it was given."""
    seen = {}

    class Model:
        def predict(self, rows, batch_size, gpus):
            seen["rows"] = rows
            return types.SimpleNamespace(scores=[len(row["mt"]) / 10 for row in rows])

    def download_model(name):
        seen["name"] = name
        return "model.ckpt"

    module = types.ModuleType("comet")
    module.__spec__ = types.SimpleNamespace(name="comet")
    module.download_model = download_model
    module.load_from_checkpoint = lambda path: Model()
    monkeypatch.setitem(sys.modules, "comet", module)
    return seen


def fake_command(folder, monkeypatch, body):
    command = folder / "comet-score"
    command.write_text(f"#!{sys.executable}\nimport json, sys\n{body}")
    command.chmod(command.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")


def test_nobody_gets_comet_unasked(asked, monkeypatch):
    monkeypatch.setenv("SKD_LAB_COMET", " ")
    assert comet_model() is None


def test_an_asked_for_comet_that_is_not_there_is_refused_before_data_is_read(asked, tmp_path):
    words = "SKD_LAB_COMET asks for COMET .*pipx install unbabel-comet"
    with pytest.raises(UsageError, match=words):
        get_task("multi30k").load("test", 1, data_path=tmp_path / "nowhere.jsonl")
    get_task("gsm8k").check_request("test", 1)  # other tasks do not mind


def test_the_package_scores_sources_texts_and_references(asked, monkeypatch):
    seen = fake_module(monkeypatch)
    found = comet_score(MODEL, *ROWS)
    assert found == {"value": pytest.approx(0.4), "signature": MODEL}
    assert seen["name"] == MODEL
    assert seen["rows"][1] == {"src": "Eine Katze", "mt": "cat", "ref": "A cat"}


def test_a_translation_task_reports_it_beside_bleu(asked, monkeypatch, tmp_path):
    seen = fake_module(monkeypatch)
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"de": "Ein Hund", "en": "A dog"}) + "\n")
    task = get_task("multi30k")
    scores = task.corpus_scores(task.load("train", data_path=path), ["The dog"])
    assert set(scores) == {"bleu", "chrf", "comet"}
    assert scores["comet"] == {"value": pytest.approx(0.7), "signature": MODEL}
    assert seen["rows"] == [{"src": "Ein Hund", "mt": "The dog", "ref": "A dog"}]


def test_the_command_of_another_environment_will_do(asked, monkeypatch, tmp_path):
    body = """
flags = dict(zip(sys.argv[5:], sys.argv[6:]))
read = lambda flag: open(flags[flag]).read().splitlines()
rows = [{"src": s, "mt": t, "ref": r, "COMET": len(s) / 10}
        for s, t, r in zip(read("-s"), read("-t"), read("-r"), strict=True)]
json.dump({flags["-t"]: rows}, open(flags["--to_json"], "w"))
"""
    fake_command(tmp_path, monkeypatch, body)
    assert comet_score(MODEL, *ROWS) == {"value": pytest.approx(0.9), "signature": MODEL}


def test_what_failed_is_said(asked, monkeypatch, tmp_path):
    fake_command(tmp_path, monkeypatch, "sys.exit('Model not supported by COMET.')")
    with pytest.raises(SkdError, match=r"by Unbabel/wmt22.*Model not supported.*unset SKD_LAB"):
        comet_score(MODEL, *ROWS)
