"""Statistics of recorded completions as small pictures: the teacher's ranks, the draft blocks."""

from collections import Counter
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from skd_lab.records import Trace
from skd_lab.views.curves import INK_OF_PAGE, figure_svg
from skd_lab.views.redecide import acceptance_by_k, largest_k

# read on white and on a dark page
ACCEPTED_BLUE, REFUSED_BROWN = "#3f7fc4", "#c07a1c"


def rank_histogram(traces: Trace | Sequence[Trace], k: int | None = None) -> str:
    """How often the teacher gave the student's proposals which rank, and acceptance as K grows.

    Args:
        traces: recorded completions.
        k: where the bars turn from accepted to refused; the largest recorded K if None.

    Returns:
        SVG text that takes the page's colours; "" where nothing was judged. Bars: share of judged
        proposals with a rank between two stops of K, on the left scale. Line: the cumulative
        share, that is acceptance at each K on the recorded text.
    """
    traces = [traces] if isinstance(traces, Trace) else list(traces)
    curve = acceptance_by_k(traces)
    if not curve:
        return ""
    limits = [limit for trace in traces if (limit := largest_k(trace.header)) < float("inf")]
    cut = k if k is not None else max(limits, default=None)
    stops, shares = [stop for stop, _ in curve], [share for _, share in curve]
    heights = [b - a for a, b in zip([0.0, *shares], shares, strict=False)]
    lows = [1, *(stop + 1 for stop in stops[:-1])]
    figure, axes = _panel("teacher rank of the proposals")
    colours = [REFUSED_BROWN if cut is not None and stop > cut else ACCEPTED_BLUE for stop in stops]
    axes.bar(range(len(stops)), heights, width=0.72, color=colours)
    axes.plot(range(len(stops)), shares, color=INK_OF_PAGE, linewidth=1.4, marker="o", markersize=3)
    names = [f"{a:,}" if a == b else f"{a:,}\u2013{b:,}" for a, b in zip(lows, stops, strict=True)]
    axes.set_xticks(range(len(stops)), names, rotation=35, ha="right")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, 1.05)
    if cut is not None and cut != stops[-1]:
        at = sum(stop <= cut for stop in stops) - 0.5
        axes.axvline(at, color=REFUSED_BROWN, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.text(at + 0.08, 0.5, f"K = {cut:,}", fontsize=8.5, color=REFUSED_BROWN, weight="bold")
    axes.annotate(
        "accepted at this K",
        (len(stops) - 1, shares[-1]),
        xytext=(0, -14),
        textcoords="offset points",
        fontsize=8.5,
        ha="right",
        color=INK_OF_PAGE,
    )
    words = ", ".join(f"K = {stop:,}: {share:.1%}" for stop, share in curve)
    return figure_svg(figure, f"Acceptance as a function of K. {words}")


def block_histogram(traces: Trace | Sequence[Trace]) -> str:
    """How many tokens each draft block put into the text.

    Args:
        traces: recorded completions.

    Returns:
        SVG text that takes the page's colours; "" where there are no blocks. A block keeps its
        accepted proposals and the teacher's token in place of a refused one; each block costs one
        pass of the teacher.
    """
    traces = [traces] if isinstance(traces, Trace) else list(traces)
    blocks = Counter(
        (n, token["block"])
        for n, trace in enumerate(traces)
        for token in trace.tokens
        if token.get("block", -1) >= 0
    )
    if not blocks:
        return ""
    lengths = Counter(blocks.values())
    places = range(1, max(lengths) + 1)
    figure, axes = _panel("tokens a draft block put into the text")
    bars = axes.bar(places, [lengths[place] for place in places], 0.72, color=ACCEPTED_BLUE)
    axes.bar_label(bars, [f"{lengths[place]}" for place in places], fontsize=8.5, color=INK_OF_PAGE)
    axes.set_xticks(list(places))
    axes.set_ylim(0, 1.15 * max(lengths.values()))
    tokens, passes = sum(blocks.values()), len(blocks)
    mean = tokens / passes
    axes.set_xlabel(
        f"{tokens} tokens in {passes} blocks: {mean:.2f} tokens a teacher pass",
        fontsize=9,
        color=INK_OF_PAGE,
    )
    words = ", ".join(f"{lengths[place]} of {place}" for place in places if lengths[place])
    return figure_svg(figure, f"Lengths of draft blocks: {words}; mean {mean:.2f} tokens")


def _panel(title: str) -> tuple[Figure, Axes]:
    with rc_context({"text.parse_math": False, "text.color": INK_OF_PAGE}):
        figure = Figure(figsize=(4.6, 3.1), layout="constrained")
        axes = figure.subplots()
    axes.set_title(title, fontsize=10, loc="left", color=INK_OF_PAGE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK_OF_PAGE)
    axes.tick_params(labelsize=8.5, colors=INK_OF_PAGE)
    axes.grid(axis="y", color=INK_OF_PAGE, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes
