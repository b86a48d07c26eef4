"""A comparison's rows made into tables: scores with intervals, paired differences, cost."""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from skd_lab.metrics import crossed_bootstrap
from skd_lab.views.scores import interval, number, percent

BASELINE = "skd"
WHERE = ("family", "task", "teacher", "prompts", "start", "learning_rate", "steps", "budget")
"""Axes that make a group: methods are compared inside one."""
_MODELS = ("family", "task", "teacher")
UNTRAINED = ("start", "teacher")
SETTINGS = {
    "accept_top_k": "K",
    "replacement": "replacement",
    "objective": "objective",
    "beta": "beta",
    "on_policy_fraction": "fraction",
    "loss_temperature": "temperature",
}
"""Axes that make another line of one group, with the word for it."""
COLUMNS = (
    *WHERE,
    *("name", "runs", "n", "metric", "value", "low", "high"),
    *("minus_baseline", "minus_low", "minus_high", "p", "kl_references", "kl_samples"),
    *("nll_samples", "replacement_rate", "draft_acceptance", "draft_expected", "draft_z"),
    *("tokens_per_block", "mean_length", "updates", "completion_tokens", "student_tokens"),
    *("teacher_tokens", "cpu_seconds", "at_equal_compute", "chosen_rate", "failed", "error"),
)
"""Of the CSV. Rates and scores in [0, 1], KL and NLL in nats per token, seconds of CPU."""


def grid_table(rows: Sequence[Mapping[str, Any]], baseline: str = BASELINE) -> list[dict[str, Any]]:
    """One row for each method and setting of a group, over its seeds.

    Args:
        rows: of results.jsonl.
        baseline: the name that the others are compared with, on the seeds that both have.

    Returns:
        Rows with the keys COLUMNS, groups one after the other; what was not measured is None.
        `value`, `low` and `high` are of the headline score over seeds and prompts;
        `minus_baseline` is positive where the row is better than the baseline, `p` its two-sided
        p-value. `at_equal_compute` is the validation score when as many CPU seconds were spent as
        the group's cheapest method with a teacher took in all, read off the learning curve.
    """
    table = []
    for where, members in groups(rows):
        by_name = {
            name: [row for row in members if variant(row) == name] for name in names(members)
        }
        budget = None if where["budget"] else _budget(by_name)
        base = _scores(by_name.get(baseline, []))
        for name, found in by_name.items():
            compared = base if name != baseline else {}
            table.append({**_row(name, found, compared, budget), **where})
    return table


def groups(
    rows: Sequence[Mapping[str, Any]],
) -> list[tuple[dict[str, Any], list[Mapping[str, Any]]]]:
    """Rows that are compared with one another, with what they share; a group needs a trained row.

    The student before training and the teacher stand in every group they belong to, the baseline
    also in that of the runs that were given its CPU seconds.
    """
    trained = [row for row in rows if row["method"] not in UNTRAINED]
    found = []
    for place in dict.fromkeys(_place(row) for row in trained):
        where = dict(zip(WHERE, place, strict=True))
        before = [
            row
            for row in rows
            if row["method"] in UNTRAINED
            and all(row.get(axis) == where[axis] for axis in _MODELS)
            and row.get("start", where["start"]) == where["start"]
        ]
        inside = [row for row in trained if _place(row) == place]
        if where["budget"]:
            usual = tuple({**where, "budget": None}.values())
            inside += [r for r in trained if _place(r) == usual and variant(r) == BASELINE]
        start = [row for row in before if row["method"] == "start"]
        found.append((where, [*start, *inside, *(r for r in before if r["method"] == "teacher")]))
    return found


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(axis) for axis in WHERE)


def variant(row: Mapping[str, Any]) -> str:
    """A method with its own settings: skd, or skd K=5."""
    settings = [
        f"{word}={row[axis]}" for axis, word in SETTINGS.items() if row.get(axis) is not None
    ]
    return " ".join([row["method"], *settings])


def names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The variants of a group, in the order they come."""
    return list(dict.fromkeys(variant(row) for row in rows))


def title(where: Mapping[str, Any]) -> str:
    """What a group shares, in words."""
    words = [f"{where['task']}, {where['prompts']} prompts", f"start {where['start']}"]
    if where.get("family"):
        words.insert(0, where["family"])
    if where.get("teacher"):
        words.append(f"teacher {where['teacher']}")
    if where.get("learning_rate"):
        words.append(f"learning rate {where['learning_rate']:g}")
    words += [f"{where['steps']} updates"] if where.get("steps") else []
    return ", ".join(words + (["equal CPU seconds"] if where.get("budget") else []))


def to_markdown(table: Sequence[Mapping[str, Any]], baseline: str = BASELINE) -> str:
    """A table a group, for people: per cent with 95% intervals."""
    parts = []
    for _, group in groupby(table, key=_place):
        rows = list(group)
        metric = next((row["metric"] for row in rows if row["metric"]), "score").replace("_", "-")
        head = (
            f"| | runs | {metric} | minus {baseline} | p | KL on references | KL on own samples "
            "| replaced | as draft | updates | CPU seconds | at equal compute |"
        )
        lines = [f"### {title(rows[0])}", "", head]
        lines.append("|---|" + "---:|" * (head.count("|") - 2))
        lines += [_line(row, baseline) for row in rows]
        if rates := [f"{r['name']} {r['chosen_rate']:g}" for r in rows if r["chosen_rate"]]:
            lines += ["", f"Learning rates, chosen on validation prompts: {', '.join(rates)}."]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def to_csv(table: Sequence[Mapping[str, Any]]) -> str:
    """The table as CSV with the columns COLUMNS; nothing stands for what was not measured."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\r\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(dict(row) for row in table)
    return file.getvalue()


_DRAFT = {
    "draft_acceptance": "acceptance_rate",
    "draft_expected": "expected_acceptance",
    "draft_z": "z",
    "tokens_per_block": "tokens_per_block",
}


def _scores(rows: Sequence[Mapping[str, Any]]) -> dict[Any, list[float]]:
    """Scores of each seed."""
    return {row.get("seed"): row["scores"] for row in rows if row["status"] == "done"}


def _row(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    base: Mapping[Any, list[float]],
    budget: float | None,
) -> dict[str, Any]:
    done = [row for row in rows if row["status"] == "done"]
    made: dict[str, Any] = dict.fromkeys(COLUMNS)
    made |= {"name": name, "runs": len(done), "failed": len(rows) - len(done)}
    made["error"] = next((row["error"] for row in rows if row["status"] != "done"), None)
    if not done:
        return made
    mean, low, high, _ = crossed_bootstrap([row["scores"] for row in done], seed=0)
    made |= {"n": done[0]["n"], "metric": done[0]["metric"]}
    made |= {"value": mean, "low": low, "high": high}
    if shared := [seed for seed in _scores(done) if seed in base]:
        own = _scores(done)
        differences = [np.subtract(own[seed], base[seed]) for seed in shared]
        made |= dict(
            zip(
                ("minus_baseline", "minus_low", "minus_high", "p"),
                crossed_bootstrap(np.array(differences), seed=0),
                strict=True,
            )
        )
    means = ("kl_references", "kl_samples", "nll_samples", "replacement_rate", "mean_length")
    costs = ("updates", "completion_tokens", "student_tokens", "teacher_tokens", "cpu_seconds")
    for key in (*means, *costs):
        made[key] = _mean([row.get(key) for row in done])
    for key, name in _DRAFT.items():
        made[key] = _mean([(row.get("draft") or {}).get(name) for row in done])
    made["chosen_rate"] = done[0].get("chosen_rate")
    if budget is not None:
        made["at_equal_compute"] = _mean([score_at(row.get("curve"), budget) for row in done])
    return made


def _budget(by_name: Mapping[str, Sequence[Mapping[str, Any]]]) -> float | None:
    """CPU seconds of the cheapest method with a teacher."""
    costs = [
        _mean([row.get("cpu_seconds") for row in rows if row["status"] == "done"])
        for rows in by_name.values()
        if rows[0]["method"] not in (*UNTRAINED, "sft")
    ]
    known = [cost for cost in costs if cost is not None]
    return min(known) if len(known) > 1 else None


def score_at(curve: Sequence[Mapping[str, float]] | None, budget: float) -> float | None:
    """The score of a learning curve when so many CPU seconds were spent, on the line between two
    evaluations; the last one where it ended before."""
    if not curve:
        return None
    spent = [point["cpu_seconds"] for point in curve]
    return float(np.interp(budget, spent, [point["score"] for point in curve]))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _line(row: Mapping[str, Any], baseline: str) -> str:
    if not row["runs"]:
        return f"| {row['name']} | 0 | failed: {str(row['error']).replace('|', ' ')} |" + " |" * 9
    minus = ""
    if row["minus_baseline"] is not None:
        ends = f"{100 * row['minus_low']:+.1f} to {100 * row['minus_high']:+.1f}"
        minus = f"{100 * row['minus_baseline']:+.1f} [{ends}]"
    cells = [
        row["name"] + (f" ({row['failed']} failed)" if row["failed"] else ""),
        str(row["runs"]),
        f"{percent(row['value'])} [{interval(dict(row))}]",
        minus,
        p_value(row["p"]),
        *(_plain(row[key], ".3f") for key in ("kl_references", "kl_samples")),
        *(_percent(row[key]) for key in ("replacement_rate", "draft_acceptance")),
        *(_plain(row[key], ".0f") for key in ("updates", "cpu_seconds")),
        _percent(row["at_equal_compute"]),
    ]
    return f"| {' | '.join(cells)} |"


def _plain(value: float | None, form: str) -> str:
    return "" if value is None else number(value, form)


def _percent(value: float | None) -> str:
    return "" if value is None else percent(value)


def p_value(p: float | None) -> str:
    """The bootstrap cannot tell smaller ones apart."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.0015 else f"{p:.3f}"
