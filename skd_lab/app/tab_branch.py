"""Branch: at a refused token, what each model would have said."""

from collections.abc import Generator, Iterator
from threading import Event
from typing import Any

import gradio as gr

from skd_lab.app import job
from skd_lab.app.asks import whole
from skd_lab.app.branching import HOW, forks, roads
from skd_lab.app.chooser import Chooser, trace_name
from skd_lab.app.form import PairForm
from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.parts import judged_with, ndjson, notice, say, token_strip
from skd_lab.errors import UsageError
from skd_lab.records import Trace
from skd_lab.views.text import token_text

ABOUT = """The teacher refused a token and the text took another road. Choose such a token: both
models then go on from there alone, and you see what would have been said."""


def add_branch(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown(ABOUT)
    chooser = Chooser(frame, tab)
    names = [trace_name(trace) for trace in chooser.traces]
    with chooser.row:
        which = gr.Dropdown(
            names, value=names[0] if names else None, label="Recording", type="index"
        )
    shown = gr.State(chooser.traces)
    places = fork_names(chooser.traces[:1])
    with gr.Row():
        fork = gr.Dropdown(
            places, value=places[0][1] if places else None, label="Refused token", scale=2
        )
        how = gr.Dropdown(list(HOW), value=HOW[0], label="Both models draw with", scale=1)
        pair = PairForm(frame, label="Models that go on")
    with gr.Row():
        buttons = job.buttons("Show the three roads")
    said = notice(chooser.sentence or hint(places))
    whole_text = token_strip(ndjson(chooser.traces[:1]), controls=False, actions=["branch"])
    gr.Markdown("### The three roads")
    strip = token_strip(layout="inline", controls=False)

    def show(traces: list[Trace], sentence: str) -> tuple[Any, ...]:
        names = [trace_name(trace) for trace in traces]
        choice = gr.update(choices=names, value=names[0] if names else None)
        return choice, traces, *pick(traces, 0, sentence)

    def pick(traces: list[Trace], at: int | None, sentence: str = "") -> tuple[Any, ...]:
        chosen = traces[at : at + 1] if at is not None else []
        places = fork_names(chosen)
        note = say(sentence or hint(places), "plain" if chosen else "bad")
        choice = gr.update(choices=places, value=places[0][1] if places else None)
        return note, ndjson(chosen), choice, ""

    def picked(traces: list[Trace], at: int | None, event: gr.EventData) -> Any:
        # a payload of the page is looked up, not believed
        place = getattr(event, "i", None)
        known = [value for _, value in fork_names(traces[at : at + 1] if at is not None else [])]
        return gr.update(value=place) if place in known else gr.skip()

    filled = [said, whole_text, fork, strip]
    chooser.connect(show, [which, shown, *filled])
    which.input(pick, [shown, which], filled, **PLUMBING)
    for event in (whole_text.pick, whole_text.branch):
        event(picked, [shown, which], fork, **PLUMBING)

    def work(flag: Event, traces: list[Trace], at: int | None, *values: Any) -> Any:
        place, draw, *models = values
        if at is None or not 0 <= at < len(traces) or place is None:
            raise UsageError("There is no refused token to start from. Choose another recording.")
        choice, place = pair.read(*models), whole("The refused token", place)

        def go(stop: Event) -> Generator[tuple[list[Trace], bool], None, None]:
            with frame.models.use(choice) as loaded:
                yield roads(loaded, traces[at], place, draw), True

        return _stream(frame, go, flag, choice.name, traces[at].header.get("accept_top_k"))

    inputs = [shown, which, fork, how, *pair.inputs]
    job.connect(frame, "branch", buttons, said, work, inputs, [strip])


def _stream(frame: Frame, go: Any, flag: Event, name: str, k: Any) -> Iterator[tuple[Any, ...]]:
    yield say(f"Asking {name}."), gr.skip()
    for found in job.paced(go, flag):
        if found is not None:
            sentence = say("Each road is judged by the teacher.", "good")
            yield sentence, gr.update(value=ndjson(found), k=None)
            yield sentence, judged_with(k if isinstance(k, int) else None)


def fork_names(traces: list[Trace]) -> list[tuple[str, int]]:
    """Choices of the refused tokens of the first trace: (what a person reads, place)."""
    if not traces:
        return []
    tokens = traces[0].tokens
    return [
        (
            f"{i}: the student said {_quoted(tokens[i], 'proposed')}, "
            f"the teacher wrote {_quoted(tokens[i], 'kept')}",
            i,
        )
        for i in forks(traces[0])
    ]


def hint(places: list[tuple[str, int]]) -> str:
    """What can be done here."""
    if places:
        return "Choose a refused token in the list, or in the text below, and press the button."
    return (
        "No token of this text was refused, so it has no fork. Choose another recording, or write "
        "a text with a smaller K in the tab Watch."
    )


def _quoted(token: dict[str, Any], which: str) -> str:
    text = token_text(token, which)
    return "\u201c" + text.replace("\n", "\u23ce").strip(" ") + "\u201d"
