"""Held-out scores of a report: the table, and numbers as words."""

import math
from collections.abc import Sequence
from typing import Any

from skd_lab.runs import Run
from skd_lab.views.page import escape

DASH = "\u2013"


def score_rows(runs: Sequence[Run], first: Run) -> list[dict[str, Any]]:
    """The table's rows: as the run wrote them, else the last evaluation of each run.

    A run alone gives all of its evaluations, in step order.
    """
    if first.table.get("rows"):
        return [row for row in first.table["rows"] if isinstance(row, dict)]
    rows = []
    for run in runs:
        for found in run.evals[-1:] if len(runs) > 1 else run.evals:
            name = run.name if len(runs) > 1 else found.get("name") or f"step {found.get('step')}"
            rows.append({**found, **headline(found), "name": name})
    return rows


def headline(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The first metric of an evaluation: metric, value, low and high; empty if it has none."""
    metrics = evaluation.get("metrics")
    if not isinstance(metrics, dict) or not metrics:
        return {}
    metric, score = next(iter(metrics.items()))
    return {**(score if isinstance(score, dict) else {}), "metric": metric}


def score_table(rows: Sequence[dict[str, Any]], run: Run) -> str:
    """The rows as a table; a column that no row has a number for is left out."""
    two = any(is_number(row.get("replacement_rate_at_start")) for row in rows)
    replaced = "start \u2192 end" if two else "of its tokens"
    columns = [
        ("KL on references", "nats a token", "kl_references", ".3f"),
        ("KL on own samples", "nats a token", "kl_samples", ".3f"),
        ("replaced by the teacher", replaced, "replacement_rate", ".1%"),
        ("length", "tokens", "mean_length", ".1f"),
        ("CPU seconds", "of the updates", "cpu_seconds", ".0f"),
    ]
    columns = [column for column in columns if any(is_number(row.get(column[2])) for row in rows)]
    others = _other_metrics(rows)
    heads = [("model", ""), (metric_name(rows[0]), "95% interval over prompts")]
    heads += [(name.replace("_", "-"), "95% interval") for name in others]
    heads += [(name, unit) for name, unit, *_ in columns]
    head = "".join(
        f'<th scope="col">{escape(name)}<small>{escape(unit)}</small></th>' for name, unit in heads
    )
    own = run.config.get("method")
    body = "".join(
        f'<tr{_own(row, own)}><th scope="row">{escape(row.get("name", ""))}</th>'
        f"<td>{_score(row)}</td>"
        + "".join(f"<td>{_other(row, name)}</td>" for name in others)
        + "".join(f"<td>{_cell(row, key, form)}</td>" for _, _, key, form in columns)
        + "</tr>"
        for row in rows
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Held-out scores"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _own(row: dict[str, Any], method: Any) -> str:
    return ' class="own"' if row.get("name") == method else ""


def _other_metrics(rows: Sequence[dict[str, Any]]) -> list[str]:
    found: dict[str, None] = {}
    for row in rows:
        metrics = row.get("metrics")
        found |= dict.fromkeys(list(metrics)[1:] if isinstance(metrics, dict) else [])
    return list(found)


def _other(row: dict[str, Any], metric: str) -> str:
    score = (row.get("metrics") or {}).get(metric)
    score = score if isinstance(score, dict) else {}
    return f"{percent(score.get('value'))} <small>{interval(score)}</small>"


def _cell(row: dict[str, Any], key: str, form: str) -> str:
    if key != "replacement_rate":
        return number(row.get(key), form)
    before, after = row.get("replacement_rate_at_start"), row.get(key)
    if is_number(before) and row.get("cpu_seconds") is not None:
        return f"{percent(before)} \u2192 {percent(after)}"
    return percent(after)


def _score(row: dict[str, Any]) -> str:
    """The value, its interval, and both drawn on a line from 0 to 100%."""
    if not is_number(row.get("value")):
        return DASH
    text = f"<b>{percent(row['value'])}</b> <small>{interval(row)}</small>"
    ends = [row[name] if is_number(row.get(name)) else row["value"] for name in ("low", "high")]
    value, low, high = (100 * min(1.0, max(0.0, end)) for end in (row["value"], *ends))
    return (
        f'{text}<span class="line" aria-hidden="true"><i style="left:{low:.1f}%;'
        f'width:{high - low:.1f}%"></i><b style="left:{value:.1f}%"></b></span>'
    )


def ends(run: Run, metric: str) -> tuple[float, float]:
    """Means of a metric over the first and the last tenth of the steps; nan if never measured."""
    values = [record.metrics.get(metric, math.nan) for record in run.steps]
    values = [value for value in values if is_number(value)]
    tenth = max(1, len(values) // 10)
    if not values:
        return math.nan, math.nan
    return sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth


def metric_name(row: dict[str, Any]) -> str:
    """As people write it: facts-exact."""
    return str(row.get("metric") or "score").replace("_", "-")


def is_number(value: Any) -> bool:
    """Whether the value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: Any, form: str) -> str:
    """The number in that form, a dash for anything else."""
    return format(value, form) if is_number(value) else DASH


def percent(value: Any) -> str:
    """0.125 as 12.5%."""
    return number(value, ".1%")


def interval(row: dict[str, Any]) -> str:
    """The low and the high end of a score, "" where they are not known."""
    low, high = row.get("low"), row.get("high")
    if not (is_number(low) and is_number(high)):
        return ""
    return f"{number(100 * low, '.1f')}\u2013{percent(high)}"  # type: ignore[operator]
