"""The tables of README.md from the rows in results/: `python results/readme_tables.py` makes them.

No number in them is typed by hand; tests/test_results.py makes them again.
"""

from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from skd_lab.results import read_results
from skd_lab.views import grid_table
from skd_lab.views.grid_table import BASELINE, WHERE, title

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
METHODS = ("start", "sft", "supervised_kd", "on_policy_kd", "imit_kd", "skd")
Row = Mapping[str, Any]


def quick() -> str:
    """Methods below one another: score, and what it is more or less than skd."""
    groups = _groups("quick")
    names = [f"{where['task']}, {where['prompts']} prompts" for where, _ in groups]
    lines = [
        f"| | {' | '.join(f'{name} | minus {BASELINE}' for name in names)} |",
        "|---|" + "---:|" * (2 * len(names)),
    ]
    for method in (*METHODS, "teacher"):
        cells = [cell for _, rows in groups for cell in _cells(rows.get(method))]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(row: Row | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    ends = f" [{100 * row['low']:.0f}–{100 * row['high']:.0f}]" if row["low"] < 1 else ""
    minus = ""
    if row["minus_baseline"] is not None and row["name"] != "teacher":
        low, high = (100 * row[key] for key in ("minus_low", "minus_high"))
        minus = f"{100 * row['minus_baseline']:+.1f} [{low:+.1f} to {high:+.1f}]"
    return f"{row['value']:.1%}{ends}", minus


def paper() -> str:
    """Settings below one another, a column a method; a triangle where its difference from skd has
    an interval without 0."""
    lines = [f"| | {' | '.join(METHODS)} | runs |", "|---|" + "---:|" * (len(METHODS) + 1)]
    for where, rows in _groups("paper"):
        cells = [_marked(rows.get(name)) for name in METHODS]
        lines.append(f"| {title(where)} | {' | '.join(cells)} | {_runs(rows)} |")
    return "\n".join(lines)


def _marked(row: Row | None) -> str:
    if row is None or not row["runs"]:
        return ""
    mark = ""
    if row["minus_baseline"] is not None and row["name"] != "start":
        mark = " ▲" if row["minus_low"] > 0 else " ▼" if row["minus_high"] < 0 else ""
    return f"{100 * row['value']:.1f}{mark}"


def _runs(rows: Mapping[str, Row]) -> str:
    counts = sorted({rows[name]["runs"] for name in METHODS[1:] if name in rows})
    return " or ".join(map(str, counts))


def _groups(name: str) -> list[tuple[Row, dict[str, Row]]]:
    """What a group shares, and its rows by name."""
    table = grid_table(read_results(HERE / name))
    parts = groupby(table, key=lambda row: [row[axis] for axis in WHERE])
    found = [list(part) for _, part in parts]
    return [(rows[0], {row["name"]: row for row in rows}) for rows in found]


TABLES: Mapping[str, Callable[[], str]] = {"quick": quick, "paper": paper}


def filled(text: str) -> str:
    """README.md with every table as it should be, between its two marks."""
    for name, table in TABLES.items():
        begin, end = f"<!-- results/{name} -->\n", f"\n<!-- end of results/{name} -->"
        before, rest = text.split(begin)
        text = before + begin + table() + end + rest.split(end)[1]
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"Written: {README}")
