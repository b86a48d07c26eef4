"""The strip as a picture for papers and slides: wrapped lines, struck proposals, a legend."""

import contextlib
import math
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.patches import FancyBboxPatch

from skd_lab.errors import SkdError
from skd_lab.records import Trace
from skd_lab.views.page import visible
from skd_lab.views.redecide import REPLACED, k_words, largest_k, redecide, teacher_choice
from skd_lab.views.shades import palette, shade, shade_words
from skd_lab.views.terminal import counts_line
from skd_lab.views.text import kept_texts, token_text
from skd_lab.views.typeset import LINE, SIZE, Measure, Piece, height, paginate, wrap

MARGIN = 26.0
"""In points."""
_BESIDE = ("Noto Sans", "Noto Sans Arabic", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Emoji")
"""Fonts that lend matplotlib's own its missing letters, where the machine has them."""


def plot_strip(
    traces: Trace | Sequence[Trace],
    *,
    title: str = "",
    colour: str = "rank",
    k: int | None = None,
    width: float = 7.5,
    lines: int = 42,
) -> list[Figure]:
    """The strip as matplotlib figures, one a page.

    Args:
        traces: one completion or several.
        title: on the first page.
        colour: what colours say; a name of `shades.CHANNELS`.
        k: judge the records again with this K; tokens that are no longer certain are hatched.
        width: of the picture, inches.
        lines: height of a page, in lines of text.

    Returns:
        At least one figure, drawn without pyplot; a refused proposal is struck through and the
        teacher's token stands behind an arrow, bold and underlined twice.
    """
    traces = [traces] if isinstance(traces, Trace) else list(traces)
    room = width * 72 - 2 * MARGIN
    # a token is text: a "$" in it is no formula
    with rc_context(_settings()), _no_warnings():
        measure = Measure()
        rows: list[list[Piece]] = []
        if title:
            rows += [[_words(visible(title), "ink", SIZE + 4, "name")], []]
        rows += [*wrap(iter([_key(traces, colour, k)]), measure, room), []]
        for n, trace in enumerate(traces):
            rows += [[], []] if n else []
            rows += [*_head(trace, k), [], *wrap(_pieces(trace, colour, k), measure, room)]
        return [_page(page, width, measure) for page in paginate(rows, lines * LINE)]


def save_strip_picture(
    traces: Sequence[Trace],
    path: Path,
    *,
    title: str = "",
    colour: str = "rank",
    k: int | None = None,
) -> Path:
    """Write the strip as .png, .svg or .pdf; returns the path (of the first page's file).

    Raises:
        SkdError: if the disk is full or read-only.
    """
    with rc_context(_settings()), _no_warnings():
        figures = plot_strip(traces, title=title, colour=colour, k=k)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() == ".pdf":
                with PdfPages(path, metadata={"CreationDate": None}) as book:
                    for figure in figures:
                        book.savefig(figure)
                return path
            for n, figure in enumerate(figures, start=1):
                file = path if n == 1 else path.with_name(f"{path.stem}-{n}{path.suffix}")
                dated = {"Date": None} if path.suffix.lower() == ".svg" else {}
                figure.savefig(file, dpi=200, metadata=dated)
        except OSError as error:
            reason = error.strerror or error
            raise SkdError(f"Cannot write {path}: {reason}. Free some space first.") from error
    return path


def _words(text: str, colour: str, size: float = 8.5, kind: str = "words") -> Piece:
    return Piece(text, palette()[colour], kind, size=size)


def _key(traces: Sequence[Trace], colour: str, k: int | None) -> list[Piece]:
    """The legend."""
    key = []
    found = [redecide(trace, k) for trace in traces]
    limits = [
        largest_k(t.header) if f.k is None else f.k for t, f in zip(traces, found, strict=True)
    ]
    for name, words in shade_words(colour, max(limits, default=math.inf)).items():
        key += [Piece("   ", palette()["ink"], ground=name), _words(f" {words}    ", "muted")]
    if any(one.replaced for one in found):
        ground = "cream" if colour == "rank" else ""
        key += [Piece("refused", palette()["rust"], "struck", ground)]
        key += [Piece(" \u2192 ", palette()["rust"], "arrow", ground)]
        key += [Piece("the teacher\u2019s token", palette()["insert"], "insert", ground)]
    if any(one.fork is not None for one in found):
        key += [_words("    ", "muted"), Piece("   ", palette()["ink"], ground="r1", unsure=True)]
        key += [_words(" not certain", "muted")]
    return key


def _head(trace: Trace, k: int | None) -> list[list[Piece]]:
    """Name, facts and counts of one completion."""
    header, found = trace.header, redecide(trace, k)
    name = str(header.get("label") or header.get("method") or "completion")
    step = header.get("step")
    if header.get("run") and step is not None and not header.get("label"):
        name += " \u00b7 before training" if step == 0 else f" \u00b7 after step {step}"
    facts = [f"{role} {header[role]}" for role in ("student", "teacher") if header.get(role)]
    facts += [f"K = {k_words(header)}"] if k_words(header) else []
    counts = counts_line(trace)
    if found.k is not None and found.flips:
        counts = f"What if K = {found.k}: {found.replaced} of {trace.verified} refused"
        counts += "" if found.fork is None else f"; not certain behind token {found.fork}"
    return [
        [_words(visible(name), "ink", SIZE, "name")],
        [_words(visible(" \u00b7 ".join(facts)), "muted")],
        [_words(counts, "muted")],
    ]


def _pieces(trace: Trace, colour: str, k: int | None) -> Iterator[list[Piece]]:
    """Each token as pieces that belong together."""
    inks, found = palette(), redecide(trace, k)
    rtl = _is_rtl("".join(str(token["kept"]) for token in trace.tokens))
    for place, (token, kept) in enumerate(zip(trace.tokens, kept_texts(trace.tokens), strict=True)):
        verdict = found.decisions[place]
        ground = shade(token, verdict, colour)
        unsure = found.fork is not None and place > found.fork
        if verdict == REPLACED:
            choice = teacher_choice(token, trace.header)
            written = kept if choice is None or choice["id"] == token["kept_id"] else choice["text"]
            refused = token_text(token, "proposed").replace("\n", "\u21b5")
            written = (written or token_text(token)).replace("\n", "\u21b5\n")
            on_blue = inks["r4-ink"] if ground == "r4" else inks["ink"]
            faint, strong = (
                (inks["rust"], inks["insert"]) if ground in ("", "cream") else (on_blue, on_blue)
            )
            yield [
                Piece(refused, faint, "struck", ground, unsure, rtl=rtl),
                Piece(" \u2190 " if rtl else " \u2192 ", faint, "arrow", ground, unsure, rtl=rtl),
                Piece(written, strong, "insert", ground, unsure, rtl=rtl),
            ]
        else:
            flipped = verdict == "accepted" and token["proposed_id"] != token["kept_id"]
            text = token_text(token, "proposed") if flipped else kept
            ink = inks["r4-ink"] if ground == "r4" else inks["ink"]
            yield [Piece(text.replace("\n", "\u21b5\n"), ink, "kept", ground, unsure, rtl=rtl)]


def _page(rows: Sequence[Sequence[Piece]], width: float, measure: Measure) -> Figure:
    """One page; its height follows its lines."""
    high = 2 * MARGIN + sum(map(height, rows))
    figure = Figure(figsize=(width, high / 72), facecolor=palette()["surface"])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width * 72), ylim=(high, 0))
    axes.set_axis_off()
    y = MARGIN
    for row in rows:
        base = y + 0.66 * height(row)
        widths = [measure(piece) for piece in row]
        x = width * 72 - MARGIN - sum(widths) if row and row[0].rtl else MARGIN
        pairs = list(zip(row, widths, strict=True))
        for piece, wide in reversed(pairs) if row and row[0].rtl else pairs:
            _draw(axes, piece, x, base, wide)
            x += wide
        y += height(row)
    return figure


def _draw(axes: Axes, piece: Piece, x: float, base: float, wide: float) -> None:
    colours = palette()
    if piece.ground:
        box = FancyBboxPatch(
            (x, base - 0.98 * SIZE),
            wide,
            1.36 * SIZE,
            boxstyle="round,pad=0,rounding_size=2",
            facecolor=colours[piece.ground],
            edgecolor=(*to_rgb(colours["surface"]), 0.75) if piece.unsure else "none",
            hatch="////" if piece.unsure else None,
            linewidth=0,
        )
        axes.add_patch(box)
    weight = "bold" if piece.kind in ("insert", "name") else "normal"
    axes.text(
        x, base, piece.text, color=piece.colour, size=piece.size, weight=weight, va="baseline"
    )
    if piece.kind == "struck":
        y = base - 0.29 * SIZE
        axes.plot([x, x + wide], [y, y], color=piece.colour, linewidth=1.0)
    if piece.kind in ("struck", "arrow", "insert"):
        for below in (0.4, 0.56):
            y = base + below * SIZE
            axes.plot([x, x + wide], [y, y], color=colours["rust"], linewidth=0.7)


def _is_rtl(text: str) -> bool:
    """Whether the first letter with a direction is read from right to left."""
    found = (unicodedata.bidirectional(char) for char in text)
    return next((kind in ("R", "AL") for kind in found if kind in ("L", "R", "AL")), False)


def _settings() -> dict[Any, Any]:
    known = {font.name for font in fontManager.ttflist}
    return {
        "text.parse_math": False,
        "font.family": ["DejaVu Sans", *(name for name in _BESIDE if name in known)],
        # glyphs are paths, so that the picture looks the same wherever it is opened
        "svg.fonttype": "path",
        "svg.hashsalt": "skd_lab",
        "pdf.fonttype": 42,
        "hatch.linewidth": 1.1,
    }


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """No word about glyphs that no font of this machine has: they become boxes, as elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
