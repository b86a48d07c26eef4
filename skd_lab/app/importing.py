"""Traces from elsewhere: read with care, kept as a run folder of this app, handed out as files."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from skd_lab.app.library import Opened
from skd_lab.app.train_ask import run_name
from skd_lab.errors import DataError, UsageError
from skd_lab.records import (
    REFERENCE,
    STUDENT,
    TEACHER,
    TRACE_SCHEMA,
    Trace,
    dumps_traces,
    read_traces,
    write_traces,
)
from skd_lab.runs import good_traces
from skd_lab.views import render_report, render_strip, traces_to_csv

MAX_BYTES = 20_000_000
"""Of a file that is imported."""

KINDS = {
    "ndjson": "records (NDJSON)",
    "csv": "table (CSV)",
    "html": "strips (HTML)",
    "report": "report (HTML)",
}
"""What a run is handed out as. NDJSON and the page of strips can be imported again."""

_SCHEMA = re.compile(r'^\s*\{\s*"schema"\s*:\s*"skd-trace/(\d+)"', flags=re.M)


def read_upload(path: str | Path, name: str) -> tuple[list[Trace], list[str]]:
    """Traces of a file that somebody brought.

    Args:
        path: where it lies.
        name: what its owner calls it; for messages.

    Returns:
        Its traces, and what was wrong with the file, in sentences. Of a damaged file the part
        that can be read.

    Raises:
        UsageError: if it is too large, of a newer version, or holds no trace.
        DataError: if nothing in it can be read; names the line.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UsageError(
            f"{name} has {size / 1e6:.1f} MB; at most {MAX_BYTES / 1e6:.0f} MB are taken. Import "
            "fewer traces at once."
        )
    start = path.read_bytes()
    text = start.decode("utf-8", errors="replace")
    newest = max((int(found) for found in _SCHEMA.findall(text)), default=1)
    if newest > int(TRACE_SCHEMA.rpartition("/")[2]):
        raise UsageError(
            f"{name} was written by a newer skd_lab (schema skd-trace/{newest}; this one reads "
            f"{TRACE_SCHEMA}). Update skd_lab and import it again."
        )
    notes: list[str] = []
    try:
        if text.lstrip()[:1] == "<":
            traces = read_traces(path)
        else:
            traces = good_traces(path, notes)
    except DataError as error:
        raise DataError(str(error).replace(str(path), name)) from error
    notes = [note.replace(str(path), name).replace(path.name, name) for note in notes]
    traces = [trace for trace in traces if trace.tokens]
    if not traces:
        raise UsageError(
            f"{name} holds no completion. Import what Export or skd-lab wrote: NDJSON with a line "
            f'that holds "schema": "{TRACE_SCHEMA}", then a line a token.'
        )
    for n, trace in enumerate(traces, start=1):
        check_trace(trace, f"{name}, trace {n}")
    return traces, notes


def check_trace(trace: Trace, where: str) -> None:
    """What views rely on; a field that is missing gets its usual value.

    Raises:
        DataError: for a value that cannot be; names the token and the field.
    """
    for key in ("run", "prompt", "completion", "method", "label", "note", "student", "teacher"):
        if not isinstance(trace.header.get(key, ""), str | None):
            raise DataError(f"{where}: {key} in its header is no text. Repair that line.")
    for key in ("step", "row", "gamma", "vocab_size"):
        _require(where, "header", key, trace.header.get(key), _whole)
    policies = trace.header.get("policies", {})
    if not (isinstance(policies, dict) and _known_k(trace.header.get("accept_top_k"))):
        raise DataError(f"{where}: its header has no K that can be read. Repair that line.")
    for place, token in enumerate(trace.tokens):
        usual = {"i": place, "block": -1, "discarded": []}
        usual |= {"proposed_id": token["kept_id"], "proposed": token["kept"]}
        token |= {key: value for key, value in usual.items() if token.get(key) is None}
        for key, holds in _FIELDS.items():
            _require(where, f"token {place}", key, token.get(key), holds)


def keep(runs_dir: Path, name: Any, traces: Sequence[Trace]) -> Path:
    """Keep imported traces as a run folder.

    Raises:
        UsageError: if the name is a path or no plain word, or taken.
        SkdError: if the disk does not take it.
    """
    folder = runs_dir / run_name(name)
    if folder.exists():
        raise UsageError(f"There is already a run named {folder.name}. Give another name.")
    write_traces(folder / "traces.ndjson", traces)
    return folder


def export(opened: Opened, kind: Any) -> tuple[str, str]:
    """A run as a file.

    Args:
        opened: what is handed out.
        kind: one of KINDS.

    Returns:
        A name for the file, and its text.

    Raises:
        UsageError: for an unknown kind, or a run that has none of that.
    """
    if kind not in KINDS:
        raise UsageError(f"A run cannot be exported as {kind!r}. Use one of {', '.join(KINDS)}.")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", opened.name).strip("-.") or "run"
    if kind == "report":
        if opened.run is None:
            raise UsageError(f"{opened.name} is a recording and has no report. Export its strips.")
        return f"{stem}-report.html", render_report(opened.run).page()
    if not opened.traces:
        raise UsageError(f"{opened.name} has no recorded completion to export.")
    makers: dict[str, Callable[[Sequence[Trace]], str]] = {
        "ndjson": dumps_traces,
        "csv": traces_to_csv,
        "html": lambda traces: render_strip(list(traces), opened.name).page(),
    }
    return f"{stem}.{kind}", makers[kind](opened.traces)


def _whole(value: Any) -> bool:
    return value is None or (type(value) is int and abs(value) < 2**53)  # exact in a browser too


def _id(value: Any) -> bool:
    return value is not None and _whole(value)


def _known_k(value: Any) -> bool:
    several = value if isinstance(value, list) else [] if value is None else [value]
    return all(_id(k) and k >= 1 for k in several)


def _number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _hex(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not re.search("[^0-9a-f]", value))


def _rows(value: Any) -> bool:
    rows = [] if value is None else value
    return isinstance(rows, list) and all(
        isinstance(row, list) and len(row) >= 2 and _whole(row[0]) and _text(row[1]) for row in rows
    )


def _draw(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and _whole(value.get("id")) and _text(value.get("text"))
    )


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "source": (STUDENT, TEACHER, REFERENCE).__contains__,
    **dict.fromkeys(("kept", "proposed"), _text),
    **dict.fromkeys(("i", "kept_id", "proposed_id", "teacher_rank", "block"), _id),
    **dict.fromkeys(("kept_bytes", "proposed_bytes"), _hex),
    **dict.fromkeys(
        ("p_student", "p_teacher", "proposed_p_student", "proposed_p_teacher"), _number
    ),
    **dict.fromkeys(("kl", "entropy_student", "entropy_teacher", "u_student"), _number),
    **dict.fromkeys(("student_top", "teacher_top", "discarded"), _rows),
    "teacher_draw": _draw,
}


def _require(where: str, what: str, key: str, value: Any, holds: Callable[[Any], bool]) -> None:
    if not holds(value):
        shown = repr(value)[:60]
        raise DataError(f"{where}, {what}: {key} cannot be {shown}. Repair that line.")
