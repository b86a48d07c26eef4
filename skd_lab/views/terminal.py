"""The token strip in a terminal: colours where there are any, word-diff marks where not."""

from rich.console import Console
from rich.text import Text

from skd_lab.records import Trace, is_replaced
from skd_lab.views.redecide import k_words, largest_k, recorded
from skd_lab.views.shades import shade, shade_words
from skd_lab.views.text import kept_texts, token_text, wdiff

_SHADES = {"r2": "#ffffff on #264d7a", "r3": "#ffffff on #2d69ac", "r4": "#0b1420 on #6aa7ee"}
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
            text.append(kept, _SHADES.get(shade(token, recorded(token)), ""))
    return text


def counts_line(trace: Trace) -> str:
    """One line of counts: accepted + replaced + discarded = proposed."""
    if not trace.verified:
        return f"{len(trace.tokens)} tokens, none of them proposed by a student and judged"
    parts = {"accepted": trace.accepted, "replaced": trace.replaced, "discarded": trace.discarded}
    total = " + ".join(f"{count} {name}" for name, count in parts.items())
    limit = k_words(trace.header)
    refused = "rejected" if trace.header.get("rule") == "lossless" else "refused"
    return (
        f"{total} = {sum(parts.values())} proposed; {trace.replaced} of {trace.verified} {refused} "
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
        for name, words in shade_words("rank", largest_k(trace.header)).items():
            key.append(
                f" {words.removeprefix('rank ').replace(' to ', '-')} ", _SHADES.get(name, "")
            )
        console.print(key)
        console.print(counts_line(trace), markup=False, highlight=False)
    else:
        for line in (wdiff(trace), counts_line(trace)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
