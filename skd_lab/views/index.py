"""A folder of runs as one page: what each was, how it ended, and a link to its report."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from skd_lab.errors import UsageError
from skd_lab.runs import Run, list_runs
from skd_lab.views.curves import points, running_mean
from skd_lab.views.page import Fragment, escape
from skd_lab.views.report import progress, source
from skd_lab.views.scores import (
    DASH,
    ends,
    headline,
    interval,
    is_number,
    metric_name,
    number,
    percent,
)

REPORT = "report.html"
"""Name of a run's page in its folder."""

_SPARK = (100, 20)
_HEADS = [
    ("method", ""),
    ("task", ""),
    ("updates", ""),
    ("last loss", "nats a token"),
    ("replaced", "first \u2192 last tenth"),
    ("replacement rate", "over the run"),
    ("held-out score", "last, 95% interval"),
]
_AT_MOST = 60
"""Points of a sparkline."""


def run_summaries(root: str | Path) -> list[dict[str, Any]]:
    """What the page says of every run directly under a folder, by name.

    Args:
        root: folder of run folders. Damaged runs are read as far as they are whole.

    Returns:
        Of each run its name, method, task, steps done and planned, last loss, replacement rate
        first and last, headline score with interval, and notes on damage. None: not measured.

    Raises:
        UsageError: if there is no run under `root`.
    """
    return [_summary(run) for run in _runs(root)]


def render_index(root: str | Path, *, title: str | None = None, at: str | Path = "") -> Fragment:
    """The list of the runs directly under a folder.

    Args:
        root: folder of run folders.
        title: plain text; made from the folder's name if None.
        at: file the page is to be saved as; its links lead from there. In `root` if "".

    Returns:
        An object with `save(path)`: a page that needs nothing outside itself; its links lead to
        report.html of each run.

    Raises:
        UsageError: if there is no run under `root`.
    """
    runs = _runs(root)
    root = Path(root)
    title = title or f"Runs in {root.resolve().name}/"
    start = Path(at).resolve().parent if at else root.resolve()
    summaries = [_summary(run) for run in runs]
    rows = "".join(_row(run, summary, start) for run, summary in zip(runs, summaries, strict=True))
    head = "".join(
        f'<th scope="col">{escape(name)}<small>{escape(unit)}</small></th>'
        for name, unit in [("run", ""), *_HEADS]
    )
    notes = "".join(
        f'<p class="note" role="note">{escape(note)}</p>'
        for one in summaries
        for note in one["notes"]
    )
    count = f"{len(runs)} runs" if len(runs) > 1 else "1 run"
    markup = (
        f"<header><h1>{escape(title)}</h1><p>{count}. Losses of two methods are not on one scale: "
        f"each method writes its own training text.</p></header>{notes}"
        '<div class="wide" tabindex="0" role="region" aria-label="Runs"><table class="runs">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    return Fragment(
        title,
        f'<div class="skd-report">{markup}</div>',
        text="\n".join([title, *(f"{one['name']}: {one['steps']} updates" for one in summaries)]),
        style=source("report.css"),
    )


def _runs(root: str | Path) -> list[Run]:
    runs = [Run(run.path, strict=False) for run in list_runs(root)]
    if not runs:
        raise UsageError(
            f"There is no run in {root}: neither it nor a folder in it holds config.json, "
            "steps.jsonl, traces.ndjson or eval.jsonl. Give a run folder, or the folder the runs "
            "are in."
        )
    return runs


def _summary(run: Run) -> dict[str, Any]:
    done, planned = progress(run)
    first, last = ends(run, "replacement_rate")
    losses = points(run, "loss")[1]
    own = [row for row in run.table.get("rows", []) if isinstance(row, dict)]
    own = [row for row in own if row.get("name") == run.config.get("method")]
    score = own[0] if own else headline(run.evals[-1]) if run.evals else {}
    return {
        "name": run.name,
        "method": run.config.get("method"),
        "task": run.config.get("task"),
        "steps": done,
        "planned": planned,
        "loss": losses[-1] if losses else None,
        "replaced_first": None if math.isnan(first) else first,
        "replaced_last": None if math.isnan(last) else last,
        "metric": score.get("metric"),
        **{key: score.get(key) for key in ("value", "low", "high")},
        "notes": notes_of(run),
    }


def notes_of(run: Run) -> list[str]:
    """The run's notes on damage, each with the run's name."""
    return [note if run.name in note else f"{run.name}/{note}" for note in run.notes]


def _row(run: Run, summary: dict[str, Any], start: Path) -> str:
    link = os.path.relpath(run.path.resolve() / REPORT, start).replace(os.sep, "/")
    planned = summary["planned"]
    updates = f"{summary['steps']:,}" + (
        f" of {planned:,}" if planned is not None and planned != summary["steps"] else ""
    )
    first, last = summary["replaced_first"], summary["replaced_last"]
    replaced = f"{percent(first)} \u2192 {percent(last)}" if is_number(first) else DASH
    score = DASH
    if is_number(summary["value"]):
        score = (
            f"<b>{percent(summary['value'])}</b> <small>{interval(summary)}</small>"
            f" <small>{escape(metric_name(summary))}</small>"
        )
    cells = [
        escape(summary["method"] or DASH),
        escape(summary["task"] or DASH),
        updates,
        number(summary["loss"], ".3f"),
        replaced,
        sparkline(points(run, "replacement_rate")[1]) or DASH,
        score,
    ]
    return (
        f'<tr><th scope="row"><a href="{escape(quote(link))}">{escape(run.name)}</a></th>'
        + "".join(
            f'<td data-label="{name}">{cell}</td>'
            for (name, _), cell in zip(_HEADS, cells, strict=True)
        )
        + "</tr>"
    )


def sparkline(rates: Sequence[float]) -> str:
    """A rate over a run as a small line from 0 to its own highest value; "" for none."""
    if not rates:
        return ""
    means = running_mean(rates, max(1, len(rates) // 12))
    if len(means) > _AT_MOST:
        means = [means[round(n * (len(means) - 1) / (_AT_MOST - 1))] for n in range(_AT_MOST)]
    width, height = _SPARK
    top = max(means) or 1.0
    across = width / max(1, len(means) - 1)
    line = " ".join(
        f"{n * across:.1f},{height - 1 - (height - 2) * value / top:.1f}"
        for n, value in enumerate(means)
    )
    label = f"replacement rate from {percent(means[0])} to {percent(means[-1])}"
    label += f", at most {percent(max(means))}"
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
        f'preserveAspectRatio="none"><path d="M0 {height - 0.5}H{width}" stroke="currentColor" '
        'stroke-width=".6" opacity=".35"/><polyline fill="none" stroke="currentColor" '
        f'stroke-width="1.6" vector-effect="non-scaling-stroke" points="{line}"/></svg>'
    )
