"""A comparison's runs over their course: scores over updates and compute, and the texts."""

from operator import itemgetter
from typing import Any

from matplotlib.figure import Figure

from skd_lab.views.curves import Series, draw_series, finish_axes
from skd_lab.views.grid_marks import INK, Rows, drawable, legend, look, panels
from skd_lab.views.grid_table import UNTRAINED, names, title, variant


def plot_grid_curves(rows: Rows) -> Figure:
    """Two panels a group: validation score over updates, and over CPU seconds. Means over runs."""
    found = drawable(rows, budgets=False)
    figure, rows_of_panels = panels(len(found), 2, width=5.2)
    for row, (where, everyone) in zip(rows_of_panels, found, strict=True):
        members = _methods_as_they_are(everyone)
        for axes, x, head, below in zip(
            row,
            ("step", "cpu_seconds"),
            (title(where), "the same over compute"),
            ("optimizer step", "CPU seconds"),
            strict=True,
        ):
            lines = _curve(members, rows, x, "score")
            draw_series(axes, lines, 1)
            finish_axes(axes, head, INK, rate=True)
            axes.set_xlabel(below, fontsize=9, color=INK)
        row[0].set_ylabel("validation score", fontsize=9, color=INK)
        legend(row[-1], lines)
    return figure


def plot_grid_texts(rows: Rows) -> Figure:
    """Three panels a group: tokens the teacher replaced, the teacher's NLL of the text that was
    trained on, and of the student's own samples of validation prompts. Means over the runs.

    The last one is the out-of-distribution measure: text that the teacher finds unlikely is text
    on which it was not trained to teach.
    """
    found = drawable(rows, budgets=False)
    figure, rows_of_panels = panels(len(found), 3, width=4.6)
    for row, (where, everyone) in zip(rows_of_panels, found, strict=True):
        members = _methods_as_they_are(everyone)
        drawn = [
            _series(members, rows, "replaced", itemgetter("replaced")),
            _series(members, rows, "teacher_nll", itemgetter("teacher_nll")),
            _curve(members, rows, "step", "nll_samples"),
        ]
        measured = (
            "tokens replaced",
            "teacher's NLL of text trained on, nats",
            "teacher's NLL of own samples, nats",
        )
        for axes, lines, beside in zip(row, drawn, measured, strict=True):
            draw_series(axes, lines, 1)
            # the title runs over all three: a panel is too narrow for it
            finish_axes(axes, title(where) if axes is row[0] else "", INK, rate=lines is drawn[0])
            axes.set_ylabel(beside, fontsize=9, color=INK)
        legend(row[-1], drawn[2] or drawn[1])
    return figure


def _methods_as_they_are(members: Rows) -> Rows:
    """Without the points of a sweep, which has a picture of its own."""
    plain = [row for row in members if variant(row) == row["method"]]
    return plain if any(row["method"] not in UNTRAINED for row in plain) else members


def _curve(members: Rows, rows: Rows, x: str, y: str) -> list[Series]:
    return _series(
        members, rows, "curve", lambda row: [(point[x], point.get(y)) for point in row["curve"]]
    )


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
        lines.append(Series(name, means[0], means[1], *look(name, rows)))
    return lines
