"""A Run button and its Stop button: whatever uses a model starts and ends the same way."""

import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from threading import Event
from typing import Any, TypeVar

import gradio as gr

from skd_lab.app.frame import PLUMBING, WORK, Frame
from skd_lab.app.models import in_one_thread
from skd_lab.app.parts import say
from skd_lab.errors import SkdError

T = TypeVar("T")

PAUSE = 0.1
"""Seconds between two updates of the page while a text grows."""

BUSY = (
    "The server did not do this: too many others wait for the model, it failed, or it is gone. "
    "Press the button to try again. What is on the page goes on working."
)

# what is said and done when the server may be gone is said and done by the page
ENDED = """() => [true, false].map((on) => ({ __type__: "update", interactive: on }))"""
FAILED = (
    f"""() => [{{ __type__: "update", value: {json.dumps(BUSY)}, tone: "bad" }}, ...({ENDED})()]"""
)

Work = Callable[..., Iterator[tuple[Any, ...]]]
"""(flag to stop at, values of the inputs) to values of (said, *outputs)."""


def buttons(run: str = "Run") -> tuple[gr.Button, gr.Button]:
    """Run and Stop, side by side."""
    return (
        gr.Button(run, variant="primary", min_width=120),
        gr.Button("Stop", interactive=False, min_width=120),
    )


def connect(
    frame: Frame,
    name: str,
    pair: tuple[gr.Button, gr.Button],
    said: gr.HTML,
    work: Work,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    also: Sequence[Any] = (),
) -> None:
    """Let Run do the work and Stop end it.

    Args:
        frame: of the app.
        name: of the tab; pages and tabs stop apart.
        pair: from `buttons`.
        said: the notice beside them. A SkdError of `work` is said there.
        work: a generator.
        inputs: components whose values it gets, behind the flag.
        outputs: components it fills, behind the notice.
        also: other events (such as strip.rerun) that start the same work.
    """
    run, stop = pair

    def begin(request: gr.Request) -> tuple[Any, ...]:
        frame.sessions.begin(request.session_hash, name)
        return gr.update(interactive=False), gr.update(interactive=True), say("")

    def guarded(request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        try:
            yield from work(frame.sessions.flag(request.session_hash, name), *values)
        except SkdError as error:
            yield (say(str(error), "bad"), *[gr.skip()] * len(outputs))

    def ask_to_stop(request: gr.Request) -> None:
        frame.sessions.stop(request.session_hash, name)

    both, filled = [run, stop], [said, *outputs]
    for start in (run.click, *also):
        begun = start(begin, None, [*both, said], **PLUMBING)
        going = begun.then(guarded, list(inputs), filled, **WORK)
        for event in (begun, going):
            event.failure(None, None, [said, *both], js=FAILED, api_visibility="private")
        going.then(None, None, both, js=ENDED, api_visibility="private")
    stop.click(ask_to_stop, None, None, **PLUMBING)


def paced(
    work: Callable[[Event], Generator[tuple[T, bool], None, None]], flag: Event
) -> Iterator[T | None]:
    """Run a generator of (item, whether it must be seen) in a thread; pass on what a page can take.

    Yields:
        Items at most every PAUSE seconds, those that must be seen always; None for each second in
        which nothing came.
    """
    shown = 0.0
    for found in in_one_thread(work, flag):
        if found is None:
            yield None
            continue
        item, needed = found
        if needed or time.monotonic() - shown >= PAUSE:
            shown = time.monotonic()
            yield item
