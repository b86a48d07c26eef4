"""Traces on disk: nothing is lost, nothing outside JSON is written, damage is named by line."""

import json
import math

import pytest
from synthetic import HOSTILE, hostile_trace, make_trace

from skd_lab.errors import DataError, SkdError
from skd_lab.records import Trace, dumps_traces, loads_traces, read_traces, write_traces


def test_a_file_holds_any_number_of_traces(tmp_path):
    traces = [make_trace(step=step, accept_top_k=step + 1) for step in range(3)]
    write_traces(tmp_path / "deep" / "traces.ndjson", traces)
    assert read_traces(tmp_path / "deep" / "traces.ndjson") == traces
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["traces.ndjson"]


def test_writing_replaces_and_appending_adds(tmp_path):
    path = tmp_path / "traces.ndjson"
    write_traces(path, [make_trace(step=1)])
    write_traces(path, [make_trace(step=2)])
    write_traces(path, [make_trace(step=3)], append=True)
    assert [trace.header["step"] for trace in read_traces(path)] == [2, 3]


def test_every_hostile_text_survives_the_disk(tmp_path):
    path = tmp_path / "traces.ndjson"
    write_traces(path, [hostile_trace()])
    (again,) = read_traces(path)
    assert [token["kept"] for token in again.tokens] == HOSTILE * 2
    assert again == hostile_trace()


def test_a_line_is_strict_json_and_ends_only_at_its_newline():
    trace = make_trace([" a\u2028\x85b", "\n"])
    trace.tokens[0].update(kl=math.nan, p_student=-math.inf, student_top=[[1, "x", math.nan]])

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    lines = dumps_traces([trace]).split("\n")
    assert len(lines) == 4 and lines[-1] == ""
    token = json.loads(lines[1], parse_constant=refuse)
    assert token["kl"] is token["p_student"] is token["student_top"][0][2] is None
    assert token["kept"] == " a\u2028\x85b"


def test_a_cut_last_line_is_left_out_and_said():
    text = dumps_traces([make_trace([" a", " b"])])
    notes: list[str] = []
    (trace,) = loads_traces(text[:-20], name="run/traces.ndjson", notes=notes)
    assert [token["kept"] for token in trace.tokens] == [" a"]
    assert notes == ["run/traces.ndjson: line 3 was cut off and is left out."]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1, 2]", "expected an object, got list"),
        ('{"i": 0', "line 2"),
        ("[" * 100_000, "line 2"),
        ('{"i": 0, "source": "student"}', "no kept_id, kept, teacher_rank"),
        (
            '{"i": 0, "source": "student", "kept_id": 1, "kept": "a", "teacher_rank": "1"}',
            "teacher_rank must be a whole number, got '1'",
        ),
    ],
)
def test_a_damaged_line_is_named(line, message):
    head, *tokens = dumps_traces([make_trace([" a"])]).splitlines()
    with pytest.raises(DataError, match=message) as found:
        loads_traces("\n".join([head, line, *tokens]) + "\n", name="t.ndjson", notes=[])
    assert "t.ndjson, line 2" in str(found.value) and found.value.exit_code == 2


def test_no_file_is_a_data_error_and_a_full_disk_none(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="absent.ndjson"):
        read_traces(tmp_path / "absent.ndjson")
    path = tmp_path / "traces.ndjson"
    write_traces(path, [make_trace()])
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(SkdError, match="No space left on device") as found:
        write_traces(path, [make_trace(step=7)])
    assert found.value.exit_code == 1 and path.read_bytes() == before


def test_counters_of_a_hand_made_trace():
    def token(source, rank, discarded=()):
        return {"source": source, "teacher_rank": rank, "discarded": list(discarded)}

    trace = Trace(
        header={},
        tokens=[
            token("student", 1),
            token("teacher", 9, [[1, "a"], [2, "b"]]),
            token("student", 3),
            token("teacher", 0),  # written without a proposal
            token("reference", 0),
        ],
    )
    assert (trace.accepted, trace.replaced, trace.discarded, trace.verified) == (2, 1, 2, 3)
