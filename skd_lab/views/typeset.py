"""Setting text in lines and pages for a picture: widths of pieces, where lines and pages break."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

SIZE, LINE = 11.0, 23.0
"""Of the text and of a line, in points."""


@dataclass(frozen=True)
class Piece:
    """Some text of one token on one line."""

    text: str
    colour: str
    kind: str = "kept"
    """ "kept", "struck", "arrow", "insert", "words" or "name"."""
    ground: str = ""
    unsure: bool = False
    size: float = SIZE
    rtl: bool = False
    """Whether its line is read from right to left."""


class Measure:
    """Widths of text in points, spaces at its ends included."""

    def __init__(self) -> None:
        figure = Figure(figsize=(1, 1), dpi=72)
        self._renderer = FigureCanvasAgg(figure).get_renderer()
        self._known: dict[tuple[str, str, float], float] = {}

    def __call__(self, piece: Piece) -> float:
        weight = "bold" if piece.kind in ("insert", "name") else "normal"
        known = (piece.text, weight, piece.size)
        if known not in self._known:
            # between two bars, as a space at an end would not count; ten times the size, as the
            # renderer's widths are whole pixels
            font = FontProperties(weight=weight, size=10 * piece.size)
            both = self._width(f"|{piece.text}|", font) - self._width("||", font)
            self._known[known] = both / 10
        return self._known[known]

    def _width(self, text: str, font: FontProperties) -> float:
        return self._renderer.get_text_width_height_descent(text, font, False)[0]


def wrap(tokens: Iterator[list[Piece]], measure: Measure, room: float) -> list[list[Piece]]:
    """Lines of pieces: a token goes to the next line where it does not fit, a long one is cut."""
    rows: list[list[Piece]] = [[]]
    left = room
    for token in tokens:
        if sum(map(measure, token)) > left and rows[-1]:
            rows.append([])
            left = room
            # a space at which the line was broken is not drawn
            token = [replace(token[0], text=token[0].text.removeprefix(" ")), *token[1:]]
        for piece in token:
            for n, line in enumerate(piece.text.replace("\t", "\u21e5   ").split("\n")):
                if n:
                    rows.append([])
                    left = room
                while line:
                    part = replace(piece, text=line)
                    while measure(part) > left and len(part.text) > 1:
                        share = max(1, math.floor(len(part.text) * left / measure(part)))
                        part = replace(part, text=part.text[: min(share, len(part.text) - 1)])
                    if measure(part) > left and rows[-1]:
                        rows.append([])
                        left = room
                        continue
                    rows[-1].append(part)
                    left -= measure(part)
                    line = line[len(part.text) :]
    return rows


def height(row: Sequence[Piece]) -> float:
    """Of a line, in points: text has room for its underline, words stand closer."""
    if not row:
        return 0.45 * LINE
    is_text = any(piece.ground or piece.kind == "kept" for piece in row)
    return LINE if is_text else 1.6 * max(piece.size for piece in row)


def paginate(rows: Sequence[list[Piece]], high: float) -> list[list[list[Piece]]]:
    """Lines to pages, in order; `high` is a page's height in points. A line that is higher than a
    page has one of its own."""
    pages: list[list[list[Piece]]] = [[]]
    left = high
    for row in rows:
        if height(row) > left and pages[-1]:
            pages.append([])
            left = high
        pages[-1].append(row)
        left -= height(row)
    return pages
