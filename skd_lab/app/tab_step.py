"""Step: one text replayed as it was made, proposal by proposal."""

from typing import Any

import gradio as gr

from skd_lab.app.chooser import Chooser, trace_name
from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.parts import ndjson, notice, say, step_player
from skd_lab.records import Trace

ABOUT = """The student drafts a few tokens without asking. The teacher then looks at them in order:
each one is kept, until one is refused; that one the teacher replaces, and what the student had
drafted behind it is thrown away."""


def add_step(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown(ABOUT)
    chooser = Chooser(frame, tab)
    names = [trace_name(trace) for trace in chooser.traces]
    with chooser.row:
        which = gr.Dropdown(
            names,
            value=names[0] if names else None,
            label="Recording",
            type="index",
            interactive=True,
        )
    said = notice(chooser.sentence)
    player = step_player(ndjson(chooser.traces[:1]))
    shown = gr.State(chooser.traces)

    def show(traces: list[Trace], sentence: str) -> tuple[Any, ...]:
        names = [trace_name(trace) for trace in traces]
        choice = gr.update(choices=names, value=names[0] if names else None)
        tone = "plain" if traces else "bad"
        return choice, say(sentence, tone), ndjson(traces[:1]), traces

    def pick(traces: list[Trace], at: int | None) -> str:
        return ndjson(traces[at : at + 1]) if at is not None else ""

    chooser.connect(show, [which, said, player, shown])
    which.input(pick, [shown, which], player, **PLUMBING)
