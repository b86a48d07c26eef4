"""The teacher's ranks of all proposals, as bars that pick tokens out of the strip beside them."""

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from skd_lab.app.frame import PLUMBING
from skd_lab.app.parts import drawn, script
from skd_lab.records import Trace


def rank_data(traces: Sequence[Trace]) -> str:
    """What the view draws: {"ranks": [...], "k": the K in force or null} as JSON; "" of nothing."""
    ranks = [
        token["teacher_rank"]
        for trace in traces
        for token in trace.tokens
        if token["teacher_rank"] > 0
    ]
    if not ranks:
        return ""
    limits = {_number(trace.header.get("accept_top_k")) for trace in traces}
    return json.dumps({"ranks": ranks, "k": limits.pop() if len(limits) == 1 else None})


def rank_view(value: str = "", **settings: Any) -> gr.HTML:
    """Bars of the ranks, and the share accepted at every K as a line; value from rank_data."""
    return drawn(script("ranks.js"), value, k=None, **settings)


def link(ranks: gr.HTML, strip: gr.HTML) -> None:
    """A chosen bar lights its tokens in the strip, and the strip's K moves the view's line."""
    # in the page alone: bars go on working when the server is gone
    light = """(value) => {
      const rank = JSON.parse(value || "{}").chosen ?? null;
      return { __type__: "update", highlight: rank && { rank } };
    }"""
    ranks.brush(None, ranks, strip, js=light, api_visibility="private")

    def move(event: gr.EventData) -> Any:
        k = getattr(event, "k", None)
        return gr.update(k=k if _number(k) else None)

    strip.k_change(move, None, ranks, **PLUMBING)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
