"""The pictures of a report: what a run measured, each with words for readers who do not see it.

A picture can be walked: `panels.js` shows the values at a step, by pointer or arrow keys, in all
pictures of the page at once. Without scripts the picture, its words and the table of values stay.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skd_lab.runs import Run
from skd_lab.views.curves import (
    COLOURS,
    DASHES,
    INK_OF_PAGE,
    LABELS,
    RATES,
    Series,
    draw_series,
    figure_svg,
    finish_axes,
    line_names,
    name_lines,
    points,
    run_series,
    running_mean,
    smoothing,
    thinned,
)
from skd_lab.views.page import script_json

LARGE, SMALL = (4.0, 2.7), (3.4, 2.4)
"""Inches of a picture that stands beside one other, or two others."""
_WORDS = 8.0
_AT_MOST = 400
"""Steps a picture can be walked by."""

PHASES = ("draft", "verify", "score", "update")
"""Where an update's seconds go: keys seconds_<phase> of the step records."""


def training_panels(runs: Sequence[Run]) -> list[str]:
    """The pictures of what each step measured, as HTML; those that no run measured are left out.

    Args:
        runs: at least one; several share each picture.
    """
    made = [_lines(runs, metric, LARGE) for metric in ("loss", "replacement_rate")]
    made += [_text_panel(runs)] if len(runs) == 1 else []
    apart = () if len(runs) == 1 else ("student_entropy", "teacher_nll")
    made += [_lines(runs, metric, SMALL) for metric in (*apart, "grad_norm", "lr")]
    made += [_lines(runs, metric, SMALL) for metric in ("tokens_per_second", "mean_length")]
    made += [_seconds(runs[0])] if len(runs) == 1 else []
    return [panel for panel in made if panel]


def evaluation_panels(runs: Sequence[Run]) -> list[str]:
    """Pictures of the held-out evaluations over steps, where a run has two or more of them."""
    runs = [run for run in runs if len(_by_step(run)) > 1]
    if not runs:
        return []
    records = [record for run in runs for _, record in _by_step(run)]
    metrics = list(
        dict.fromkeys(name for record in records for name in record.get("metrics") or ())
    )
    made = [_score(runs, metric) for metric in metrics[:2]]
    for key, title in (
        ("kl_references", "KL on references (nats a token)"),
        ("kl_samples", "KL on own samples (nats a token)"),
        ("replacement_rate", "held-out tokens the teacher replaced"),
    ):
        lines = _eval_series(runs, key)
        if lines:
            rate = key == "replacement_rate"
            made.append(_panel(title, lines, SMALL, rate=rate, marks=True))
    return made


def phase_shares(run: Run) -> dict[str, float]:
    """Share of each phase in the seconds of all updates; empty if they were not measured."""
    totals = {phase: sum(points(run, f"seconds_{phase}")[1]) for phase in PHASES}
    whole = sum(totals.values())
    return {phase: total / whole for phase, total in totals.items()} if whole > 0 else {}


def _lines(runs: Sequence[Run], metric: str, size: tuple[float, float]) -> str:
    title = LABELS[metric]
    several = run_series(runs, metric)
    if not several:
        return ""
    if len(runs) == 1:
        several = [Series("", several[0].steps, several[0].values, _hue(metric))]
    extra = _complement if metric == "replacement_rate" and len(runs) == 1 else None
    smooth = 1 if metric == "lr" else smoothing(runs)
    return _panel(title, several, size, smooth=smooth, rate=metric in RATES, extra=extra)


def _hue(metric: str) -> str:
    """What the teacher did is in its colour, as in the strip; all else in the student's."""
    return COLOURS[0] if metric in ("replacement_rate", "teacher_nll") else COLOURS[1]


def _text_panel(runs: Sequence[Run]) -> str:
    """Student entropy and teacher NLL of the training text, on one scale."""
    lines = []
    for n, (metric, name) in enumerate(
        (("student_entropy", "student"), ("teacher_nll", "teacher"))
    ):
        steps, values = points(runs[0], metric)
        word = "entropy" if n == 0 else "NLL"
        lines += [Series(f"{name} {word}", steps, values, _hue(metric), DASHES[n])] if steps else []
    title = "on the training text (nats a token)"
    return _panel(title, lines, SMALL, smooth=smoothing(runs)) if lines else ""


def _seconds(run: Run) -> str:
    """Seconds an update, stacked by phase."""
    shares = phase_shares(run)
    lines = []
    for phase, hue in zip(PHASES, (1, 0, 3, 2), strict=True):
        if shares.get(phase, 0) >= 0.005:
            steps, values = points(run, f"seconds_{phase}")
            lines.append(Series(f"{phase} {shares[phase]:.0%}", steps, values, COLOURS[hue]))
    if not lines or len({tuple(line.steps) for line in lines}) > 1:
        return ""
    return _panel("seconds an update", lines, SMALL, smooth=smoothing([run]), stacked=True)


def _by_step(run: Run) -> list[tuple[float, dict[str, Any]]]:
    found = {e["step"]: e for e in run.evals if isinstance(e.get("step"), int | float)}
    return sorted(found.items())


def _eval_series(runs: Sequence[Run], *keys: str) -> list[Series]:
    """A line a run: the number that stands under the keys, one inside the other."""

    def value(record: dict[str, Any]) -> Any:
        for key in keys:
            record = record.get(key) if isinstance(record, dict) else None  # type: ignore
        return record

    lines = []
    for n, (run, name) in enumerate(zip(runs, line_names(runs), strict=True)):
        found = [
            (step, number)
            for step, record in _by_step(run)
            if isinstance(number := value(record), int | float) and math.isfinite(number)
        ]
        colour = COLOURS[1] if len(runs) == 1 else COLOURS[n % len(COLOURS)]
        if found:
            steps, values = zip(*found, strict=True)
            name = "" if len(runs) == 1 else name
            lines.append(Series(name, steps, values, colour, DASHES[n % len(DASHES)]))
    return lines


def _score(runs: Sequence[Run], metric: str) -> str:
    def part(key: str) -> list[Series]:
        return _eval_series(runs, "metrics", metric, key)

    lines, lows, highs = part("value"), part("low"), part("high")

    def intervals(axes: Axes) -> None:
        if [len(x.steps) for x in lows] != [len(x.steps) for x in lines] or len(lows) != len(highs):
            return
        for n, (line, low, high) in enumerate(zip(lines, lows, highs, strict=True)):
            # beside each other where several runs were evaluated at the same steps
            shift = 0.008 * axes.get_xlim()[1] * (n - (len(lines) - 1) / 2)
            at = [step + shift for step in line.steps]
            axes.vlines(at, low.values, high.values, color=line.colour, linewidth=1.3)
        axes.set_ylim(0, min(1.0, 1.08 * max(max(high.values) for high in highs)))

    title = f"{metric.replace('_', '-')}, 95% intervals"
    return _panel(title, lines, LARGE, rate=True, marks=True, extra=intervals)


def _complement(axes: Axes) -> None:
    """The other side of the same number on the right: every proposal was replaced or accepted."""
    right = axes.secondary_yaxis("right", functions=(_rest, _rest))
    right.set_yticks([1 - float(tick) for tick in axes.get_yticks()])
    right.yaxis.set_major_formatter(axes.yaxis.get_major_formatter())
    right.tick_params(labelsize=_WORDS, colors=INK_OF_PAGE)
    right.spines["right"].set_visible(False)
    right.set_ylabel("accepted", fontsize=_WORDS, color=INK_OF_PAGE)


def _rest(rate: Any) -> Any:
    return 1 - rate


def _panel(
    title: str,
    lines: Sequence[Series],
    size: tuple[float, float],
    *,
    smooth: int = 1,
    rate: bool = False,
    marks: bool = False,
    stacked: bool = False,
    extra: Callable[[Axes], None] | None = None,
) -> str:
    """A picture, what it says in words, and the values it can be walked by."""
    with rc_context({"text.parse_math": False, "text.color": INK_OF_PAGE}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        if stacked:
            _stack(axes, lines, smooth)
        else:
            draw_series(axes, lines, smooth)
        for line in lines if marks else ():
            axes.plot(line.steps, line.values, "o", color=line.colour, markersize=4)
        axes.set_xlim(0, max(line.steps[-1] for line in lines) * 1.01 or 1)
        finish_axes(axes, title, INK_OF_PAGE, rate=rate, size=_WORDS)
        if extra:
            extra(axes)
        if not stacked:
            name_lines(axes, [line for line in lines if line.name], smooth, _WORDS)
        label = f"{title}. " + " ".join(_says(line, rate) for line in lines)
        svg = figure_svg(figure, label)
    box = axes.get_position()
    width, height = (72 * inches for inches in size)
    data = {
        "box": [box.x0 * width, (1 - box.y1) * height, box.x1 * width, (1 - box.y0) * height],
        "x": list(axes.get_xlim()),
        "rate": rate,
        **_values(lines, stacked),
    }
    shape = "half" if size == LARGE else "third"
    return (
        f'<figure class="panel {shape}">{svg}'
        f'<script type="application/json">{script_json(data)}</script></figure>'
    )


def _stack(axes: Axes, lines: Sequence[Series], smooth: int) -> None:
    under = [0.0] * len(lines[0].steps)
    tops = []
    for line in lines:
        means = running_mean(line.values, smooth)
        over = [a + b for a, b in zip(under, means, strict=True)]
        # the colour mixed with what is behind it leaves the words on it readable in light and dark
        steps, low, high = thinned(line.steps), thinned(under), thinned(over)
        axes.fill_between(steps, low, high, color=line.colour, alpha=0.45, linewidth=0)
        axes.plot(steps, high, color=line.colour, linewidth=1.2)
        middle = [(a + b) / 2 for a, b in zip(under, over, strict=True)]
        tops.append(Series(line.name, line.steps, middle, line.colour))
        under = over
    axes.set_ylim(0, 1.05 * max(under))
    name_lines(axes, tops, 1, _WORDS)


def _values(lines: Sequence[Series], first_word: bool = False) -> dict[str, Any]:
    """At most _AT_MOST steps and, a line, the value at each or None."""
    steps = sorted({step for line in lines for step in line.steps})
    if len(steps) > _AT_MOST:
        steps = [steps[round(n * (len(steps) - 1) / (_AT_MOST - 1))] for n in range(_AT_MOST)]
    found = []
    for line in lines:
        known = dict(zip(line.steps, line.values, strict=True))
        values = [float(f"{known[step]:.4g}") if step in known else None for step in steps]
        name = line.name.split()[0] if first_word else line.name
        found.append({"name": name, "values": values})
    return {"steps": steps, "lines": found}


def _says(line: Series, rate: bool) -> str:
    """First, last, lowest and highest value of a line."""

    def at(index: int) -> str:
        value = line.values[index]
        return f"{f'{value:.1%}' if rate else f'{value:.3g}'} at step {line.steps[index]}"

    order = sorted(range(len(line.values)), key=line.values.__getitem__)
    lead = f"{line.name}: " if line.name else ""
    if len(order) == 1:
        return f"{lead}{at(0)}."
    return f"{lead}{at(0)}, {at(-1)}; lowest {at(order[0])}, highest {at(order[-1])}."
