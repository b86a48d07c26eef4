"""Runs of the app: the list, one as a page, what may be imported and what is handed out."""

import csv
import io
import json
import math

import pytest
from fake_runs import STEPS, write_demo
from synthetic import HOSTILE, hostile_trace, make_trace

from skd_lab.app import build_app, importing, launch
from skd_lab.app.importing import KINDS, check_trace, export, keep, read_upload
from skd_lab.app.library import Library
from skd_lab.app.listing import listed, look, page_of, page_value, table_value
from skd_lab.errors import DataError, SkdError, UsageError
from skd_lab.files import write_json_atomic
from skd_lab.records import dumps_traces, read_traces, write_traces
from skd_lab.views import redecide


@pytest.fixture
def library(tmp_path):
    write_demo(tmp_path / "runs")
    return Library(tmp_path / "runs")


def written(tmp_path, text, name="mine.ndjson"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def test_the_list_holds_what_the_records_say(library, tmp_path):
    rows = {row["name"]: row for row in listed(library)}
    assert [*rows][:3] == library.names()[:3] and len(rows) == len(library.names())
    demo = rows["demo"]
    assert (demo["method"], demo["steps"], demo["loss"]) == ("skd", STEPS, 1 / STEPS)
    rates = [0.2 * math.exp(-step / 20) for step in range(1, STEPS + 1)]
    assert demo["replaced_first"] == pytest.approx(sum(rates[:4]) / 4)
    assert demo["replaced_last"] == pytest.approx(sum(rates[-4:]) / 4)
    assert (demo["metric"], demo["value"]) == ("facts_exact", 0.6)
    other = rows["demo-on_policy_kd"]
    assert other["method"] == "on_policy_kd" and other["replaced_first"] is None
    write_demo(tmp_path / "elsewhere")
    away = Library(tmp_path / "runs", tmp_path / "elsewhere" / "demo-supervised_kd")
    assert listed(away)[0]["name"] == "demo-supervised_kd" and listed(away)[0]["steps"] == STEPS
    assert listed(Library(tmp_path / "none"))  # the package's own recordings


def test_texts_of_others_stay_texts_in_the_list_and_on_the_page(tmp_path):
    write_json_atomic(tmp_path / "hostile" / "config.json", {"method": HOSTILE[0]})
    trace = hostile_trace()
    trace.header |= {"prompt": "".join(HOSTILE), "run": HOSTILE[1]}
    write_traces(tmp_path / "hostile" / "traces.ndjson", [trace])
    library = Library(tmp_path)
    assert listed(library)[0]["method"] == HOSTILE[0]
    value = page_value(page_of(look(library, "hostile")))
    for text in (table_value(library), value):
        assert "<" not in text and json.loads(text)
    markup = json.loads(value)["markup"]
    assert "<img src=x" not in markup and "<script>window" not in markup


def test_a_run_is_looked_at_as_far_as_it_is_whole_and_a_name_is_never_a_path(library):
    opened = look(library, "demo")
    assert len(opened.traces) == 6 and "Held-out scores" in page_of(opened).markup
    folder = library.folder("demo")
    (folder / "traces.ndjson").write_text("{nothing at all\n")
    opened = look(library, "demo")
    assert opened.traces == [] and "line 1" in " ".join(opened.notes)
    assert "No completion is recorded" in page_of(opened).markup
    for name in ("../runs/demo", str(folder), "", None, "nobody"):
        with pytest.raises(UsageError, match="no run named"):
            look(library, name)


def test_a_recording_of_the_package_is_shown_by_its_strips(library):
    name = library.names()[-1]
    assert name.startswith("recorded: ")
    assert "data-skd-strip" in page_of(look(library, name)).markup
    with pytest.raises(UsageError, match="no report"):
        export(look(library, name), "report")


@pytest.mark.parametrize("kind", ["ndjson", "html"])
def test_what_is_handed_out_comes_back_the_same_also_at_another_k(library, tmp_path, kind):
    opened = look(library, "demo")
    file, text = export(opened, kind)
    assert file == f"demo.{kind}"
    traces, notes = read_upload(written(tmp_path, text, file), file)
    assert notes == [] and len(traces) == len(opened.traces)
    for one, other in zip(traces, opened.traces, strict=True):
        counts = [(t.accepted, t.replaced, t.discarded, len(t.tokens)) for t in (one, other)]
        assert counts[0] == counts[1]
        for k in (1, 2, 5, 4000):
            assert redecide(one, k) == redecide(other, k)
    keep(library.runs_dir, "again", traces)
    assert dumps_traces(look(library, "again").traces) == dumps_traces(opened.traces)


def test_hostile_texts_survive_the_way_out_and_in(tmp_path):
    write_traces(tmp_path / "h" / "traces.ndjson", [hostile_trace()])
    opened = look(Library(tmp_path), "h")
    for kind in ("ndjson", "html"):
        traces, _ = read_upload(written(tmp_path, export(opened, kind)[1]), "x")
        assert [token["kept"] for token in traces[0].tokens] == HOSTILE * 2
    rows = list(csv.DictReader(io.StringIO(export(opened, "csv")[1])))
    assert len(rows) == 2 * len(HOSTILE) and not any(r["kept"].startswith("=") for r in rows)


def test_the_table_has_a_row_a_token_and_the_report_is_a_page(library):
    opened = look(library, "demo")
    file, text = export(opened, "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert file == "demo.csv" and len(rows) == sum(len(t.tokens) for t in opened.traces)
    file, text = export(opened, "report")
    assert file == "demo-report.html" and text.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in text
    with pytest.raises(UsageError, match="exported as 'exe'"):
        export(opened, "exe")
    with pytest.raises(UsageError, match="no recorded completion"):
        export(look(library, "demo-on_policy_kd"), "csv")
    assert set(KINDS) == {"ndjson", "csv", "html", "report"}


def test_a_damaged_file_is_read_as_far_as_it_is_whole_and_the_line_is_said(tmp_path):
    lines = dumps_traces([make_trace(), make_trace(step=9)]).splitlines()
    lines[10] = lines[10][:40]
    path = written(tmp_path, "\n".join(lines) + "\n", "upload-7f.bin")
    traces, notes = read_upload(path, "mine.ndjson")
    assert [len(trace.tokens) for trace in traces] == [9, 36]
    assert len(notes) == 1 and notes[0].startswith("mine.ndjson, line 11: ")
    assert "what can be read" in notes[0] and str(tmp_path) not in notes[0]


def test_a_last_line_that_was_cut_is_left_out_and_said(tmp_path):
    text = dumps_traces([make_trace()])
    traces, notes = read_upload(written(tmp_path, text[:-30]), "mine.ndjson")
    assert len(traces[0].tokens) == 35 and "cut off" in notes[0]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "holds no completion"),
        ('{"schema": "skd-trace/1"}\n', "holds no completion"),
        ("\x00\x01 not text", "holds no completion"),
        ("not text\nnor this\n", "line 1"),
        ("[" * 100_000, "holds no completion"),
        ("[" * 100_000 + "\n", "line 1"),
        ('{"i": 0, "source": "student", "kept_id": 1, "kept": "a", "teacher_rank": 1}\n', "header"),
        ("<!DOCTYPE html><p>no strip</p>", "holds no completion"),
        ("<html>something else", "line 1"),
    ],
)
def test_a_file_with_no_trace_is_refused_in_words(tmp_path, text, words):
    with pytest.raises(SkdError, match=words) as refused:
        read_upload(written(tmp_path, text, "upload.bin"), "mine.ndjson")
    assert "mine.ndjson" in str(refused.value) and str(tmp_path) not in str(refused.value)


def test_a_newer_file_says_that_it_is_newer(tmp_path):
    text = dumps_traces([make_trace()]).replace("skd-trace/1", "skd-trace/2")
    with pytest.raises(UsageError, match=r"newer skd_lab \(schema skd-trace/2"):
        read_upload(written(tmp_path, text), "mine.ndjson")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "big.ndjson"
    with path.open("wb") as file:
        file.truncate(importing.MAX_BYTES + 1)  # sparse
    monkeypatch.setattr(importing, "good_traces", lambda *_: pytest.fail("it was read"))
    with pytest.raises(UsageError, match="at most 20 MB"):
        read_upload(path, "big.ndjson")


@pytest.mark.parametrize(
    "change",
    [
        {"kept": 5},
        {"kept_id": "1"},
        {"kept_id": None},
        {"source": "nobody"},
        {"proposed": ["x"]},
        {"p_student": "much"},
        {"kl": True},
        {"kept_bytes": "zz"},
        {"teacher_top": [[1]]},
        {"student_top": {"a": 1}},
        {"teacher_draw": 3},
        {"discarded": "abc"},
        {"block": 1.5},
        {"teacher_rank": 10**300},
    ],
)
def test_a_token_with_a_value_that_cannot_be_is_named(change):
    trace = make_trace()
    check_trace(trace, "x, trace 1")
    trace.tokens[7] |= change
    with pytest.raises(DataError, match=f"x, trace 1, token 7: {next(iter(change))} cannot be"):
        check_trace(trace, "x, trace 1")


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": 3},
        {"step": "1"},
        {"accept_top_k": 0},
        {"accept_top_k": "3"},
        {"accept_top_k": [3, None]},
        {"policies": []},
    ],
)
def test_a_header_with_a_value_that_cannot_be_is_refused(change):
    trace = make_trace()
    trace.header |= change
    with pytest.raises(DataError, match="header"):
        check_trace(trace, "x")


def test_fields_that_views_need_are_filled_in(tmp_path):
    bare = {
        "discarded": None,
        "i": 0,
        "source": "student",
        "kept_id": 1,
        "kept": "a",
        "teacher_rank": 2,
    }
    text = '{"schema": "skd-trace/1", "accept_top_k": 3}\n' + json.dumps(bare) + "\n"
    traces, _ = read_upload(written(tmp_path, text), "x")
    assert redecide(traces[0], 1).replaced == 1 and redecide(traces[0], 3).accepted == 1
    keep(tmp_path / "runs", "bare", traces)
    assert "Watched prompts" in page_of(look(Library(tmp_path / "runs"), "bare")).markup


@pytest.mark.parametrize("name", ["../out", "a/b", "/tmp/x", "..", "a\\b"])
def test_a_path_is_no_name_for_an_import(tmp_path, name):
    runs = tmp_path / "runs"
    with pytest.raises(UsageError, match="is a path"):
        keep(runs, name, [make_trace()])
    assert not runs.exists() and [*tmp_path.iterdir()] == []


def test_an_import_never_replaces_a_run(library):
    before = read_traces(library.folder("demo") / "traces.ndjson")
    with pytest.raises(UsageError, match="already a run named demo"):
        keep(library.runs_dir, "demo", [make_trace()])
    assert read_traces(library.folder("demo") / "traces.ndjson") == before


def test_the_endpoints_list_export_and_import(tmp_path):
    gradio_client = pytest.importorskip("gradio_client")
    write_demo(tmp_path)
    app = build_app(tmp_path)
    url = launch(app, prevent_thread_lock=True, quiet=True)[1]
    try:
        client = gradio_client.Client(url, verbose=False)
        rows = client.predict(api_name="/run_summaries")
        assert rows[0]["name"] == "demo" and rows[0]["value"] == 0.6
        text = client.predict(name="demo", kind="ndjson", api_name="/export_run")
        said = client.predict(name="copy", text=text, api_name="/import_traces")
        assert said == "copy: 6 completions, 216 tokens."
        assert client.predict(name="copy", kind="ndjson", api_name="/export_run") == text
        assert client.predict(api_name="/run_summaries")[1]["steps"] in (None, STEPS)
        newer = text.replace("skd-trace/1", "skd-trace/9")
        for name, kind, wanted in (
            ("../x", text, "is a path"),
            ("demo", text, "already a run"),
            ("new", newer, "newer skd_lab"),
            ("new", "{", "the text, line 1|holds no completion"),
        ):
            with pytest.raises(Exception, match=wanted):
                client.predict(name=name, text=kind, api_name="/import_traces")
        assert not (tmp_path / "new").exists()
        with pytest.raises(Exception, match="exported as"):
            client.predict(name="demo", kind="exe", api_name="/export_run")
    finally:
        app.close()
