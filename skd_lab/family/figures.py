"""One kind of figure for all cards: a dot a seed, mean and sd; bars only where they begin at 0."""

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from skd_lab.family.card import Row, mean_sd, values

INK, METHOD, CONTROL, OTHER = "#1f2328", "#2f6f9f", "#b4552d", "#8a929b"


def bars(
    rows: Sequence[Row],
    metrics: Mapping[str, str],
    *,
    arms: Sequence[str],
    method: str | Sequence[str],
    control: str | Sequence[str],
    across: int | None = None,
) -> Figure:
    """Panels side by side, one a metric: an arm a mark (mean), a line (sd), a dot a seed.

    Args:
        rows: of all seeds.
        metrics: key of the rows -> title of its panel, with unit and direction.
        arms: in order, top to bottom.
        method: arms that are the system.
        control: arms that are its control.
        across: how many panels stand in a line; all if None. Fill the lines.
    """
    methods = {method} if isinstance(method, str) else set(method)
    controls = {control} if isinstance(control, str) else set(control)
    height = 0.9 + 0.34 * len(arms)
    across = across or len(metrics)
    lines = -(-len(metrics) // across)
    figure = Figure(figsize=(3.4 * across + 1.2, lines * height), layout="constrained")
    panels = figure.subplots(lines, across, sharey=True, squeeze=False).flatten()
    for panel, (metric, title) in zip(panels, metrics.items(), strict=True):
        found = {arm: values(rows, arm, metric) for arm in arms}
        low, high = _span(found.values())
        margin = 0.15 * ((high - low) or 1.0)
        # from 0 on, differences of a few percent would not be seen
        from_zero = 0 <= low < 0.4 * high
        for place, (arm, numbers) in enumerate(found.items()):
            if not numbers:
                continue
            mean, sd = mean_sd(numbers)
            colour = METHOD if arm in methods else CONTROL if arm in controls else OTHER
            if from_zero:
                hatch = "///" if arm in controls else None
                style = {"color": colour, "alpha": 0.35, "hatch": hatch, "edgecolor": colour}
                panel.barh(place, mean, height=0.62, **style)
            else:
                panel.axhline(place, color="#e6e8ea", lw=6, zorder=0)
            panel.errorbar(mean, place, xerr=sd, color=INK, lw=1.2, capsize=3)
            panel.plot(mean, place, "s" if arm in controls else "D", color=colour, ms=7)
            panel.plot(numbers, [place] * len(numbers), ".", color=INK, ms=4, alpha=0.6)
        panel.set_xlim(0.0 if from_zero else low - margin, high + margin)
        panel.set_title(title, fontsize=9, loc="left", color=INK)
        panel.xaxis.set_major_locator(MaxNLocator(5))
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(arms)), arms, fontsize=8)
    panels[0].set_ylim(len(arms) - 0.4, -0.6)
    for first in panels[::across]:
        for label, arm in zip(first.get_yticklabels(), arms, strict=True):
            if arm in methods:
                label.set_fontweight("bold")
    return figure


def _span(groups: Iterable[Sequence[float]]) -> tuple[float, float]:
    """The smallest and the largest thing that is drawn."""
    seen = [0.0, 1.0]
    groups = [numbers for numbers in groups if numbers]
    if groups:
        ends = [mean_sd(numbers) for numbers in groups]
        seen = [number for numbers in groups for number in numbers]
        seen += [mean + side * sd for mean, sd in ends for side in (-1, 1)]
    return min(seen), max(seen)
