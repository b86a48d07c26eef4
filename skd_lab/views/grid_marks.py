"""What the figures of a comparison share: panels, legends, a look for every method."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skd_lab.views.curves import COLOURS, DASHES, Series
from skd_lab.views.grid_table import UNTRAINED, WHERE, grid_table, groups, names

Rows = Sequence[Mapping[str, Any]]
INK = "#16202b"
GREY = "#6b7280"
MANY = 3
"""Groups that stand below one another; more of them take two columns."""


def drawable(rows: Rows, *, budgets: bool = True) -> list[tuple[dict[str, Any], list]]:
    """Groups in which something was trained; without those of equal CPU seconds if asked."""
    return [
        (where, members)
        for where, members in groups(rows)
        if any(r["status"] == "done" and r["method"] not in UNTRAINED for r in members)
        and (budgets or not where["budget"])
    ]


def swept_over(rows: Rows, axis: str) -> list[tuple[dict[str, Any], list, list]]:
    """What shares all but one axis and has two values on it: where, all of its rows, and those
    with a value."""
    found: dict[tuple[Any, ...], tuple[dict[str, Any], list[Any]]] = {}
    for where, members in drawable(rows):
        key = tuple(value for name, value in where.items() if name != axis)
        found.setdefault(key, (where, []))[1].extend(members)
    chosen = []
    for where, members in found.values():
        swept = [row for row in members if row.get(axis) is not None]
        if len({row[axis] for row in swept}) > 1:
            chosen.append((where, members, swept))
    return chosen


def table_of(where: Mapping[str, Any], members: Rows) -> list[dict[str, Any]]:
    """The table's rows of one group; its members may stand in another one, too."""
    table = grid_table(members)
    return [row for row in table if all(row[axis] == where[axis] for axis in WHERE)]


def panels(
    rows: int, columns: int, width: float, heights: Sequence[float] | None = None
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with rows of panels; one that says so if there is none. Sizes are in inches."""
    heights = heights or [3.2] * rows
    figure = Figure(figsize=(width * columns, sum(heights) or 3.2), layout="constrained")
    if not rows:
        figure.text(0.5, 0.5, "nothing was trained yet", ha="center", color=INK)
        return figure, []
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    return figure, [list(row) for row in grid]


def list_panels(lines: Sequence[int], width: float) -> tuple[Figure, list[Axes]]:
    """A panel for each list of so many lines, in two columns where they are many."""
    columns = 2 if len(lines) > MANY else 1
    rows = [lines[place : place + columns] for place in range(0, len(lines), columns)]
    heights = [list_height(max(row)) for row in rows]
    figure, found = panels(len(rows), columns, width, heights)
    axes = [each for row in found for each in row]
    for empty in axes[len(lines) :]:
        empty.remove()
    return figure, axes[: len(lines)]


def list_height(lines: int) -> float:
    """Inches of a panel with a list."""
    return 1.1 + 0.24 * lines


def legend(axes: Axes, lines: Sequence[Series]) -> None:
    """Which line is which, beside the panel: ends of lines lie too close for names there."""
    handles = [
        Line2D([], [], color=line.colour, linestyle=line.dash, linewidth=1.9, label=line.name)
        for line in lines
    ]
    axes.legend(handles=handles, frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))


def finish(axes: Axes, head: str, below: str) -> None:
    """Title, ticks and the words under the axis."""
    axes.set_title(head, fontsize=10, loc="left", color=INK)
    axes.set_xlabel(below, fontsize=9, color=INK)
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)


def list_names(axes: Axes, kinds: Sequence[str]) -> None:
    """The rows of a panel from the top: one line a name."""
    axes.set_yticks(range(len(kinds)), list(reversed(kinds)))
    axes.set_ylim(-0.6, len(kinds) - 0.4)
    axes.grid(axis="x", color=INK, alpha=0.12, linewidth=0.6)


def look(name: str, rows: Rows) -> tuple[str, Any]:
    """Colour and dash of a variant: the same in every panel of a figure."""
    if name in UNTRAINED:
        return GREY, ":"
    # first the methods as they are, then those with a setting: few of them share a panel
    others = sorted((n for n in names(rows) if n not in UNTRAINED), key=lambda other: "=" in other)
    place = others.index(name)
    return COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
