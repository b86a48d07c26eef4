"""Watch: let the models write a text and see it grow, or look at a recorded one."""

import time
from collections.abc import Generator, Iterator
from threading import Event
from typing import Any

import gradio as gr

from skd_lab.app.asks import Ask
from skd_lab.app.chooser import Chooser
from skd_lab.app.form import AskForm
from skd_lab.app.frame import PLUMBING, WORK, Frame
from skd_lab.app.models import PairChoice, in_one_thread
from skd_lab.app.parts import ndjson, notice, say, token_strip
from skd_lab.app.ranks import link, rank_data, rank_view
from skd_lab.app.session import keep
from skd_lab.app.writing import Progress, write
from skd_lab.errors import SkdError
from skd_lab.records import Trace

WHEN = ("first and last", "every one")
"""Which recordings of a prompt are shown."""

PAUSE = 0.1
"""Seconds between two updates of the page while a text grows."""

BUSY = (
    "The server did not take this: too many others wait for the model, or the server is gone. "
    "Press Run to try again. What is on the page goes on working."
)


def add_watch(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    with gr.Accordion("Write a new text with the models", open=True):
        form = AskForm(frame)
        with gr.Row():
            run = gr.Button("Run", variant="primary")
            stop = gr.Button("Stop", interactive=False)
        said = notice()
    chooser = Chooser(frame, tab)
    when = gr.Radio(list(WHEN), value=WHEN[0], label="Recordings during training")
    strip = token_strip(ndjson(select(chooser.traces, WHEN[0])))
    ranks = rank_view(rank_data(select(chooser.traces, WHEN[0])))
    link(ranks, strip)

    def show(traces: list[Trace], sentence: str, which: str) -> tuple[Any, ...]:
        chosen = select(traces, which)
        tone = "plain" if traces else "bad"
        return ndjson(chosen), say(sentence, tone), rank_data(chosen)

    chooser.connect(show, [strip, said, ranks], when)

    def begin(request: gr.Request) -> tuple[Any, ...]:
        frame.sessions.begin(request.session_hash, "watch")
        return gr.update(interactive=False), gr.update(interactive=True), say("")

    def work(request: gr.Request, mine: list[Trace], *values: Any) -> Iterator[tuple[Any, ...]]:
        flag = frame.sessions.flag(request.session_hash, "watch")
        try:
            ask, choice = form.read(*values)
            yield from _stream(frame, ask, choice, flag, mine, chooser)
        except SkdError as error:
            yield (gr.skip(), say(str(error), "bad"), *[gr.skip()] * 4)

    def ask_to_stop(request: gr.Request) -> None:
        frame.sessions.stop(request.session_hash, "watch")

    buttons = [run, stop]
    running = run.click(begin, None, [*buttons, said], **PLUMBING).then(
        work,
        [frame.mine, *form.inputs],
        [strip, said, ranks, frame.mine, chooser.names, chooser.prompts],
        **WORK,
    )
    running.failure(lambda: say(BUSY, "bad"), None, said, **PLUMBING)
    running.then(
        lambda: (gr.update(interactive=True), gr.update(interactive=False)),
        None,
        buttons,
        **PLUMBING,
    )
    stop.click(ask_to_stop, None, None, **PLUMBING)


def _stream(
    frame: Frame, ask: Ask, choice: PairChoice, flag: Event, mine: list[Trace], chooser: Chooser
) -> Iterator[tuple[Any, ...]]:
    """Values of (strip, said, ranks, mine, names, prompts) while the text grows."""
    leave = [gr.skip()] * 4
    ready = frame.models.loaded == choice
    yield (gr.skip(), say("Writing." if ready else f"Loading {choice.name}."), *leave)

    def whole_job(stop: Event) -> Generator[Progress, None, None]:
        with frame.models.use(choice) as pair:
            yield from write(pair, ask, stop)

    begun = shown = time.monotonic()
    for progress in in_one_thread(whole_job, flag):
        now = time.monotonic()
        if progress is None:
            if frame.models.loaded != choice:
                text = f"Loading {choice.name}: {now - begun:.0f} seconds so far."
                yield (gr.skip(), say(text), *leave)
        elif progress.done:
            kept = keep(mine, [progress.trace])
            sentence = say(progress.sentence(ask.max_new_tokens), "good")
            yield (
                gr.update(value=ndjson(kept[-1:]), streaming=False),
                sentence,
                rank_data(kept[-1:]),
                kept,
                *chooser.newest(kept),
            )
        elif now - shown >= PAUSE:
            shown = now
            text = progress.sentence(ask.max_new_tokens)
            value = gr.update(value=ndjson([progress.trace]), streaming=True)
            yield (value, say(text), *leave)


def select(traces: list[Trace], which: str) -> list[Trace]:
    """First and last recording, or every one."""
    return [traces[0], traces[-1]] if which == WHEN[0] and len(traces) > 2 else traces
