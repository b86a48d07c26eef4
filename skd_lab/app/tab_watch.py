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
from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.models import PairChoice
from skd_lab.app.parts import ndjson, say, token_strip
from skd_lab.app.session import keep
from skd_lab.app.writing import Progress, write
from skd_lab.errors import UsageError
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
    first = select(chooser.traces, WHEN[0])
    strip = token_strip(ndjson(first), permalink=True, actions=["branch"])
    asked = gr.State({})  # of this page's own texts: row to the form's values

    def show(traces: list[Trace], sentence: str, which: str) -> tuple[Any, ...]:
        value = gr.update(value=ndjson(select(traces, which)), actions=actions(traces))
        return value, say(sentence, "plain" if traces else "bad")

    def work(flag: Event, mine: list[Trace], asks: dict, *values: Any) -> Iterator[tuple[Any, ...]]:
        ask, choice = form.read(*values)
        for said, value, kept, *names in _stream(frame, ask, choice, flag, mine, chooser):
            if isinstance(kept, list):
                asks = {**asks, kept[-1].header["row"]: values}
            yield said, value, kept, *names, asks

    def watched(name: str, prompt: str, which: str, mine: list[Trace], at: Any) -> Trace:
        traces = select(chooser.find(name, prompt, mine)[0], which)
        if type(at) is not int or not 0 <= at < len(traces):
            raise UsageError("That text is not there any more. Choose it again.")
        return traces[at]

    def recall(
        name: str, prompt: str, which: str, mine: list[Trace], asks: dict, event: gr.EventData
    ) -> tuple[Any, ...]:
        """The form as it was for this text, with the K of the strip."""
        row = watched(name, prompt, which, mine, getattr(event, "trace", None)).header.get("row")
        if row not in asks:
            raise UsageError("That text is not there any more. Choose it again.")
        values = list(asks[row])
        values[form.inputs.index(form.k)] = getattr(event, "k", None)
        return tuple(values)

    chooser.connect(show, [strip, form.said], when)
    frame.watched = watched
    frame.watching = [strip, chooser.names, chooser.prompts, when, frame.mine]
    rerun = strip.rerun(recall, [*frame.watching[1:], asked], form.inputs, **PLUMBING)
    outputs = [strip, frame.mine, chooser.names, chooser.prompts, asked]
    inputs = [frame.mine, asked, *form.inputs]
    job.connect(
        frame, "watch", form.buttons, form.said, work, inputs, outputs, also=[rerun.success]
    )


def actions(traces: list[Trace]) -> list[str]:
    """What a strip may offer: only the page's own texts can be written again as they were."""
    own = bool(traces) and not traces[0].header.get("run")
    return ["rerun", "branch"] if own else ["branch"]


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
        done = progress.done
        value = gr.update(value=ndjson([progress.trace]), streaming=not done, k=None)
        if done:
            kept = keep(mine, [progress.trace])
            value = gr.update(value=ndjson(kept[-1:]), streaming=False, actions=actions(kept))
            yield say(sentence, "good"), value, kept, *chooser.newest(kept)
        else:
            yield (say(sentence), value, *leave[1:])


def select(traces: list[Trace], which: str) -> list[Trace]:
    """First and last recording, or every one."""
    return [traces[0], traces[-1]] if which == WHEN[0] and len(traces) > 2 else traces
