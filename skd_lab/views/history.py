"""The watched prompts over time: the same prompt and random numbers, a student that learns."""

import re
from collections.abc import Sequence
from typing import Any

from skd_lab.records import Trace, is_replaced
from skd_lab.views.page import escape
from skd_lab.views.strip import strip_markup
from skd_lab.views.text import kept_texts, token_text

_MARKER = re.compile(r"<\|\w*\|>(?:(?:system|user|assistant|model)\n)?")
"""Turn markers of chat templates, which say nothing about a prompt."""
_SHOWN_STEPS = 6
"""Recordings of a prompt that are written out; the first, the last, and evenly between."""
_MAPPED_STEPS = 24
"""Recordings of a prompt that are rows of its map."""
_SHOWN_PROMPTS = 4
_RANKS = (1, 5, 25)
"""Highest ranks of the lighter blues, as in the strip."""


def by_prompt(traces: Sequence[Trace]) -> list[list[Trace]]:
    """Recordings of each prompt in step order; the prompt with most refusals at first leads."""
    rows: dict[Any, list[Trace]] = {}
    for trace in traces:
        rows.setdefault(str(trace.header.get("row")), []).append(trace)
    prompts = [sorted(found, key=_step) for found in rows.values()]
    return sorted(prompts, key=lambda found: -found[0].replaced)


def before_and_after(traces: Sequence[Trace]) -> list[Trace]:
    """One prompt's first and last recording: the prompt with most refusals in its first.

    Returns:
        Two traces, or one where a prompt was recorded once, or none.
    """
    prompts = by_prompt(traces)
    if not prompts:
        return []
    chosen = prompts[0]
    return chosen if len(chosen) == 1 else [chosen[0], chosen[-1]]


def history_markup(traces: Sequence[Trace]) -> str:
    """The watched prompts, each as a map of its recordings and their texts; "" for no trace."""
    prompts = by_prompt(traces)
    if not prompts:
        return ""
    parts = [_prompt(found, number) for number, found in enumerate(prompts[:_SHOWN_PROMPTS], 1)]
    left = len(prompts) - _SHOWN_PROMPTS
    if left > 0:
        parts.append(f'<p class="small">{left} more watched prompts are in traces.ndjson.</p>')
    return "".join(parts)


def _prompt(found: Sequence[Trace], number: int) -> str:
    prompt = str(found[0].header.get("prompt", ""))
    short = " ".join(_MARKER.sub(" ", prompt).split())
    short = short if len(short) <= 110 else f"{short[:109]}\u2026"
    shown = _spread(found, _SHOWN_STEPS)
    left = len(found) - len(shown)
    texts = "".join(
        f"<li><h4>{_when(trace)}<small>{_count(trace)}</small></h4>{_text(trace)}</li>"
        for trace in shown
    )
    note = f'<p class="small">{left} more recordings lie between these.</p>' if left else ""
    ends = [found[0], found[-1]] if len(found) > 1 else found
    title = "First and last, token by token" if len(ends) > 1 else "Token by token"
    # the first prompt's stand open; a page of a dozen open strips would be hard to read
    strips = (
        f'<details class="strips"{" open" if number == 1 else ""}><summary>{title}</summary>'
        f"{strip_markup(ends)}</details>"
    )
    return (
        f'<section class="prompt-history"><h3>Prompt {number}</h3>'
        f"<details><summary>{escape(short)}</summary><pre>{escape(prompt)}</pre></details>"
        f'{_map(found)}<ol class="film">{texts}</ol>{note}{strips}</section>'
    )


def _spread(found: Sequence[Trace], at_most: int) -> list[Trace]:
    """The first, the last, and evenly between."""
    if len(found) <= at_most:
        return list(found)
    places = [round(n * (len(found) - 1) / (at_most - 1)) for n in range(at_most)]
    return [found[place] for place in places]


def _map(found: Sequence[Trace]) -> str:
    """A row a recording, a cell a token: blue by the teacher's rank, tall where it was refused."""
    longest = max((len(trace.tokens) for trace in found), default=0)
    if longest == 0 or len(found) < 2:
        return ""
    rows = []
    for trace in _spread(found, _MAPPED_STEPS):
        label = f"{_when(trace)}: {_count(trace)} of {len(trace.tokens)} tokens"
        cells = "".join(
            f'<rect class="{name}" x="{n}.06" width=".88" '
            + ('y="0" height="10"/>' if name == "replaced" else 'y="4" height="6"/>')
            for n, name in enumerate(map(_class, trace.tokens))
        )
        rows.append(
            f'<div><span>{_when(trace)}</span><svg viewBox="0 0 {longest} 10" role="img" '
            f'preserveAspectRatio="none" aria-label="{label}">{cells}</svg></div>'
        )
    return (
        f'<div class="map">{"".join(rows)}<p class="small">A cell is a token: '
        '<i class="key r1"></i> the teacher\u2019s first choice, <i class="key r2"></i> '
        '<i class="key r3"></i> further down its list, <i class="key replaced"></i> '
        "refused and replaced.</p></div>"
    )


def _text(trace: Trace) -> str:
    """The completion: refused proposals struck through, the teacher's tokens beside them."""
    parts = []
    for token, kept in zip(trace.tokens, kept_texts(trace.tokens), strict=True):
        if is_replaced(token):
            refused = escape(token_text(token, "proposed"))
            kept = escape(kept or token_text(token))
            parts.append(f'<span class="replaced"><del>{refused}</del><ins>{kept}</ins></span>')
        elif kept:
            parts.append(f'<span class="{_class(token)}">{escape(kept)}</span>')
    return f'<p class="tokens" dir="auto">{"".join(parts)}</p>'


def _class(token: dict[str, Any]) -> str:
    if is_replaced(token):
        return "replaced"
    rank = token["teacher_rank"]
    return f"r{1 + sum(rank > high for high in _RANKS)}" if rank > 0 else "plain"


def _count(trace: Trace) -> str:
    if not trace.verified:
        return "not judged by the teacher"
    return f"{trace.replaced} of {trace.verified} refused"


def _step(trace: Trace) -> float:
    step = trace.header.get("step")
    return step if isinstance(step, int | float) else 0


def _when(trace: Trace) -> str:
    step = trace.header.get("step")
    return "before training" if step in (0, None) else f"step {escape(step)}"
