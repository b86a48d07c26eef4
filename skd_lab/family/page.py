"""All cards as one page that needs no other: equations and figures are drawn into it as SVG."""

import io
import re
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath

from skd_lab.errors import DataError
from skd_lab.family.made import today, versions
from skd_lab.family.shown import Shown, made_words
from skd_lab.views.page import Fragment, escape
from skd_lab.views.report import source

TITLE = "Systems related to SKD, each with its control"

_STYLE = """
.family { --method: #2f6f9f; --control: #b4552d; --other: #77808a; }
@media (prefers-color-scheme: dark) {
  .family { --method: #6fb1e6; --control: #f0905f; --other: #9aa5b1; }
}
.family h2 { margin-bottom: .2rem; }
.family h3 { margin: 1.2rem 0 .2rem; font-size: 1rem; }
.family .paper { color: var(--soft); font-size: .92rem; margin-bottom: .9rem; }
.family .outcome { padding: .6rem .85rem; background: var(--raised); max-width: 80ch;
  overflow-wrap: anywhere; border-inline-start: 4px solid var(--other); }
.family .outcome.held { border-color: var(--method); }
.family :is(.outcome.tied, .outcome.lost) { border-color: var(--control); }
.family .equation { display: flex; flex-wrap: wrap; gap: .7rem 2rem; align-items: center;
  margin: 1.1rem 0; }
.family .equation svg { max-width: 100%; height: auto; flex: none; }
.family ul { margin: 0 0 .8rem; padding-inline-start: 1.2rem; max-width: 72ch; }
.family .drawn { overflow-x: auto; margin-top: 1rem; }
.family .drawn svg { fill: currentColor; max-width: none; }
.family .command { background: var(--raised); padding: .6rem .85rem; border-radius: 8px;
  max-width: 80ch; }
.family .cards :is(th, td) { text-align: left; white-space: normal; }
.family .cards td:nth-child(3) { font-weight: 600; white-space: nowrap; }
@media (max-width: 640px) {
  .family .cards :is(tbody, tr, th, td) { display: block; border: 0; padding: .1rem 0; }
  .family .cards thead { display: none; }
  .family .cards tr { border-bottom: 1px solid var(--rule); padding: .6rem 0; }
}
"""

_PIXELS = 84
"""Of a figure's inch: its words have the size of a caption, on a phone it is moved sideways."""

_COLOURS = {
    "#1f2328": "currentColor",
    "#000000": "currentColor",
    "#e6e8ea": "var(--rule)",
    "#2f6f9f": "var(--method)",
    "#b4552d": "var(--control)",
    "#8a929b": "var(--other)",
}
"""Of the figures -> of the page, which has a light and a dark set."""

_SHORT = {"tied": "the control ties", "lost": "the control wins", "held": "held"}


def render_family(cards: Sequence[Shown], *, date: str | None = None) -> Fragment:
    """The cards as a page: systems first, then neighbours; those with records first.

    Args:
        cards: at least one.
        date: of the page; today if None.

    Returns:
        An object with `save(path)`: a page that needs nothing outside itself.

    Raises:
        DataError: for records that a card's figure cannot be drawn from.
    """
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    # systems of the paper's page first, and what is measured before what is not
    cards = sorted(cards, key=lambda one: (one.card.group != "system", one.verdict is None))
    alone = len(cards) == 1
    title = cards[0].card.title if alone else TITLE
    lead = (
        "Small runs of methods that a reader of the SKD paper meets beside it. Each has a control "
        "that would show its claim empty; where the control ties or wins, the card says so first. "
        "What was reconstructed rather than read is listed on the card."
    )
    parts = [
        f'<header><p class="kind">Made on {escape(date or today())} with {escape(made)}</p>'
        f"<h1>{escape(title)}</h1>{'' if alone else f'<p>{escape(lead)}</p>'}</header>",
        "" if alone else _overview(cards),
        *map(_section, cards),
    ]
    return Fragment(
        title,
        f'<div class="skd-report family">{"".join(parts)}</div>',
        text=title,
        style=source("report.css") + _STYLE,
    )


def _overview(cards: Sequence[Shown]) -> str:
    rows = "".join(
        f'<tr><th scope="row"><a href="#{escape(shown.card.name)}">{escape(shown.card.title)}</a>'
        f"</th><td>{escape(shown.card.paper)}</td>"
        f"<td>{_in_short(shown)}</td></tr>"
        for shown in cards
    )
    return (
        '<section id="all"><h2>All cards</h2><table class="cards"><thead><tr>'
        '<th scope="col">system</th><th scope="col">paper</th>'
        f'<th scope="col">against its control</th></tr></thead><tbody>{rows}</tbody></table>'
        "</section>"
    )


def _in_short(shown: Shown) -> str:
    if shown.verdict is not None:
        return _SHORT[shown.verdict.outcome]
    if shown.card.demo is not None:
        return "no records yet"
    return "no demonstration" if shown.card.elsewhere else "beside SKD in results"


def _section(shown: Shown) -> str:
    card, verdict = shown.card, shown.verdict
    kind = verdict.outcome if verdict else "none"
    first = (
        f'<p class="outcome {kind}"><b>{escape(shown.first_words)}</b> '
        f"{_words(verdict.text) if verdict else ''}</p>"
    )
    about = f"<p>{escape(' '.join(card.sentences))}</p>{equation_markup(card.equation)}"
    claim = (
        f"<p><b>Claim.</b> {escape(card.statement)}<br><b>Control.</b> {escape(card.control)}.</p>"
    )
    lists = [("What held", card.held), ("What did not", card.failed)]
    if verdict is not None and verdict.outcome != "held":
        lists.reverse()
        order = [first, about, claim]
    else:
        order = [about, claim, first]
    lists.append(("Reconstructed or chosen here", card.choices))
    made = made_words(shown.made) if shown.rows else ""
    return (
        f'<section id="{escape(card.name)}"><h2>{escape(card.title)}</h2>'
        f'<p class="paper">{escape(card.paper)}</p>{"".join(order)}'
        f"{figure_markup(shown)}{''.join(_list(head, lines) for head, lines in lists)}"
        f'<h3>Run it</h3><p class="command"><code>{escape(card.command)}</code></p>'
        + (f'<p class="small">{escape(made)}</p>' if made else "")
        + "</section>"
    )


def _words(text: str) -> str:
    return escape(text.replace("+-", "\u00b1"))


def _list(head: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h3>{head}</h3><ul>{items}</ul>" if lines else ""


def figure_markup(shown: Shown) -> str:
    """The card's figure as SVG in the page's colours, and its numbers; "" without records."""
    if shown.verdict is None or shown.card.demo is None:
        return ""
    file = io.BytesIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": shown.card.name}):
        try:
            figure = shown.card.demo.figure(shown.rows)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The records of '{shown.card.name}' do not hold what its figure shows "
                f"({type(error).__name__}: {error}). Make them again: skd-lab family --rerun "
                f"{shown.card.name}."
            ) from error
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        wide = round(_PIXELS * figure.get_figwidth())
        blank = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(file, format="svg", transparent=True, metadata=blank)
    drawn = re.sub(r"^.*?<svg", "<svg", file.getvalue().decode(), flags=re.S)
    for old, new in _COLOURS.items():
        drawn = drawn.replace(old, new)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.S)
    drawn = re.sub(r"[ \t]+$", "", drawn, flags=re.M)
    # ids of one figure must not be those of another on the page
    drawn = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{shown.card.name}-", drawn)
    metrics, arms = shown.table()
    label = escape(f"{'; '.join(titles)}. {shown.verdict.text}")
    drawn = re.sub(
        r'<svg (.*?)width="[^"]*" height="[^"]*"',
        lambda found: f'<svg {found[1]}role="img" aria-label="{label}" style="width: {wide}px"',
        drawn,
        count=1,
        flags=re.S,
    )
    seeds = len({row["seed"] for row in shown.rows})
    head = "".join(f'<th scope="col">{escape(name.replace("_", " "))}</th>' for name in metrics)
    body = "".join(
        f'<tr><th scope="row">{escape(arm)}</th>'
        + "".join(f"<td>{_number(pair)}</td>" for pair in pairs)
        + "</tr>"
        for arm, pairs in arms.items()
    )
    return (
        f'<figure><div class="drawn" tabindex="0" role="region" aria-label="Figure of '
        f'{escape(shown.card.name)}">{drawn}</div><figcaption>Bold: the system. Squares: '
        f"its controls. Large mark: mean, line: sd, dots: each of {seeds} seeds.</figcaption>"
        f"</figure><details><summary>The numbers</summary>"
        '<div class="wide" tabindex="0" role="region" aria-label="Numbers"><table class="numbers">'
        f'<thead><tr><th scope="col">arm</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        "</details>"
    )


def _number(pair: tuple[float, float] | None) -> str:
    if pair is None:
        return "\u2013"
    return (
        f"{pair[0]:.0f}"
        if pair[1] == 0 and pair[0] >= 10
        else f"{pair[0]:.3f} \u00b1 {pair[1]:.3f}"
    )


def equation_markup(latex: str) -> str:
    """A formula as SVG, a drawing for each of its parts; its LaTeX is the text for readers aloud.

    Raises:
        ValueError: for what matplotlib's mathtext cannot set.
    """
    # a part that ends in ",\quad" may stand on a line of its own
    parts = [_formula(part) for part in re.split(r",\s*\\quad\s*", latex)]
    return f'<div class="equation" role="img" aria-label="{escape(latex)}">{"".join(parts)}</div>'


def _formula(latex: str) -> str:
    known = latex.replace("\\tfrac14", r"\frac{1}{4}").replace("\\tfrac", "\\frac")
    known = re.sub(r"\\big(?![a-z])\|?", r"\\,|", known)
    known = re.sub(r"\\(le|ge)(?![a-z])", r"\\\1q", known)
    font = FontProperties(math_fontfamily="cm")
    drawn = TextPath((0, 0), f"${known}$", size=20, prop=font)
    box = drawn.get_extents()
    words = []
    for points, code in drawn.iter_segments():
        pairs = [f"{x:.1f} {-y:.1f}" for x, y in zip(points[::2], points[1::2], strict=True)]
        words.append("Z" if code == Outline.CLOSEPOLY else _LETTERS[code] + " ".join(pairs))
    left, top, wide, high = box.x0 - 1, -box.y1 - 1, box.width + 2, box.height + 2
    return (
        f'<svg viewBox="{left:.1f} {top:.1f} {wide:.1f} {high:.1f}" width="{wide:.0f}" '
        f'height="{high:.0f}" aria-hidden="true"><path fill="currentColor" d="{"".join(words)}"/>'
        "</svg>"
    )


_LETTERS = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}
