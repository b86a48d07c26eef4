"""Curves of training: what each step measured, several runs in one picture.

A Figure is returned and nothing is shown or drawn through pyplot, so no state is left behind.
"""

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from skd_lab.runs import Run
from skd_lab.views.page import escape, visible

# dark enough to be words on white; runs differ by dash and by a name at the line, too
COLOURS = ("#b34a00", "#2c68b0", "#00795a", "#a0447c", "#1f7a99", "#8a6100")
DASHES: tuple = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))

LABELS = {
    "loss": "loss (nats a token)",
    "replacement_rate": "tokens the teacher replaced",
    "acceptance_rate": "proposals accepted",
    "grad_norm": "gradient norm, before clipping",
    "lr": "learning rate",
    "mean_length": "completion length (tokens)",
    "student_entropy": "student entropy (nats)",
    "teacher_nll": "teacher's NLL of the text (nats a token)",
    "tokens_per_second": "tokens a second",
}
_DRAWN = 1500
"""Points of a line; a picture has fewer pixels across."""
RATES = {"replacement_rate", "acceptance_rate"}
_INK = "#16202b"
INK_OF_PAGE = "#010203"
"""Stands for the page's own text colour until `figure_svg` puts that in."""


@dataclass(frozen=True)
class Series:
    """One line of a panel."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: str = COLOURS[0]
    dash: Any = "-"


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
    smooth = smoothing(opened) if smooth is None else smooth
    with rc_context({"text.parse_math": False, "text.color": ink}):
        figure = Figure(figsize=(4.6 * len(metrics), 3.1), layout="constrained")
        panels = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            draw_series(axes, run_series(opened, metric), smooth)
            finish_axes(axes, LABELS.get(metric, visible(metric)), ink, rate=metric in RATES)
            name_lines(axes, run_series(opened, metric), smooth)
    return figure


def open_runs(runs: Run | str | Path | Sequence[Run | str | Path]) -> list[Run]:
    """Runs opened; one or many, folders or runs."""
    several = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    return [run if isinstance(run, Run) else Run(run) for run in several]


def smoothing(runs: Sequence[Run]) -> int:
    """Steps of the running mean: a twentieth of the longest run."""
    return max(1, max((len(run.steps) for run in runs), default=0) // 20)


def line_names(runs: Sequence[Run]) -> list[str]:
    """The runs' methods where these tell them apart, else their folders' names."""
    methods = [str(run.config.get("method", "")) for run in runs]
    chosen = methods if len(set(methods)) == len(runs) and all(methods) else [r.name for r in runs]
    plain = [visible(" ".join(name.split())) for name in chosen]
    return [name if len(name) <= 24 else f"{name[:23]}\u2026" for name in plain]


def run_series(runs: Sequence[Run], metric: str) -> list[Series]:
    """A line a run that measured the metric; colour and dash are the run's in every panel."""
    lines = []
    for n, (run, name) in enumerate(zip(runs, line_names(runs), strict=True)):
        steps, values = points(run, metric)
        look = COLOURS[n % len(COLOURS)], DASHES[n % len(DASHES)]
        lines += [Series(name, steps, values, *look)] if steps else []
    return lines


def points(run: Run, metric: str) -> tuple[list[int], list[float]]:
    """Steps and values of what the run measured; both empty if it never did."""
    found = [
        (record.step, value)
        for record in run.steps
        if isinstance(value := record.metrics.get(metric), int | float) and math.isfinite(value)
    ]
    return [step for step, _ in found], [value for _, value in found]


def curve_svg(runs: Sequence[Run], metric: str) -> str:
    """One metric's panel as an SVG element for a page."""
    figure = plot_training(runs, (metric,), ink=INK_OF_PAGE)
    return figure_svg(figure, f"{LABELS.get(metric, metric)}: {', '.join(r.name for r in runs)}")


def figure_svg(figure: Figure, label: str) -> str:
    """The figure as an SVG element for a page; its words take the page's colour and font.

    The colours of COLOURS become CSS variables, --skd-c0 and on, that a dark page may set.

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
    for n, colour in enumerate(COLOURS):
        text = text.replace(colour, f"var(--skd-c{n}, {colour})")
    text = re.sub("<[^>]*>", lambda tag: re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0]), text)
    # the page's font; before matplotlib 3.11 size and family stood in one "font:"
    text = re.sub(r"font: ?((?:bold |700 )?)([\d.]+)px [^;\"]*", r"font: \1\2px system-ui", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", text)
    # a page holds several pictures: no style for all of it, no id twice but the shared ones
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", text)
    width, height = (round(float(size)) for size in re.findall(r'="([\d.]+)pt"', text)[:2])
    return re.sub(
        r"<svg [^>]*>",
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}" '
        'stroke-linejoin="round">',
        text,
        count=1,
    )


def draw_series(axes: Axes, lines: Sequence[Series], smooth: int) -> None:
    """Every value thinly and their centred mean strongly."""
    for line in lines:
        if smooth > 1:
            thin = thinned(line.steps), thinned(line.values)
            axes.plot(*thin, color=line.colour, alpha=0.25, linewidth=0.8)
        axes.plot(
            thinned(line.steps),
            thinned(running_mean(line.values, smooth)),
            color=line.colour,
            linewidth=1.9,
            linestyle=line.dash,
            solid_capstyle="round",
            marker="o" if len(line.steps) == 1 else None,
            markersize=4,
        )


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Mean over a centred window that shrinks at both ends."""
    half, count = width // 2, len(values)
    if half == 0:
        return list(values)
    # sums up to every place: a long run's window is long, too
    sums = [0.0, *accumulate(values)]
    ends = ((max(0, i - half), min(count, i + half + 1)) for i in range(count))
    return [(sums[end] - sums[start]) / (end - start) for start, end in ends]


def thinned(values: Sequence[Any]) -> list[Any]:
    """At most _DRAWN of the values, evenly spaced, the first and the last among them."""
    if len(values) <= _DRAWN:
        return list(values)
    return [values[round(n * (len(values) - 1) / (_DRAWN - 1))] for n in range(_DRAWN)]


def finish_axes(axes: Axes, title: str, ink: str, *, rate: bool = False, size: float = 8.5) -> None:
    """Title, ticks and grid; `rate` writes the values in per cent."""
    axes.set_title(title, fontsize=size + 1.5, loc="left", color=ink)
    axes.set_xlabel("optimizer step", fontsize=size + 0.5, color=ink)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink)
    axes.tick_params(labelsize=size, colors=ink)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color=ink, alpha=0.12, linewidth=0.6)
    axes.set_ylim(bottom=0)
    # plain numbers: the usual formatter writes a common factor where the title stands
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if rate:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=rate_decimals(axes)))
    if not axes.has_data():
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=ink)


def rate_decimals(axes: Axes) -> int:
    """Decimals that the ticks of a rate need to differ."""
    ticks = [tick for tick in axes.get_yticks() if tick > 0]
    return 0 if all(abs(100 * tick - round(100 * tick)) < 1e-6 for tick in ticks) else 1


def name_lines(axes: Axes, lines: Sequence[Series], smooth: int, size: float = 8.5) -> None:
    """Each line's name at its end, moved apart where the ends are close."""
    if not lines:
        return
    ends = [(line, line.steps[-1], running_mean(line.values, smooth)[-1]) for line in lines]
    low, high = axes.get_ylim()
    # a line of words, in units of the axis, which takes about 0.72 of the picture's height
    inches = axes.figure.bbox.height / axes.figure.dpi
    gap = 1.3 * size / (0.72 * 72 * inches) * (high - low)
    at = low - gap / 2  # the lowest name stays clear of the axis
    for line, x, y in sorted(ends, key=lambda end: end[2]):
        at = max(y, at + gap)
        axes.annotate(
            line.name,
            (x, at),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=size,
            va="center",
            color=line.colour,
            fontweight="bold",
            annotation_clip=False,
        )
