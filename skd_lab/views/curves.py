"""Curves of training: what each step measured, several runs in one picture.

A Figure is returned and nothing is shown or drawn through pyplot, so no state is left behind.
"""

import io
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from skd_lab.runs import Run
from skd_lab.views.page import escape, visible

# Okabe and Ito's palette without its yellow; runs differ by dash and by a name at the line, too
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES: tuple = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))

LABELS = {
    "loss": "loss (nats a token)",
    "replacement_rate": "tokens the teacher replaced",
    "acceptance_rate": "proposals accepted",
    "grad_norm": "gradient norm",
    "mean_length": "completion length (tokens)",
    "student_entropy": "student entropy (nats)",
    "teacher_nll": "teacher's NLL of the text (nats a token)",
    "tokens_per_second": "tokens a second",
}
_RATES = {"replacement_rate", "acceptance_rate"}
_INK = "#16202b"


def plot_training(
    runs: Run | str | Path | Sequence[Run | str | Path],
    metrics: Sequence[str] = ("loss", "replacement_rate"),
    *,
    smooth: int | None = None,
    ink: str = _INK,
) -> Figure:
    """One panel a metric, one line a run, over optimizer steps.

    Args:
        runs: run folders, or runs already opened.
        metrics: keys of the step records.
        smooth: steps of the centred mean that is drawn strongly; a twentieth of the longest run
            if None. The values themselves stay visible behind it.
        ink: colour of axes and words.

    Returns:
        The figure. A run that did not measure a metric has no line in its panel.
    """
    opened = open_runs(runs)
    longest = max((len(run.steps) for run in opened), default=0)
    smooth = max(1, longest // 20) if smooth is None else smooth
    names = line_names(opened)
    with rc_context({"text.parse_math": False, "text.color": ink}):
        figure = Figure(figsize=(4.6 * len(metrics), 3.1), layout="constrained")
        panels = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            ends = [
                end
                for n, run in enumerate(opened)
                if (end := _line(axes, run, metric, smooth, n)) is not None
            ]
            _finish(axes, metric, ink)
            _name_lines(axes, [(names[n], n, x, y) for n, x, y in ends])
    return figure


def open_runs(runs: Run | str | Path | Sequence[Run | str | Path]) -> list[Run]:
    """Runs opened; one or many, folders or runs."""
    several = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    return [run if isinstance(run, Run) else Run(run) for run in several]


def line_names(runs: Sequence[Run]) -> list[str]:
    """The runs' methods where these tell them apart, else their folders' names."""
    methods = [str(run.config.get("method", "")) for run in runs]
    chosen = methods if len(set(methods)) == len(runs) and all(methods) else [r.name for r in runs]
    plain = [visible(" ".join(name.split())) for name in chosen]
    return [name if len(name) <= 24 else f"{name[:23]}\u2026" for name in plain]


def curve_svg(runs: Sequence[Run], metric: str) -> str:
    """One metric's panel as an SVG element for a page."""
    figure = plot_training(runs, (metric,), ink=INK_OF_PAGE)
    return figure_svg(figure, f"{LABELS.get(metric, metric)}: {', '.join(r.name for r in runs)}")


def figure_svg(figure: Figure, label: str) -> str:
    """The figure as an SVG element for a page; its words take the page's colour and font.

    Args:
        figure: from `plot_training(..., ink=INK_OF_PAGE)`.
        label: what the picture shows, for readers who do not see it.
    """
    buffer = io.BytesIO()
    # a fixed salt and no date: the same records give the same file
    with warnings.catch_warnings(), rc_context({"svg.fonttype": "none", "svg.hashsalt": "skd_lab"}):
        # the reader's fonts draw the words, so a glyph that is missing here is no loss
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = text.replace(INK_OF_PAGE, "currentColor")
    text = re.sub(r"font: ?([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    width, height = (round(float(size)) for size in re.findall(r'="([\d.]+)pt"', text)[:2])
    return re.sub(
        r"<svg [^>]*>",
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">',
        text,
        count=1,
    )


INK_OF_PAGE = "#010203"
"""Stands for the page's own text colour until `figure_svg` puts that in."""


def _line(
    axes: Axes, run: Run, metric: str, smooth: int, n: int
) -> tuple[int, float, float] | None:
    points = [
        (record.step, value)
        for record in run.steps
        if math.isfinite(value := record.metrics.get(metric, math.nan))
    ]
    if not points:
        return None
    steps, values = zip(*points, strict=True)
    colour = COLOURS[n % len(COLOURS)]
    means = _running_mean(values, smooth)
    if smooth > 1:
        axes.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
    dash = DASHES[n % len(DASHES)]
    axes.plot(steps, means, color=colour, linewidth=1.9, linestyle=dash, solid_capstyle="round")
    return n, steps[-1], means[-1]


def _running_mean(values: Sequence[float], width: int) -> list[float]:
    """Mean over a centred window that shrinks at both ends."""
    half = width // 2
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _finish(axes: Axes, metric: str, ink: str) -> None:
    axes.set_title(LABELS.get(metric, visible(metric)), fontsize=10, loc="left", color=ink)
    axes.set_xlabel("optimizer step", fontsize=9, color=ink)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink)
    axes.tick_params(labelsize=8.5, colors=ink)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color=ink, alpha=0.12, linewidth=0.6)
    axes.set_ylim(bottom=0)
    if metric in _RATES:
        decimals = 0 if axes.get_ylim()[1] > 0.04 else 1
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))
    if not axes.lines:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=ink)


def _name_lines(axes: Axes, ends: Sequence[tuple[str, int, float, float]]) -> None:
    """Each line's name at its end, moved apart where the ends are close."""
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    at = low - gap / 2  # the lowest name stays clear of the axis
    for name, n, x, y in sorted(ends, key=lambda end: end[3]):
        at = max(y, at + gap)
        axes.annotate(
            name,
            (x, at),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=8.5,
            va="center",
            color=COLOURS[n % len(COLOURS)],
            fontweight="bold",
            annotation_clip=False,
        )
