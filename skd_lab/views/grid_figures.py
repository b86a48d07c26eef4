"""A comparison's rows as figures, returned, never shown: scores, differences, drafts, cost."""

import math
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from skd_lab.views.curves import COLOURS
from skd_lab.views.grid_marks import (
    INK,
    Rows,
    drawable,
    finish,
    list_height,
    list_names,
    list_panels,
    look,
    panels,
    swept_over,
    table_of,
)
from skd_lab.views.grid_table import (
    BASELINE,
    SETTINGS,
    UNTRAINED,
    grid_table,
    names,
    p_value,
    title,
    variant,
)

PHASES = {
    "seconds_draft": "text is written",
    "seconds_verify": "teacher verifies",
    "seconds_score": "both score",
    "seconds_update": "loss and update",
}
LEVELS = ("supervised_kd", "on_policy_kd", "start")
TOKENS = {"student_tokens": "student draws", "teacher_tokens": "teacher draws"}


def plot_grid_scores(rows: Rows) -> Figure:
    """A panel a group: each method's score with its 95% interval, and every run as a point. The
    teacher's is below, as the others would have no room beside it."""
    found = []
    for where, members in drawable(rows):
        table = [row for row in table_of(where, members) if row["runs"]]
        best = [row["value"] for row in table if row["name"] == "teacher"]
        table = [row for row in table if row["name"] != "teacher"]
        found.append((where, members, table, f"; teacher {best[0]:.1%}" if best else ""))
    figure, panel_of = list_panels([len(table) for _, _, table, _ in found], width=6.4)
    for axes, (where, members, table, teacher) in zip(panel_of, found, strict=True):
        for place, row in enumerate(reversed(table)):
            colour = look(row["name"], rows)[0]
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.2)
            axes.plot(row["value"], place, "o", color=colour, markersize=7)
            runs = [r for r in members if variant(r) == row["name"] and r["status"] == "done"]
            each = [sum(run["scores"]) / len(run["scores"]) for run in runs]
            axes.plot(each, [place] * len(each), "|", color=INK, markersize=9, alpha=0.6)
        list_names(axes, [row["name"] for row in table])
        metric = table[0]["metric"].replace("_", "-")
        finish(axes, title(where), f"{metric}, with 95% interval; ticks: runs{teacher}")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def plot_grid_differences(rows: Rows) -> Figure | None:
    """A panel a group: each method minus the baseline on the same seeds, prompts and uniforms,
    with 95% interval and p-value. None if nothing can be compared with the baseline."""
    found = [
        (where, [r for r in table_of(where, members) if r["minus_baseline"] is not None])
        for where, members in drawable(rows)
    ]
    found = [(where, table) for where, table in found if table]
    if not found:
        return None
    figure, panel_of = list_panels([len(table) for _, table in found], width=6.8)
    for axes, (where, table) in zip(panel_of, found, strict=True):
        axes.axvline(0, color=INK, linewidth=0.9)
        for place, row in enumerate(reversed(table)):
            colour = look(row["name"], rows)[0]
            ends = [100 * row["minus_low"], 100 * row["minus_high"]]
            axes.plot(ends, [place, place], color=colour, linewidth=2.2)
            axes.plot(100 * row["minus_baseline"], place, "o", color=colour, markersize=7)
            axes.annotate(
                f"p {'' if p_value(row['p']).startswith('<') else '= '}{p_value(row['p'])}",
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8.5,
                color=INK,
            )
        list_names(axes, [row["name"] for row in table])
        finish(axes, title(where), f"points minus {BASELINE}, paired; left of 0: {BASELINE} better")
    return figure


def plot_grid_drafts(rows: Rows) -> Figure | None:
    """A panel a group: how much of a student's draft its teacher keeps under the lossless rule
    (point: counted; tick: 1 - TV at the same prefixes), with tokens a teacher's forward. None if
    it was not measured."""
    found = [
        (where, [r for r in table_of(where, members) if r["draft_acceptance"] is not None])
        for where, members in drawable(rows)
    ]
    found = [(where, table) for where, table in found if table]
    if not found:
        return None
    figure, panel_of = list_panels([len(table) for _, table in found], width=6.8)
    for axes, (where, table) in zip(panel_of, found, strict=True):
        before = next((r["draft_acceptance"] for r in table if r["name"] == "start"), None)
        for place, row in enumerate(reversed(table)):
            colour = look(row["name"], rows)[0]
            if before is not None:
                axes.plot([before, row["draft_acceptance"]], [place] * 2, color=colour, alpha=0.4)
            axes.plot(row["draft_acceptance"], place, "o", color=colour, markersize=7)
            axes.plot(row["draft_expected"], place, "|", color=INK, markersize=13)
            axes.annotate(
                f"{row['tokens_per_block']:.2f} tokens a block",
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8.5,
                color=INK,
            )
        list_names(axes, [row["name"] for row in table])
        finish(axes, f"as draft: {title(where)}", "proposals accepted; tick: 1 - total variation")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def plot_grid_sweep(rows: Rows, axis: str = "accept_top_k") -> Figure | None:
    """A panel for what shares all but one axis: score over its values, with 95% intervals; level
    lines are methods that have no value on it. None if nothing has two values."""
    chosen = swept_over(rows, axis)
    if not chosen:
        return None
    figure, rows_of_panels = panels(len(chosen), 1, width=7)
    for (axes,), (where, members, swept) in zip(rows_of_panels, chosen, strict=True):
        values = list(dict.fromkeys(row[axis] for row in swept))
        values.sort(key=lambda value: (isinstance(value, str), value))
        methods = list(dict.fromkeys(row["method"] for row in swept))
        for number, method in enumerate(methods):
            aside = 0.04 * (number - (len(methods) - 1) / 2)
            points = [
                (place + aside, row)
                for place, value in enumerate(values)
                if (row := _point(swept, method, axis, value)) is not None
            ]
            colour, dash = look(method, rows) if method in names(rows) else (COLOURS[0], "-")
            # a schedule is no point of the line that the numbers make
            numbers = [
                row["value"] if not isinstance(row["at"], str) else math.nan for _, row in points
            ]
            places = [place for place, _ in points]
            axes.plot(places, numbers, color=colour, linestyle=dash, label=method)
            for place, row in points:
                axes.plot(place, row["value"], "o", color=colour, markersize=5)
                axes.plot([place] * 2, [row["low"], row["high"]], color=colour, alpha=0.5)
        for line in table_of(where, members):
            if line["name"] in LEVELS and line["name"] not in methods and line["runs"]:
                colour, dash = look(line["name"], rows)
                axes.axhline(
                    line["value"], color=colour, linewidth=1.2, linestyle=dash, label=line["name"]
                )
        axes.set_xticks(range(len(values)), [str(value).replace(":", ":\n") for value in values])
        head = title({key: value for key, value in where.items() if key != axis})
        finish(axes, head, SETTINGS.get(axis, axis.replace("_", " ")))
        axes.set_ylabel(swept[0]["metric"].replace("_", "-"), fontsize=9, color=INK)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _point(swept: Rows, method: str, axis: str, value: Any) -> dict[str, Any] | None:
    """The table's row of one method at one value."""
    here = [row for row in swept if row["method"] == method and row[axis] == value]
    table = [row for row in grid_table(here) if row["runs"]] if here else []
    return {**table[0], "at": value} if table else None


def plot_grid_cost(rows: Rows) -> Figure:
    """Two panels a group: seconds an update of each method takes, by what they are spent on, and
    tokens an update draws from student and teacher."""
    found = drawable(rows, budgets=False)
    kinds_of = [[name for name in names(rows) if name not in UNTRAINED] for _, rows in found]
    # the legend stands above
    heights = [0.6 + list_height(len(kinds)) for kinds in kinds_of]
    figure, rows_of_panels = panels(len(found), 2, 5.6, heights)
    for row, (where, members), kinds in zip(rows_of_panels, found, kinds_of, strict=True):
        parts = ((PHASES, "seconds on the clock an update"), (TOKENS, "tokens drawn an update"))
        for axes, (keys, below) in zip(row, parts, strict=True):
            for place, name in enumerate(reversed(kinds)):
                done = [r for r in members if variant(r) == name and r["status"] == "done"]
                left = 0.0
                for n, (key, words) in enumerate(keys.items()):
                    each = [(r.get(key) or 0.0) / r["updates"] for r in done]
                    spent = sum(each) / len(each) if each else 0.0
                    label = words if place == 0 else None
                    axes.barh(place, spent, left=left, color=COLOURS[n], label=label, height=0.6)
                    left += spent
            list_names(axes, kinds)
            finish(axes, title(where) if keys is PHASES else "", below)
            axes.legend(
                frameon=False, fontsize=8.5, loc="lower left", bbox_to_anchor=(0, 1.06), ncols=2
            )
            axes.title.set_position((0, 1.2))
    return figure
