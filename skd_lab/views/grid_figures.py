"""A comparison's rows as figures: scores, learning curves, sweeps, cost. Returned, never shown."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skd_lab.views.curves import COLOURS, DASHES, Series, draw_series, finish_axes
from skd_lab.views.grid_table import (
    SETTINGS,
    UNTRAINED,
    grid_table,
    groups,
    names,
    title,
    variant,
)

Rows = Sequence[Mapping[str, Any]]
_INK = "#16202b"
_GREY = "#6b7280"
PHASES = {
    "seconds_draft": "student writes",
    "seconds_verify": "teacher verifies",
    "seconds_score": "both score",
    "seconds_update": "loss and update",
}


def plot_grid_scores(rows: Rows) -> Figure:
    """A panel a group: each method's score with its 95% interval, and every run as a point."""
    found = _drawable(rows)
    figure, panels = _panels([[where] for where, _ in found], width=6.4)
    for (axes,), (where, members) in zip(panels, found, strict=True):
        table = [row for row in grid_table(members) if row["runs"]]
        for place, row in enumerate(reversed(table)):
            colour = _look(row["name"], rows)[0]
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.2)
            axes.plot(row["value"], place, "o", color=colour, markersize=7)
            runs = [r for r in members if variant(r) == row["name"] and r["status"] == "done"]
            each = [sum(run["scores"]) / len(run["scores"]) for run in runs]
            axes.plot(each, [place] * len(each), "|", color=_INK, markersize=9, alpha=0.6)
        axes.set_yticks(range(len(table)), [row["name"] for row in reversed(table)])
        axes.set_ylim(-0.6, len(table) - 0.4)
        metric = table[0]["metric"].replace("_", "-")
        _finish(axes, f"{metric}: {title(where)}", "score, with 95% interval; ticks: runs")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(axis="x", color=_INK, alpha=0.12, linewidth=0.6)
    return figure


def plot_grid_curves(rows: Rows) -> Figure:
    """A row of panels a group: validation score over updates, the same over CPU seconds, tokens
    the teacher replaced, and the teacher's NLL of the text trained on. Means over the runs.
    """
    found = _drawable(rows)
    figure, panels = _panels([range(4)] * len(found), width=4.4)
    for row, (where, everyone) in zip(panels, found, strict=True):
        # a sweep has a picture of its own; here the methods as they are
        plain = [r for r in everyone if variant(r) == r["method"]]
        members = plain if any(r["method"] not in UNTRAINED for r in plain) else everyone
        score = [_curve(members, rows, axis) for axis in ("step", "cpu_seconds")]
        heads = ["validation score", "validation score over compute"]
        for axes, lines, head, below in zip(
            row, score, heads, ("optimizer step", "CPU seconds"), strict=False
        ):
            draw_series(axes, lines, 1)
            finish_axes(
                axes, f"{head}: {title(where)}" if axes is row[0] else head, _INK, rate=True
            )
            axes.set_xlabel(below, fontsize=9)
        for axes, key, head in zip(
            row[2:],
            ("replaced", "teacher_nll"),
            ("tokens the teacher replaced", "teacher's NLL of the text (nats a token)"),
            strict=True,
        ):
            lines = _series(members, rows, key, itemgetter(key))
            draw_series(axes, lines, 1)
            finish_axes(axes, head, _INK, rate=key == "replaced")
        _legend(row[-1], score[0])
    return figure


def plot_grid_sweep(rows: Rows, axis: str = "accept_top_k") -> Figure | None:
    """Score over the values of an axis, with 95% intervals; None if no group has two of them."""
    chosen = []
    for where, members in _drawable(rows):
        swept = [row for row in members if row.get(axis) is not None]
        if len({row[axis] for row in swept}) > 1:
            chosen.append((where, members, swept))
    if not chosen:
        return None
    figure, panels = _panels([[where] for where, *_ in chosen], width=5.6)
    for (axes,), (where, members, swept) in zip(panels, chosen, strict=True):
        values = list(dict.fromkeys(row[axis] for row in swept))
        values.sort(key=lambda value: (isinstance(value, str), value))
        table = {row["name"]: row for row in grid_table(swept)}
        for n, method in enumerate(dict.fromkeys(row["method"] for row in swept)):
            points = [
                (place, table[variant(row)])
                for place, value in enumerate(values)
                for row in swept
                if row["method"] == method and row[axis] == value and table[variant(row)]["runs"]
            ]
            look = {"color": COLOURS[n % len(COLOURS)], "linestyle": DASHES[n % len(DASHES)]}
            at = [place for place, _ in points]
            axes.plot(at, [row["value"] for _, row in points], marker="o", label=method, **look)
            for place, row in points:
                axes.plot([place] * 2, [row["low"], row["high"]], color=look["color"], alpha=0.5)
        for line in grid_table(members):
            if line["name"] in ("supervised_kd", "on_policy_kd", "start") and line["runs"]:
                axes.axhline(line["value"], color=_GREY, linewidth=0.8, linestyle=":")
                axes.annotate(
                    line["name"], (0, line["value"]), fontsize=8, color=_GREY, va="bottom"
                )
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        _finish(axes, title(where), SETTINGS.get(axis, axis))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.legend(frameon=False, fontsize=8.5)
    return figure


def plot_grid_cost(rows: Rows) -> Figure:
    """A panel a group: seconds an update of each method takes, by what they are spent on."""
    found = _drawable(rows)
    figure, panels = _panels([[where] for where, _ in found], width=6.4)
    for (axes,), (where, members) in zip(panels, found, strict=True):
        kinds = [name for name in names(members) if name not in UNTRAINED]
        for place, name in enumerate(reversed(kinds)):
            done = [r for r in members if variant(r) == name and r["status"] == "done"]
            left = 0.0
            for n, (key, words) in enumerate(PHASES.items()):
                spent = sum(r[key] / r["updates"] for r in done) / len(done) if done else 0.0
                label = words if place == 0 else None
                axes.barh(place, spent, left=left, color=COLOURS[n], label=label, height=0.6)
                left += spent
        axes.set_yticks(range(len(kinds)), list(reversed(kinds)))
        _finish(axes, title(where), "seconds an update")
        axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _drawable(rows: Rows) -> list[tuple[dict[str, Any], list]]:
    """Groups in which something was trained."""
    return [
        (where, members)
        for where, members in groups(rows)
        if any(r["status"] == "done" and r["method"] not in UNTRAINED for r in members)
    ]


def _panels(shape: Sequence[Sequence[Any]], width: float) -> tuple[Figure, list[list[Axes]]]:
    columns = max((len(row) for row in shape), default=1)
    figure = Figure(figsize=(width * columns, 3.2 * max(1, len(shape))), layout="constrained")
    if not shape:
        figure.text(0.5, 0.5, "nothing was trained yet", ha="center", color=_INK)
        return figure, []
    return figure, [list(row) for row in figure.subplots(len(shape), columns, squeeze=False)]


def _legend(axes: Axes, lines: Sequence[Series]) -> None:
    """Which line is which, beside the panel: ends of lines lie too close for names there."""
    handles = [
        Line2D([], [], color=line.colour, linestyle=line.dash, linewidth=1.9, label=line.name)
        for line in lines
    ]
    axes.legend(handles=handles, frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))


def _finish(axes: Axes, head: str, below: str) -> None:
    axes.set_title(head, fontsize=10, loc="left", color=_INK)
    axes.set_xlabel(below, fontsize=9, color=_INK)
    axes.tick_params(labelsize=8.5, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)


def _look(name: str, rows: Rows) -> tuple[str, Any]:
    """Colour and dash of a variant: the same in every panel of a figure."""
    if name in UNTRAINED:
        return _GREY, ":"
    place = [other for other in names(rows) if other not in UNTRAINED].index(name)
    return COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]


def _curve(members: Rows, rows: Rows, x: str) -> list[Series]:
    return _series(members, rows, "curve", lambda row: [(p[x], p["score"]) for p in row["curve"]])


def _series(members: Rows, rows: Rows, key: str, points: Any) -> list[Series]:
    """A line a variant: the mean of its runs, point by point; looks as in all of the rows."""
    lines = []
    for name in names(members):
        runs = [points(r) for r in members if variant(r) == name and r.get(key)]
        known = [[p for p in run if p[1] is not None] for run in runs]
        count = min((len(run) for run in known), default=0)
        if not count:
            continue
        means = [
            [sum(run[n][part] for run in known) / len(known) for n in range(count)]
            for part in (0, 1)
        ]
        lines.append(Series(name, means[0], means[1], *_look(name, rows)))
    return lines
