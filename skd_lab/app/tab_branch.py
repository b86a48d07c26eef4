"""Branch: at a refused token, what each model would have said."""

from collections.abc import Generator, Iterator
from threading import Event
from typing import Any

import gradio as gr

from skd_lab.app import job
from skd_lab.app.branching import HOW, forks, roads
from skd_lab.app.chooser import Chooser, trace_name
from skd_lab.app.form import PairForm
from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.parts import judged_with, ndjson, notice, say, token_strip
from skd_lab.errors import UsageError
from skd_lab.records import Trace
from skd_lab.views.page import visible
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
    strip = token_strip(visible=False)  # until there are roads

    def show(traces: list[Trace], sentence: str) -> tuple[Any, ...]:
        names = [trace_name(trace) for trace in traces]
        choice = gr.update(choices=names, value=names[0] if names else None)
        return choice, traces, *pick(traces, 0, sentence)

    def pick(traces: list[Trace], at: int | None, sentence: str = "") -> tuple[Any, ...]:
        chosen = traces[at : at + 1] if at is not None else []
        places = fork_names(chosen)
        note = say(sentence or hint(places), "plain" if chosen else "bad")
        choice = gr.update(choices=places, value=places[0][1] if places else None)
        return note, ndjson(chosen), choice, gr.update(value="", visible=False)

    def picked(traces: list[Trace], at: int | None, event: gr.EventData) -> Any:
        found = fork_choice(traces[at], event) if at is not None and traces else None
        return gr.skip() if found is None else gr.update(**found)

    def come(
        name: str, prompt: str, which: str, mine: list[Trace], event: gr.EventData
    ) -> tuple[Any, ...]:
        """A token of Watch's strip becomes the fork here."""
        assert frame.watched is not None
        trace = frame.watched(name, prompt, which, mine, getattr(event, "trace", None))
        traces = chooser.find(name, prompt, mine)[0]
        found = fork_choice(trace, event) or {}
        names = [trace_name(one) for one in traces]
        at = traces.index(trace)
        return (
            gr.update(choices=chooser.choices(mine), value=name),
            gr.update(choices=[prompt], value=prompt),
            gr.update(choices=names, value=names[at]),
            traces,
            say(hint(fork_names([trace]))),
            ndjson([trace]),
            gr.update(**found) if found else gr.skip(),
            gr.update(value="", visible=False),
        )

    filled = [said, whole_text, fork, strip]
    chooser.connect(show, [which, shown, *filled])
    which.input(pick, [shown, which], filled, **PLUMBING)
    for event in (whole_text.pick, whole_text.branch):
        event(picked, [shown, which], fork, **PLUMBING)

    if frame.watched is not None:
        strip_there, *there = frame.watching
        coming = [chooser.names, chooser.prompts, which, shown, *filled]
        arrived = strip_there.branch(come, there, coming, **PLUMBING)
        arrived.success(None, None, None, js="() => { location.hash = 'branch'; }")

    def work(flag: Event, traces: list[Trace], at: int | None, *values: Any) -> Any:
        place, draw, *models = values
        if at is None or not 0 <= at < len(traces) or place is None:
            raise UsageError("There is no refused token to start from. Choose another recording.")
        choice = pair.read(*models)
        i, first = read_fork(traces[at], place)

        def go(stop: Event) -> Generator[tuple[list[Trace], bool], None, None]:
            with frame.models.use(choice) as loaded:
                yield roads(loaded, traces[at], i, draw, first=first), True

        return _stream(frame, go, flag, choice.name, traces[at].header.get("accept_top_k"))

    inputs = [shown, which, fork, how, *pair.inputs]
    job.connect(frame, "branch", buttons, said, work, inputs, [strip])


def _stream(frame: Frame, go: Any, flag: Event, name: str, k: Any) -> Iterator[tuple[Any, ...]]:
    yield say(f"Asking {name}."), gr.skip()
    for found in job.paced(go, flag):
        if found is not None:
            sentence = say("Each road is judged by the teacher.", "good")
            # what a hidden component was made with does not reach the page
            view: dict[str, Any] = {"title": "The three roads", "controls": False, "visible": True}
            yield sentence, gr.update(value=ndjson(found), k=None, **view)
            yield sentence, judged_with(k if isinstance(k, int) else None)


def fork_names(traces: list[Trace]) -> list[tuple[str, str]]:
    """Choices of the refused tokens of the first trace: (what a person reads, value)."""
    if not traces:
        return []
    tokens = traces[0].tokens
    return [
        (
            f"{i}: the student said {_quoted(tokens[i], 'proposed')}, "
            f"the teacher wrote {_quoted(tokens[i], 'kept')}",
            str(i),
        )
        for i in forks(traces[0])
    ]


def fork_choice(trace: Trace, event: Any) -> dict[str, Any] | None:
    """The dropdown's choices and value for a token that was chosen in a strip.

    A payload of a page is looked up, not believed: None if it names nothing of this trace.
    """
    place, token_id = getattr(event, "i", None), getattr(event, "token_id", None)
    found = fork_names([trace])
    if type(place) is not int or not 0 <= place < len(trace.tokens):
        return None
    token = trace.tokens[place]
    other = getattr(event, "who", None) == "other" and token_id != token.get("proposed_id")
    if other and token_id in known_ids(token):
        name = f"{place}: you choose {_plain(known_ids(token)[token_id])}"
        found.append((f"{name}, the text has {_quoted(token, 'kept')}", f"{place}:{token_id}"))
        return {"choices": found, "value": found[-1][1]}
    if str(place) in [value for _, value in found]:
        return {"choices": found, "value": str(place)}
    return None


def known_ids(token: dict[str, Any]) -> dict[int, str]:
    """Ids that a record knows at its place, with their texts."""
    tops = [*token.get("student_top", ()), *token.get("teacher_top", ())]
    return {entry[0]: str(entry[1]) for entry in tops}


def read_fork(trace: Trace, value: Any) -> tuple[int, int | None]:
    """Place and first id (None: the student's proposal) of the dropdown's value.

    Raises:
        UsageError: if the trace has no such place or does not know the id.
    """
    place, _, token_id = str(value).partition(":")
    good = place.isdecimal() and int(place) < len(trace.tokens)
    if good and not token_id:
        return int(place), None
    if good and token_id.isdecimal() and int(token_id) in known_ids(trace.tokens[int(place)]):
        return int(place), int(token_id)
    raise UsageError("That token is not in this text. Choose another in the list.")


def hint(places: list[tuple[str, str]]) -> str:
    """What can be done here."""
    if places:
        return "Choose a refused token in the list, or in the text below, and press the button."
    return (
        "No token of this text was refused, so it has no fork. Choose another recording, or write "
        "a text with a smaller K in the tab Watch."
    )


def _quoted(token: dict[str, Any], which: str) -> str:
    return _plain(token_text(token, which))


def _plain(text: str) -> str:
    return "\u201c" + visible(text).replace("\n", "\u23ce").strip(" ") + "\u201d"
