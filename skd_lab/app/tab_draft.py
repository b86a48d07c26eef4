"""Draft: the student as a speculative draft for the teacher, by the lossless rule and by top-K."""

from collections.abc import Generator, Iterator
from threading import Event
from typing import Any

import gradio as gr

from skd_lab.app import job
from skd_lab.app.asks import Ask
from skd_lab.app.drafting import draft, economics
from skd_lab.app.form import AskForm
from skd_lab.app.frame import Frame
from skd_lab.app.models import PairChoice
from skd_lab.app.parts import ndjson, say, token_strip
from skd_lab.records import Trace

ABOUT = """A student that the teacher mostly agrees with can make the teacher faster: it drafts, and
the teacher checks several tokens in one look. The lossless rule keeps exactly the teacher's own
text; SKD's top-K rule keeps more of the student's. Compare what both keep and what both cost."""

HEADS = [
    "rule",
    "tokens",
    "looks by the teacher",
    "tokens per look",
    "proposals kept",
    "refused",
    "thrown away",
    "share kept",
]


def add_draft(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown(ABOUT)
    form = AskForm(frame, checkpoints=True, said="Press Run to write the prompt by both rules.")
    # both until there is a text
    costs = gr.Dataframe(
        headers=HEADS, label="What each text cost", interactive=False, visible=False
    )
    strip = token_strip(visible=False)

    def work(flag: Event, *values: Any) -> Iterator[tuple[Any, ...]]:
        ask, choice = form.read(*values)
        return _stream(frame, ask, choice, flag)

    job.connect(frame, "draft", form.buttons, form.said, work, form.inputs, [costs, strip])


def _stream(frame: Frame, ask: Ask, choice: PairChoice, flag: Event) -> Iterator[tuple[Any, ...]]:
    yield say(f"Asking {choice.name}."), gr.skip(), gr.skip()

    def both(stop: Event) -> Generator[tuple[list[Trace], bool], None, None]:
        with frame.models.use(choice) as pair:
            for traces in draft(pair, ask, stop):
                yield traces, True

    for traces in job.paced(both, flag):
        if traces is not None:
            yield (
                say(sentence(traces), "good"),
                gr.update(value=rows(traces), visible=True),
                gr.update(value=ndjson(traces), controls=False, visible=True),
            )


def rows(traces: list[Trace]) -> list[list[str]]:
    """The table's rows."""
    found = []
    for name, trace in zip(("lossless", "top-K"), traces, strict=False):
        cost = economics(trace)
        counts = (cost.kept, cost.refused, cost.thrown_away)
        found.append(
            [
                name,
                str(cost.tokens),
                str(cost.looks),
                f"{cost.tokens_per_look:.2f}",
                *map(str, counts),
                f"{cost.acceptance_rate:.0%}",
            ]
        )
    return found


def sentence(traces: list[Trace]) -> str:
    """What a look of the teacher brought, in words."""
    first, *second = (f"{economics(trace).tokens_per_look:.2f} tokens" for trace in traces)
    more = f" and {second[0]} by top-K" if second else ""
    return (
        f"One look of the teacher brought {first} by the lossless rule{more}. "
        "The teacher alone would need one look a token."
    )
