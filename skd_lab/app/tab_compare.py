"""Compare: two or three texts on one prompt, below each other."""

from collections.abc import Generator, Iterator
from threading import Event
from typing import Any

import gradio as gr

from skd_lab.app import job
from skd_lab.app.comparing import BY_METHOD, BY_STUDENT, MODES, compare, ways
from skd_lab.app.form import AskForm, PairForm
from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.parts import ndjson, say, token_strip
from skd_lab.records import Trace

ABOUT = """The same prompt and the same random numbers, written two or three times: what differs is
only what you choose here. A mark shows where a text first parts from text 1."""


def add_compare(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown(ABOUT)
    mode = gr.Radio(list(MODES), value=MODES[0], label="Compare")
    with gr.Group(visible=False) as reference_box:
        reference = gr.Textbox(label="Reference answer", lines=2, max_length=2000)
    with gr.Group(visible=False) as other_box:
        other = PairForm(frame, label="The second student", checkpoints=True)
    form = AskForm(
        frame, reference=reference, checkpoints=True, said="Press Run to write the texts."
    )
    strip = token_strip(visible=False)  # until there is a text

    def switch(chosen: str) -> tuple[Any, ...]:
        return gr.update(visible=chosen == BY_METHOD), gr.update(visible=chosen == BY_STUDENT)

    mode.change(switch, mode, [reference_box, other_box], **PLUMBING)

    def work(flag: Event, chosen: str, answer: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        own, seconds = values[: len(form.inputs)], values[len(form.inputs) :]
        ask, choice = form.read(*own)
        second = other.read(*seconds) if chosen == BY_STUDENT else None
        wanted = ways(chosen, ask, choice, second, str(answer or ""))
        return _stream(frame, ask, wanted, flag)

    inputs = [mode, reference, *form.inputs, *other.inputs]
    job.connect(frame, "compare", form.buttons, form.said, work, inputs, [strip])


def _stream(frame: Frame, ask: Any, wanted: Any, flag: Event) -> Iterator[tuple[Any, ...]]:
    """Values of (said, strip) while the texts grow."""

    def texts(stop: Event) -> Generator[tuple[tuple[list[Trace], str, bool], bool], None, None]:
        for found in compare(frame.models, ask, wanted, stop):
            yield found, found[-1]

    for found in job.paced(texts, flag):
        if found is not None:
            traces, sentence, done = found
            value = gr.update(value=ndjson(traces), streaming=not done, visible=bool(traces))
            yield say(sentence, "good" if done else "plain"), value
