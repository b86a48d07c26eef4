"""The token strip in a terminal: colours where there are any, word-diff marks where not."""

import math

from rich.console import Console
from rich.text import Text

from skd_lab.records import Trace, is_replaced
from skd_lab.views.text import kept_texts, token_text, wdiff

_RANKS = ((1, ""), (5, "#ffffff on #264d7a"), (25, "#ffffff on #2d69ac"))
_BEYOND = "#0b1420 on #6aa7ee"
_REFUSED, _ARROW, _INSERTED = "strike #c26a12", "bold #c26a12", "bold underline #3a1a00 on #fdd9a0"
# both the ink and the ground of a token are set, so that it reads on a dark and a light terminal


def strip_text(trace: Trace) -> Text:
    """The completion in colour: refused proposals struck through, the teacher's token bold beside.

    A refusal shows without colour too (strike, arrow, underline). Hidden characters are written
    out, so no token can steer the terminal.
    """
    text = Text(overflow="fold")
    for token, kept in zip(trace.tokens, kept_texts(trace.tokens), strict=True):
        kept = kept.replace("\n", "⏎\n")
        if is_replaced(token):
            text.append(token_text(token, "proposed").replace("\n", "⏎"), _REFUSED)
            text.append("→", _ARROW)
            text.append(kept or token_text(token), _INSERTED)
        else:
            text.append(kept, _rank_style(token["teacher_rank"]))
    return text


def counts_line(trace: Trace) -> str:
    """One line of counts: accepted + replaced + discarded = proposed."""
    if not trace.verified:
        return f"{len(trace.tokens)} tokens, none of them proposed by a student and judged"
    parts = {"accepted": trace.accepted, "replaced": trace.replaced, "discarded": trace.discarded}
    total = " + ".join(f"{count} {name}" for name, count in parts.items())
    limit = trace.header.get("accept_top_k")
    return (
        f"{total} = {sum(parts.values())} proposed; {trace.replaced} of {trace.verified} refused "
        f"({trace.replaced / trace.verified:.1%})" + (f" at K = {limit}" if limit else "")
    )


def print_strip(trace: Trace, console: Console | None = None) -> None:
    """Print a strip and its counts.

    Args:
        trace: one completion.
        console: where to; standard output if None. One that is no terminal (a pipe, a file) gets
            plain text with [-refused-]{+replaced+} marks.
    """
    console = Console() if console is None else console
    if console.is_terminal:
        console.print(strip_text(trace))
        console.print()
        key = Text.assemble(
            ("refused", _REFUSED),
            ("→", _ARROW),
            ("the teacher's", _INSERTED),
            "   accepted at rank ",
        )
        limit = trace.header.get("accept_top_k") or math.inf
        for low, high in ((1, 1), (2, 5), (6, 25), (26, math.inf)):
            if low <= limit:
                key.append(f" {_span(low, min(high, limit))} ", _rank_style(low))
        console.print(key)
        console.print(counts_line(trace), markup=False, highlight=False)
    else:
        for line in (wdiff(trace), counts_line(trace)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _span(low: int, high: float) -> str:
    if high == low:
        return f"{low}"
    return f"{low} and on" if math.isinf(high) else f"{low}-{high:.0f}"


def _rank_style(rank: int) -> str:
    return next((style for limit, style in _RANKS if rank <= limit), _BEYOND)
