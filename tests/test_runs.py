"""A run folder: what is written survives a kill, what is damaged is named by file and line."""

import json
import math
from pathlib import Path

import pytest
from synthetic import make_trace

from skd_lab.errors import DataError, SkdError, UsageError
from skd_lab.files import (
    append_jsonl,
    read_json,
    read_jsonl,
    replace_folder,
    write_json_atomic,
    write_text_atomic,
)
from skd_lab.records import dumps_traces, loads_traces, read_traces, write_traces
from skd_lab.runs import Run, list_runs


def test_write_text_atomic_replaces_whole_and_leaves_no_temporary(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    write_text_atomic(target, "one\n")
    write_text_atomic(target, "two é\n")
    assert target.read_bytes() == "two é\n".encode()
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    write_text_atomic(target, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skd_lab.files.os.fsync", full)
    with pytest.raises(SkdError, match="No space left on device.*Free some space"):
        write_text_atomic(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_json_lines_round_trip_and_nan_is_null(tmp_path):
    path = tmp_path / "steps.jsonl"
    append_jsonl(path, {"step": 1, "loss": math.nan, "text": "a\u2028b"})
    append_jsonl(path, {"step": 2, "loss": 0.5})
    assert path.read_text().splitlines(keepends=False)[0].startswith('{"step": 1, "loss": null')
    assert read_jsonl(path) == [
        {"step": 1, "loss": None, "text": "a\u2028b"},
        {"step": 2, "loss": 0.5},
    ]


@pytest.mark.parametrize("tail", [b'{"step": 3, "lo', b'{"text": "\xc3', b"[1, 2"])
def test_a_cut_last_line_is_left_out_and_said_and_the_next_append_removes_it(tmp_path, tail):
    path = tmp_path / "steps.jsonl"
    append_jsonl(path, {"step": 1})
    with path.open("ab") as file:
        file.write(tail)
    notes = []
    assert read_jsonl(path, notes=notes) == [{"step": 1}]
    assert notes == ["steps.jsonl: line 2 was cut off and is left out."]
    with pytest.raises(DataError, match="steps.jsonl, line 2"):
        read_jsonl(path, tolerate_truncated_tail=False)
    append_jsonl(path, {"step": 2})
    assert read_jsonl(path, tolerate_truncated_tail=False) == [{"step": 1}, {"step": 2}]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "steps.jsonl"
    path.write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(DataError, match=r"steps.jsonl, line 2: not a JSON object"):
        read_jsonl(path)
    path.write_bytes(b'{"a": 1}\n{"b": "\xff"}\n{"c": 1}\n')
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        read_jsonl(path)


def test_a_complete_but_wrong_last_line_is_no_cut_tail(tmp_path):
    path = tmp_path / "steps.jsonl"
    path.write_text('{"step": 1}\n{"step": \n')
    with pytest.raises(DataError, match="line 2"):
        read_jsonl(path)


def test_replace_folder_puts_the_new_one_in_place(tmp_path):
    for name, text in (("new", "2"), ("target", "1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(text)
    replace_folder(tmp_path / "new", tmp_path / "target")
    assert (tmp_path / "target" / "weights").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def _write_run(folder: Path) -> Path:
    write_json_atomic(folder / "config.json", {"method": "skd", "accept_top_k": 3})
    for step in (1, 2, 3, 2):
        append_jsonl(folder / "steps.jsonl", {"step": step, "loss": 1 / step, "grad_norm": None})
    append_jsonl(folder / "eval.jsonl", {"step": 3, "n": 50})
    write_traces(folder / "traces.ndjson", [make_trace(step=0)], append=True)
    write_traces(folder / "traces.ndjson", [make_trace(step=3)], append=True)
    return folder


def test_a_run_reads_its_parts(tmp_path):
    run = Run(_write_run(tmp_path / "demo"))
    assert (run.name, run.config["accept_top_k"]) == ("demo", 3)
    assert [record.step for record in run.steps] == [1, 2, 3]
    assert run.steps[0].metrics["loss"] == 1.0 and math.isnan(run.steps[0].metrics["grad_norm"])
    assert [trace.header["step"] for trace in run.traces] == [0, 3]
    assert run.evals == [{"step": 3, "n": 50}]
    assert (run.table, run.notes) == ({}, [])


def test_a_killed_run_opens_and_says_what_was_cut(tmp_path):
    folder = _write_run(tmp_path / "demo")
    for name in ("steps.jsonl", "traces.ndjson"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-9])
    run = Run(folder)
    assert len(run.traces[-1].tokens) == len(make_trace().tokens) - 1
    assert len(run.steps) == 3 and len(run.notes) == 2
    write_traces(folder / "traces.ndjson", [make_trace(step=9)], append=True)
    assert [t.header["step"] for t in read_traces(folder / "traces.ndjson")] == [0, 3, 9]


def test_list_runs_finds_run_folders_only(tmp_path):
    _write_run(tmp_path / "b")
    _write_run(tmp_path / "a")
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("x")
    assert [run.name for run in list_runs(tmp_path)] == ["a", "b"]
    assert list_runs(tmp_path / "absent") == []


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_no_run_there_is_a_usage_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="run folder"):
        Run(tmp_path / name)


def test_read_json_names_the_file(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match="config.json: not JSON"):
        read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(DataError, match="config.json: expected a JSON object"):
        read_json(tmp_path / "config.json")


def test_traces_round_trip_and_counters_add_up():
    traces = [make_trace(), make_trace(step=5)]
    again = loads_traces(dumps_traces(traces))
    assert again == traces
    trace = again[0]
    assert trace.verified == len(trace.tokens) == trace.accepted + trace.replaced
    refused = [token for token in trace.tokens if token["teacher_rank"] > 3]
    assert trace.replaced == len(refused) == trace.discarded > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[1:], "line 1: a token comes before any header"),
        (lambda lines: [lines[0], "{", *lines[1:]], "line 2: not a trace record"),
        (
            lambda lines: [json.dumps({"schema": "skd-trace/9"}), *lines[1:]],
            "line 1.*skd-trace/9.*reads 'skd-trace/1'",
        ),
        (lambda lines: [lines[0], '{"i": 0, "kept": "a"}'], "line 2.*no source, kept_id"),
    ],
)
def test_a_damaged_trace_file_names_the_line(change, message):
    lines = dumps_traces([make_trace()]).splitlines()
    with pytest.raises(DataError, match=message):
        loads_traces("\n".join(change(lines)) + "\n")
