"""Watch: let the models write a text and see it grow, or look at a recorded one."""

import time
from collections.abc import Generator, Iterator
from threading import Event
from typing import Any

import gradio as gr

from skd_lab.app import job
from skd_lab.app.asks import Ask
from skd_lab.app.chooser import Chooser
from skd_lab.app.form import AskForm
from skd_lab.app.frame import Frame
from skd_lab.app.models import PairChoice
from skd_lab.app.parts import ndjson, say, token_strip
from skd_lab.app.session import keep
from skd_lab.app.writing import Progress, write
from skd_lab.records import Trace

WHEN = ("first and last", "every one")
"""Which recordings of a prompt are shown."""


def add_watch(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    with gr.Accordion("Write a new text with the models", open=True):
        form = AskForm(frame)
    chooser = Chooser(frame, tab)
    form.said.value = chooser.sentence
    with chooser.row:
        when = gr.Radio(list(WHEN), value=WHEN[0], label="Recordings during training")
    strip = token_strip(ndjson(select(chooser.traces, WHEN[0])))

    def show(traces: list[Trace], sentence: str, which: str) -> tuple[Any, ...]:
        value = gr.update(value=ndjson(select(traces, which)), k=None, streaming=False)
        return value, say(sentence, "plain" if traces else "bad")

    def work(flag: Event, mine: list[Trace], *values: Any) -> Iterator[tuple[Any, ...]]:
        ask, choice = form.read(*values)
        return _stream(frame, ask, choice, flag, mine, chooser)

    chooser.connect(show, [strip, form.said], when)
    outputs = [strip, frame.mine, chooser.names, chooser.prompts]
    inputs = [frame.mine, *form.inputs]
    job.connect(frame, "watch", form.buttons, form.said, work, inputs, outputs)


def _stream(
    frame: Frame, ask: Ask, choice: PairChoice, flag: Event, mine: list[Trace], chooser: Chooser
) -> Iterator[tuple[Any, ...]]:
    """Values of (said, strip, mine, names, prompts) while the text grows."""
    leave = [gr.skip()] * 4
    ready, begun = frame.models.loaded == choice, time.monotonic()
    yield (say("Writing." if ready else f"Loading {choice.name}."), *leave)

    def write_all(stop: Event) -> Generator[tuple[Progress, bool], None, None]:
        with frame.models.use(choice) as pair:
            for progress in write(pair, ask, stop):
                yield progress, progress.done

    for progress in job.paced(write_all, flag):
        if progress is None:
            if frame.models.loaded != choice:
                spent = time.monotonic() - begun
                yield (say(f"Loading {choice.name}: {spent:.0f} seconds so far."), *leave)
            continue
        sentence = progress.sentence(ask.max_new_tokens)
        value = gr.update(value=ndjson([progress.trace]), streaming=not progress.done, k=None)
        if progress.done:
            kept = keep(mine, [progress.trace])
            yield say(sentence, "good"), value, kept, *chooser.newest(kept)
        else:
            yield (say(sentence), value, *leave[1:])


def select(traces: list[Trace], which: str) -> list[Trace]:
    """First and last recording, or every one."""
    return [traces[0], traces[-1]] if which == WHEN[0] and len(traces) > 2 else traces
