"""Small pictures in plain HTML: cells for tokens, bars for numbers. Colour never says it alone."""

from collections.abc import Mapping, Sequence
from html import escape

_BLUE = (31, 92, 158)
_HATCH = "repeating-linear-gradient(45deg,#fff,#fff 4px,#9a9a9a 4px,#9a9a9a 6px)"
_ORANGE = "#b35900"
# labels and numbers as wide as the longest, and the same width for every bar
_CHART = (
    "display:grid;grid-template-columns:auto minmax(4em,26em) auto;justify-content:start;"
    "align-items:center;gap:2px 8px"
)


def token_cells(
    tokens: Sequence[str],
    shades: Sequence[float] | None = None,
    notes: Sequence[str] | None = None,
    marks: Sequence[str] | None = None,
    title: str = "",
) -> str:
    """Tokens in a row, as HTML: shaded by a number, with a note under each.

    Args:
        tokens: their texts.
        shades: in [0, 1], dark is 1; no shade if None.
        notes: short text under each token, such as its probability.
        marks: "" or a short word above a token that is special, such as "teacher"; the cell is
            drawn with a thick border then.
        title: stands above the row.
    """
    count = len(tokens)
    shades, notes = shades or [0.0] * count, notes or [""] * count
    marks = marks or [""] * count
    cells = "".join(
        _cell(token, shade, note, mark)
        for token, shade, note, mark in zip(tokens, shades, notes, marks, strict=True)
    )
    head = f"<div><b>{escape(title)}</b></div>" if title else ""
    return f'{head}<div style="display:flex;flex-wrap:wrap;gap:4px;margin:4px 0">{cells}</div>'


def bars(
    rows: Mapping[str, float],
    out: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
    title: str = "",
    top: float | None = None,
) -> str:
    """Horizontal bars, as HTML, each with its number written beside it.

    Args:
        rows: label to a number of at least 0.
        out: labels of bars that do not count; they are hatched.
        notes: label to text behind the number.
        title: stands above.
        top: number that fills the width; the largest one if None.
    """
    most = top or max(rows.values(), default=1.0) or 1.0
    lines = []
    for label, value in rows.items():
        width = 100 * min(value / most, 1.0)
        fill = _HATCH if label in out else f"rgb{_BLUE}"
        said = f"{value:.3f} {notes[label]}" if notes and label in notes else f"{value:.3f}"
        line = ' style="white-space:nowrap"' if len(said) <= 20 else ""
        lines.append(
            f'<span style="text-align:right">{escape(label)}</span> '
            f'<span style="background:#eee;height:16px">'
            f'<span style="display:block;height:14px;border:1px solid #333;width:{width:.1f}%;'
            f'background:{fill};box-sizing:border-box"></span></span>'
            f" <span{line}>{escape(said)}</span>"
        )
    head = f"<div><b>{escape(title)}</b></div>" if title else ""
    return f'{head}<div style="{_CHART}">{"".join(lines)}</div>'


def side_by_side(*drawings: str) -> str:
    """Drawings in a row, one below the other where the page is narrow."""
    boxes = "".join(f'<div style="flex:1;min-width:17em">{each}</div>' for each in drawings)
    return f'<div style="display:flex;flex-wrap:wrap;gap:18px">{boxes}</div>'


def _cell(token: str, shade: float, note: str, mark: str) -> str:
    part = 0.72 * min(max(shade, 0.0), 1.0)  # no darker: black ink keeps 5 : 1
    red, green, blue = (round(255 - part * (255 - channel)) for channel in _BLUE)
    border = f"3px solid {_ORANGE}" if mark else "1px solid #888"
    above = f'<span style="font-size:11px;color:{_ORANGE}">{escape(mark)}</span>' if mark else ""
    return (
        '<span style="display:flex;flex-direction:column;justify-content:flex-end;'
        f'align-items:center">{above}<span style="background:rgb({red},{green},{blue});color:#111;'
        f'border:{border};border-radius:4px;padding:2px 6px">{escape(token)}</span>'
        f'<span style="font-size:11px;color:#333">{escape(note) or "&nbsp;"}</span></span>'
    )
