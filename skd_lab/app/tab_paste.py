"""Paste: any text; where would this teacher refuse it?"""

from collections.abc import Generator, Iterator
from threading import Event
from typing import Any

import gradio as gr

from skd_lab.app import job
from skd_lab.app.asks import (
    MAX_PROMPT_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    check_text,
    whole,
)
from skd_lab.app.forced import judge_text
from skd_lab.app.form import PairForm, examples
from skd_lab.app.frame import Frame
from skd_lab.app.models import PairChoice
from skd_lab.app.parts import judged_with, ndjson, notice, say, token_strip
from skd_lab.errors import UsageError
from skd_lab.records import Trace

ABOUT = """Paste any text, by you or by another model. The teacher looks at each token with your own
words before it, and says whether it is among its K most likely ones. Your text is not changed."""


def add_paste(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    prompt_text, answer = examples()[0]
    gr.Markdown(ABOUT)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            prompt = gr.Textbox(
                prompt_text,
                label="What the text answers (may be empty)",
                lines=3,
                max_length=MAX_PROMPT_CHARACTERS,
            )
            text = gr.Textbox(
                answer, label="Text to judge", lines=4, max_length=MAX_TEXT_CHARACTERS
            )
        with gr.Column(scale=2, min_width=280):
            pair = PairForm(frame, label="Models")
            k = gr.Number(3, label="K", info="teacher's top K", precision=0)
            with gr.Row():
                buttons = job.buttons("Judge")
            said = notice("Press Judge to ask the teacher.")
    strip = token_strip(visible=False)  # until there is a text

    def work(flag: Event, *values: Any) -> Iterator[tuple[Any, ...]]:
        asked, pasted, limit, *models = values
        check_text(pasted, "text", MAX_TEXT_CHARACTERS)
        asked = str(asked or "")
        if len(asked) > MAX_PROMPT_CHARACTERS:
            check_text(asked, "prompt", MAX_PROMPT_CHARACTERS)
        limit = whole("K", limit)
        if limit < 1:
            raise UsageError(f"K must be a whole number, at least 1; got {limit}.")
        return _stream(frame, pair.read(*models), asked, pasted, limit, flag)

    inputs = [prompt, text, k, *pair.inputs]
    job.connect(frame, "paste", buttons, said, work, inputs, [strip])


def _stream(
    frame: Frame, choice: PairChoice, prompt: str, text: str, k: int, flag: Event
) -> Iterator[tuple[Any, ...]]:
    yield say(f"Asking {choice.name}."), gr.skip()

    def judge(stop: Event) -> Generator[tuple[Trace, bool], None, None]:
        with frame.models.use(choice) as pair:
            yield judge_text(pair, prompt, text), True

    for trace in job.paced(judge, flag):
        if trace is not None:
            sentence = say(verdict(trace, k), "good")
            yield sentence, gr.update(value=ndjson([trace]), k=None, visible=True)
            yield sentence, judged_with(min(k, trace.header["vocab_size"]))


def verdict(trace: Trace, k: int) -> str:
    """How much of the text would pass."""
    ranks = [token["teacher_rank"] for token in trace.tokens]
    refused = sum(rank > k for rank in ranks)
    first = sum(rank == 1 for rank in ranks)
    return (
        f"{refused} of {len(ranks)} tokens would be refused with K = {k}; {first} are the "
        "teacher's first choice. Move K in the text's own bar to see others."
    )
