"""A run as one page: the scores, one prompt before and after training, the curves, the settings."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skd_lab.records import Trace
from skd_lab.runs import Run
from skd_lab.views.curves import curve_svg, open_runs
from skd_lab.views.page import Fragment, escape
from skd_lab.views.strip import boot_script, strip_markup


def render_report(
    runs: Run | str | Path | Sequence[Run | str | Path],
    *,
    title: str | None = None,
    reading: str | None = None,
) -> Fragment:
    """The report of a run, or of several that belong together.

    Args:
        runs: run folders. The strips, the table and the settings are those of the first; runs
            that its table names and that stand beside it (as the demo's rivals do) come along.
        title: plain text; made from the run if None.
        reading: the paragraph under the title, plain text; made from the records if None.

    Returns:
        An object with `save(path)`: a page that needs nothing outside itself.
    """
    opened = open_runs(runs)
    first = opened[0]
    if len(opened) == 1:
        opened = [*_rivals(first), first]
    rows = _rows(opened, first)
    title = title or f"{first.name}: what the student learned"
    reading = _reading(first, rows) if reading is None else reading
    parts = [
        f"<header><h1>{escape(title)}</h1><p>{escape(reading)}</p></header>",
        _table(rows, first),
        _strips(first.traces),
        _curves(opened),
        _settings(opened),
    ]
    return Fragment(
        title,
        f'<div class="skd-report">{"".join(parts)}</div>',
        script=boot_script(),
        text=f"{title}\n{reading}",
        style=STYLE,
    )


def before_and_after(traces: Sequence[Trace]) -> list[Trace]:
    """One prompt's first and last recording: the prompt with most refusals in its first.

    Returns:
        Two traces, or one where a prompt was recorded once, or none.
    """
    by_row: dict[Any, list[Trace]] = {}
    for trace in traces:
        by_row.setdefault(trace.header.get("row"), []).append(trace)
    if not by_row:
        return []
    prompts = [sorted(found, key=lambda t: t.header.get("step") or 0) for found in by_row.values()]
    chosen = max(prompts, key=lambda found: found[0].replaced)
    return chosen if len(chosen) == 1 else [chosen[0], chosen[-1]]


def _rivals(run: Run) -> list[Run]:
    """Runs beside this one that its table names: runs/demo-on_policy_kd beside runs/demo."""
    names = [str(row.get("name", "")) for row in run.table.get("rows", [])]
    folder = run.path.resolve()
    beside = [folder.parent / f"{folder.name}-{Path(name).name}" for name in names if name]
    return [Run(path) for path in beside if (path / "steps.jsonl").exists()]


def _rows(runs: Sequence[Run], first: Run) -> list[dict[str, Any]]:
    """The table's rows: as the run wrote them, else the last evaluation of each run."""
    if first.table.get("rows"):
        return list(first.table["rows"])
    rows = []
    for run in runs:
        for found in run.evals[-1:] if len(runs) > 1 else run.evals:
            name = run.name if len(runs) > 1 else found.get("name") or f"step {found.get('step')}"
            metric, score = next(iter(found.get("metrics", {}).items()), ("", {}))
            rows.append({**found, **score, "name": name, "metric": metric})
    return rows


def _reading(run: Run, rows: Sequence[dict[str, Any]]) -> str:
    """What the records say, in a few sentences."""
    says = []
    by_name = {str(row.get("name")): row for row in rows}
    own = by_name.get(str(run.config.get("method"))) or (rows[-1] if rows else {})
    if _is_number(own.get("value")):
        says.append(
            f"After {len(run.steps)} updates the student trained with {own['name']} has "
            f"{_metric_name(own)} {_percent(own['value'])} on {own.get('n')} held-out prompts"
            + (f" (95% interval {_interval(own)})" if _is_number(own.get("low")) else "")
        )
        start = by_name.get("start", {}).get("value")
        teacher = by_name.get("teacher", {}).get("value")
        says[-1] += f"; it began at {_percent(start)}" if _is_number(start) else ""
        says[-1] += f", and the teacher has {_percent(teacher)}." if _is_number(teacher) else "."
    elif run.steps:
        high, low = _ends(run, "loss")
        says.append(
            f"{len(run.steps)} updates with {run.config.get('method', 'this method')}: the loss "
            f"went from {_number(high, '.3f')} to {_number(low, '.3f')} nats a token."
        )
    before, after = own.get("replacement_rate_at_start"), own.get("replacement_rate")
    if not _is_number(before):
        before, after = _ends(run, "replacement_rate")
    if _is_number(before) and _is_number(after):
        says.append(
            f"The teacher replaced {_percent(before)} of its tokens at the start and "
            f"{_percent(after)} at the end."
        )
    if run.traces:
        says.append(
            "Below, blue tokens are the student's own; where the teacher refused one, it is struck "
            "through and the teacher's token stands beside it."
        )
    return " ".join(says)


def _ends(run: Run, metric: str) -> tuple[float, float]:
    """Means of a metric over the first and the last tenth of the steps; nan if never measured."""
    values = [record.metrics.get(metric, math.nan) for record in run.steps]
    values = [value for value in values if math.isfinite(value)]
    tenth = max(1, len(values) // 10)
    if not values:
        return math.nan, math.nan
    return sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth


def _table(rows: Sequence[dict[str, Any]], run: Run) -> str:
    if not rows:
        return ""
    heads = [
        ("", ""),
        (_metric_name(rows[0]), "95% interval over prompts"),
        ("KL on references", "nats a token"),
        ("KL on own samples", "nats a token"),
        ("replaced by the teacher", "start \u2192 end"),
        ("CPU seconds", "of the updates"),
    ]
    head = "".join(
        f'<th scope="col">{escape(name)}<small>{escape(unit)}</small></th>' for name, unit in heads
    )
    body = "".join(_table_row(row, run) for row in rows)
    setting = escape(run.table.get("setting", ""))
    return (
        '<section><h2>Held-out scores</h2><div class="wide" tabindex="0" role="region" '
        f'aria-label="Held-out scores"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        '<p class="small">KL is KL(teacher || student); own samples are drawn at temperature 1 '
        f"with the same random numbers for every student. {setting}</p></section>"
    )


def _table_row(row: dict[str, Any], run: Run) -> str:
    before, after = row.get("replacement_rate_at_start"), row.get("replacement_rate")
    if _is_number(before) and row.get("cpu_seconds") is not None:
        replaced = f"{_percent(before)} \u2192 {_percent(after)}"
    else:
        replaced = _percent(after)
    cells = [
        _number(row.get("kl_references"), ".3f"),
        _number(row.get("kl_samples"), ".3f"),
        replaced,
        _number(row.get("cpu_seconds"), ".0f"),
    ]
    own = ' class="own"' if row.get("name") == run.config.get("method") else ""
    return (
        f'<tr{own}><th scope="row">{escape(row.get("name", ""))}</th><td>{_score(row)}</td>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
    )


def _score(row: dict[str, Any]) -> str:
    """The value, its interval, and both drawn on a line from 0 to 100%."""
    if not _is_number(row.get("value")):
        return "\u2013"
    text = f"<b>{_percent(row['value'])}</b> <small>{_interval(row)}</small>"
    ends = [row[name] if _is_number(row.get(name)) else row["value"] for name in ("low", "high")]
    value, low, high = (100 * min(1.0, max(0.0, number)) for number in (row["value"], *ends))
    return (
        f'{text}<span class="line" aria-hidden="true"><i style="left:{low:.1f}%;'
        f'width:{high - low:.1f}%"></i><b style="left:{value:.1f}%"></b></span>'
    )


def _strips(traces: Sequence[Trace]) -> str:
    shown = before_and_after(traces)
    if not shown:
        return ""
    strips = "".join(f"<div>{strip_markup([trace])}</div>" for trace in shown)
    heading = "One prompt, before and after" if len(shown) > 1 else "One prompt, token by token"
    return (
        f'<section><h2>{heading}</h2><div class="pair">{strips}</div>'
        '<p class="small">Of the recorded held-out prompts, the one in which most was refused at '
        "first. The random numbers are the same every time: what changes is the student.</p>"
        "</section>"
    )


def _curves(runs: Sequence[Run]) -> str:
    if not any(run.steps for run in runs):
        return ""
    pictures = []
    for metric in ("loss", "replacement_rate"):
        pictures.append(f"<figure>{curve_svg(runs, metric)}</figure>")
    return (
        f'<section><h2>Training</h2><div class="pair">{"".join(pictures)}</div>'
        '<p class="small">Thin: every step; strong: a running mean. Each method writes its own '
        "training text, so losses of two methods are not on one scale.</p></section>"
    )


def _settings(runs: Sequence[Run]) -> str:
    folds = []
    for run in runs:
        text = json.dumps(run.config, indent=2, ensure_ascii=False)
        folds.append(
            f"<details><summary>Settings of {escape(run.name)}</summary>"
            f"<pre>{escape(text)}</pre></details>"
        )
    notes = "".join(f"<p>{escape(note)}</p>" for run in runs for note in run.notes)
    return f'<section class="settings">{notes}{"".join(folds)}</section>'


def _metric_name(row: dict[str, Any]) -> str:
    return str(row.get("metric") or "score").replace("_", "-")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _number(value: Any, form: str) -> str:
    return format(value, form) if _is_number(value) else "\u2013"


def _percent(value: Any) -> str:
    return _number(value, ".1%")


def _interval(row: dict[str, Any]) -> str:
    low, high = row.get("low"), row.get("high")
    if low is None or high is None:
        return ""
    return f"{_number(100 * low, '.1f')}\u2013{_percent(high)}"


STYLE = """
.skd-report { --soft: #5a6774; --rule: #d9dfe6; --mark: #2c68b0; }
.skd-report h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.015em; margin: 0 0 .6rem; }
.skd-report header p { max-width: 68ch; margin: 0; font-size: 1.05rem; }
.skd-report h2 { font-size: 1.15rem; margin: 2.6rem 0 .8rem; letter-spacing: -.01em; }
.skd-report .small, .skd-report small { color: var(--soft); font-size: .82rem; }
.skd-report .small { max-width: 80ch; }
.skd-report .wide { overflow-x: auto; }
.skd-report table { border-collapse: collapse; width: 100%; min-width: 46rem; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
.skd-report th, .skd-report td { text-align: right; padding: .5rem .8rem; white-space: nowrap;
  border-bottom: 1px solid var(--rule); vertical-align: top; }
.skd-report thead th { font-weight: 600; vertical-align: bottom; }
.skd-report thead small { display: block; font-weight: 400; }
.skd-report th:first-child, .skd-report td:nth-child(2), .skd-report thead th:nth-child(2) {
  text-align: left; padding-left: 0; }
.skd-report tbody th { font-weight: 500; }
.skd-report .own > * { font-weight: 700; }
.skd-report .own small { font-weight: 400; }
.skd-report .line { display: block; position: relative; height: 8px; width: 15rem; margin-top: 3px;
  background: linear-gradient(var(--rule), var(--rule)) center / 100% 1px no-repeat; }
.skd-report .line i { position: absolute; top: 3px; height: 2px; background: var(--mark); }
.skd-report .line b { position: absolute; width: 8px; height: 8px; margin-left: -4px;
  border-radius: 50%; background: var(--mark); }
.skd-report .pair { display: grid; gap: 1.6rem 2.4rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); align-items: start; }
.skd-report figure { margin: 0; }
.skd-report svg { width: 100%; height: auto; display: block; }
.skd-report .settings { margin-top: 2.6rem; }
.skd-report summary { cursor: pointer; padding: .2rem 0; }
.skd-report pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem; }
@media (prefers-color-scheme: dark) {
  .skd-report { --soft: #a2afbc; --rule: #323c47; --mark: #6aa7ee; }
}
"""
