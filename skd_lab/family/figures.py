"""One kind of figure for all cards: a dot a seed, the mean as a bar, the control hatched."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from skd_lab.family.card import Row, mean_sd, values

INK, METHOD, CONTROL, OTHER = "#1f2328", "#2f6f9f", "#b4552d", "#8a929b"


def bars(
    rows: Sequence[Row],
    metrics: Mapping[str, str],
    *,
    arms: Sequence[str],
    method: str | Sequence[str],
    control: str | Sequence[str],
) -> Figure:
    """Panels side by side, one a metric: an arm a bar (mean), a line (sd), a dot a seed.

    Args:
        rows: of all seeds.
        metrics: key of the rows -> title of its panel, with unit and direction.
        arms: in order, top to bottom.
        method: arms that are the system.
        control: arms that are its control.
    """
    methods = {method} if isinstance(method, str) else set(method)
    controls = {control} if isinstance(control, str) else set(control)
    height = 0.9 + 0.34 * len(arms)
    figure = Figure(figsize=(3.4 * len(metrics) + 1.2, height), layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for panel, (metric, title) in zip(panels, metrics.items(), strict=True):
        seen = []
        for place, arm in enumerate(arms):
            numbers = values(rows, arm, metric)
            if not numbers:
                continue
            mean, sd = mean_sd(numbers)
            colour = METHOD if arm in methods else CONTROL if arm in controls else OTHER
            hatch = "///" if arm in controls else None
            panel.barh(
                place, mean, height=0.62, color=colour, alpha=0.35, hatch=hatch, edgecolor=colour
            )
            panel.errorbar(mean, place, xerr=sd, color=INK, lw=1.2, capsize=3)
            panel.plot(numbers, [place] * len(numbers), ".", color=colour, ms=5)
            seen += [mean - sd, mean + sd, *numbers]
        if seen:
            low, high = min(seen), max(seen)
            margin = 0.15 * ((high - low) or 1.0)
            # a bar that starts at 0 would hide differences of a few percent
            floor = 0.0 if low >= 0 and low < 0.4 * high else low - margin
            panel.set_xlim(floor, high + margin)
        panel.set_title(title, fontsize=9, loc="left", color=INK)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(arms)), arms, fontsize=8)
    panels[0].invert_yaxis()
    for label, arm in zip(panels[0].get_yticklabels(), arms, strict=True):
        if arm in methods:
            label.set_fontweight("bold")
    return figure
