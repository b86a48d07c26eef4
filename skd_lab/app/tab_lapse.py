"""Time-lapse: one prompt over the checkpoints of a run, played like a film."""

from collections.abc import Generator, Iterator
from threading import Event
from typing import Any

import gradio as gr

from skd_lab.app import job
from skd_lab.app.chooser import Chooser
from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.lapse import in_words, judge_over_time
from skd_lab.app.parts import ndjson, notice, say
from skd_lab.app.player import lapse_player
from skd_lab.errors import UsageError
from skd_lab.records import Trace

ABOUT = """The same prompt and the same random numbers at every checkpoint: what changes is the
student. **As recorded**, each checkpoint writes the text anew. **One text for all** lets every
checkpoint of the run judge the last recording's text, so that places stay where they are."""

FIXED = (
    "The text is that of the last recording. At each place the checkpoint proposes a token: struck "
    "through where the teacher would refuse it, blue where it would stand (it may be another word)."
)


def add_lapse(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown(ABOUT)
    chooser = Chooser(frame, tab)
    with gr.Row():
        recorded = gr.Button("As recorded", min_width=160)
        pair = job.buttons("One text for all checkpoints")
    said = notice(chooser.sentence or in_words(chooser.traces))
    player = lapse_player(ndjson(chooser.traces))

    def show(traces: list[Trace], sentence: str) -> tuple[Any, ...]:
        words = sentence or in_words(traces)
        return ndjson(traces), say(words, "plain" if traces else "bad")

    def again(name: str | None, prompt: str | None, mine: list[Trace]) -> tuple[Any, ...]:
        return show(*chooser.find(name, prompt, mine))

    chosen = [chooser.names, chooser.prompts, frame.mine]
    chooser.connect(show, [player, said])
    recorded.click(again, chosen, [player, said], **PLUMBING)

    def work(flag: Event, name: Any, prompt: Any, mine: list[Trace]) -> Iterator[tuple[Any, ...]]:
        return _stream(frame, chooser, flag, name, prompt, mine)

    job.connect(frame, "lapse", pair, said, work, chosen, [player])


def _stream(
    frame: Frame, chooser: Chooser, flag: Event, name: Any, prompt: Any, mine: list[Trace]
) -> Iterator[tuple[Any, ...]]:
    """Values of (said, player) while one checkpoint after the other judges the text."""
    traces, sentence = chooser.find(name, prompt, mine)
    if not traces:
        raise UsageError(sentence)
    run = frame.library.open(name).run if name in frame.library.names() else None
    if run is None:
        raise UsageError(
            f"{name} has no checkpoints, so there is nobody to judge its text. Train a run on the "
            "Train tab and choose it here."
        )
    yield say(f"Loading the checkpoints of {run.name}."), gr.skip()

    def judged(stop: Event) -> Generator[tuple[list[Trace], bool], None, None]:
        for found in judge_over_time(frame.models, run, traces, stop):
            yield found, True

    found: list[Trace] = []
    for news in job.paced(judged, flag):
        if news is None:
            continue
        found = news
        yield say(f"{len(found)} checkpoints have judged the text."), ndjson(found)
    yield say(f"{in_words(found)} {FIXED}", "good"), gr.skip()
