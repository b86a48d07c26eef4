"""The list of what can be opened, and one opened run as a page."""

import threading
from typing import Any

from skd_lab.app.library import Library, Opened
from skd_lab.errors import SkdError, UsageError
from skd_lab.records import loads_traces
from skd_lab.runs import Run
from skd_lab.views import render_report, render_strip, run_summaries
from skd_lab.views.page import Fragment, script_json, visible

DRAWING = threading.Lock()
"""matplotlib's settings are those of the whole process: one page is drawn at a time."""

_COLUMNS = (
    *("name", "method", "task", "steps", "planned", "loss", "replaced_first", "replaced_last"),
    *("metric", "value"),
)


def listed(library: Library) -> list[dict[str, Any]]:
    """A row a run or recording, the one that is opened first in front.

    Returns:
        Of each its name, method, task, updates done ("steps") and planned, last loss, share of
        replaced tokens over the first and the last tenth, and score ("metric", "value"). None:
        not measured.
    """
    summaries: dict[str, dict[str, Any]] = {}
    folders = [library.runs_dir, *([library.run.parent] if library.run else [])]
    for folder in folders:
        try:
            found = run_summaries(folder)
        except UsageError:
            continue  # no run is there
        summaries |= {row["name"]: row for row in found if row["name"] not in summaries}
    rows = []
    for name in library.names():
        row = summaries.get(name) or {"name": name}
        if not row.get("method"):
            row = {**row, **_by_traces(library, name)}
        if not (row.get("steps") or row.get("planned")):
            row = {**row, "steps": None}  # traces alone: nothing is known of updates
        rows.append({key: _plain(row.get(key)) for key in _COLUMNS})
    return rows


def look(library: Library, name: Any) -> Opened:
    """What has this name, read as far as it is whole; the damage is in its notes.

    Raises:
        UsageError: for a name that is not in the list.
    """
    path = library.folder(str(name))
    if path is None:
        return library.open(str(name))
    run = Run(path, strict=False)
    try:
        return Opened(str(name), run.traces, run.notes, run)
    except SkdError as error:
        run.__dict__["traces"] = []
        return Opened(str(name), [], [str(error)], run)


def page_of(opened: Opened) -> Fragment:
    """The run's report, or the strips of a recording that has none.

    Raises:
        UsageError: if there is nothing to show.
    """
    if opened.run is not None:
        with DRAWING:
            return render_report(opened.run)
    if not opened.traces:
        raise UsageError(f"{opened.name} has no recorded completion.")
    return render_strip(opened.traces)


def page_value(page: Fragment) -> str:
    """The value of the component that shows a page inside this one."""
    return script_json({"markup": page.markup, "style": page.style})


def table_value(library: Library) -> str:
    """The value of the table of runs."""
    return script_json(listed(library))


def _by_traces(library: Library, name: str) -> dict[str, Any]:
    """What the header of its first trace says, where there is no configuration."""
    path = library.folder(name)
    try:
        if path is None:
            traces = library.open(name).traces
            return {"method": traces[0].header.get("method")} if traces else {}
        with (path / "traces.ndjson").open(encoding="utf-8") as file:
            return {"method": loads_traces(file.readline())[0].header.get("method")}
    except (OSError, UnicodeDecodeError, SkdError, IndexError):
        return {}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    return value if isinstance(value, int | float) and value == value else None
