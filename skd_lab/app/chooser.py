"""Choosing what is shown: a run, or this page's own texts, and one of its prompts."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.library import Opened
from skd_lab.errors import SkdError, UsageError
from skd_lab.records import Trace
from skd_lab.views.page import visible

MINE = "your own texts on this page"

HOW_TO_RECORD = (
    "Nothing is recorded yet. Press Run to write a text with the models, or record a training run "
    "with skd-lab demo (a few minutes) and load this page again."
)

Show = Callable[..., tuple[Any, ...]]
"""(recordings of the chosen prompt in step order, a sentence or "", more) to what it fills."""


def trace_name(trace: Trace) -> str:
    """A recording's place in its run."""
    header = trace.header
    if header.get("label"):
        return visible(str(header["label"]))
    if not header.get("run"):
        return "as written here"
    step = header.get("step") or 0
    return f"after training step {step}" if step else "before training"


class Chooser:
    """Two dropdowns, run and prompt; whatever is chosen is handed to `show`.

    Args:
        frame: of the app.
        tab: whose opening looks the runs up anew.
    """

    def __init__(self, frame: Frame, tab: gr.Tab) -> None:
        self.frame = frame
        names = frame.library.names()
        first = names[0] if names else None
        self.traces, self.sentence = self.find(first, None, [])
        prompts = self._prompts(first, [])
        with gr.Row() as self.row:
            self.names = gr.Dropdown(names, value=first, label="Run", interactive=True)
            self.prompts = gr.Dropdown(
                prompts, value=prompts[0] if prompts else None, label="Prompt", interactive=True
            )
        self._tab = tab

    def connect(self, show: Show, outputs: Sequence[Any], *more: Any) -> None:
        """Hand every choice to `show`.

        Args:
            show: called with traces and a sentence, then the values of `more`.
            outputs: components it fills.
            more: components whose values it gets, and whose change by a person shows anew.
        """

        def by_run(name: str | None, mine: list[Trace], *values: Any) -> tuple[Any, ...]:
            prompts = self._prompts(name, mine)
            # the newest of one's own texts, else the first of a run's prompts
            prompt = prompts[-1 if name == MINE else 0] if prompts else None
            shown = show(*self.find(name, prompt, mine), *values)
            return (gr.update(choices=prompts, value=prompt), *shown)

        def by_prompt(name: str, prompt: str, mine: list[Trace], *values: Any) -> tuple[Any, ...]:
            return show(*self.find(name, prompt, mine), *values)

        def at_load(name: str | None, mine: list[Trace], *values: Any) -> tuple[Any, ...]:
            names = self.choices(mine)
            name = name if name in names else names[0] if names else None
            return (gr.update(choices=names, value=name), *by_run(name, mine, *values))

        mine = self.frame.mine
        choosing = [self.prompts, *outputs]
        self.names.input(by_run, [self.names, mine, *more], choosing, **PLUMBING)
        for changed in (self.prompts, *more):
            changed.input(by_prompt, [self.names, self.prompts, mine, *more], outputs, **PLUMBING)
        self.frame.app.load(at_load, [self.names, mine, *more], [self.names, *choosing], **PLUMBING)
        self._tab.select(
            lambda mine: gr.update(choices=self.choices(mine)), mine, self.names, **PLUMBING
        )

    def choices(self, mine: Sequence[Trace]) -> list[str]:
        """Names to choose from, this page's own texts first."""
        return [*([MINE] if mine else []), *self.frame.library.names()]

    def newest(self, mine: Sequence[Trace]) -> tuple[Any, Any]:
        """Updates of both dropdowns that choose the newest of the page's own texts."""
        prompts = self._prompts(MINE, mine)
        return (
            gr.update(choices=self.choices(mine), value=MINE),
            gr.update(choices=prompts, value=prompts[-1]),
        )

    def find(
        self, name: str | None, prompt: str | None, mine: Sequence[Trace]
    ) -> tuple[list[Trace], str]:
        """Recordings of a prompt (the run's first if None), and what is to be said of them."""
        if not name:
            return [], HOW_TO_RECORD
        try:
            opened = self._open(name, mine)
        except SkdError as error:
            return [], str(error)
        prompts = opened.prompts()
        if not prompts:
            return [], f"{opened.name} has no recorded completion."
        traces = prompts.get(str(prompt)) if prompt else next(iter(prompts.values()))
        if not traces:
            return [], f"{opened.name} has no such prompt any more. Choose another."
        return traces, " ".join(opened.notes)

    def _prompts(self, name: str | None, mine: Sequence[Trace]) -> list[str]:
        try:
            return list(self._open(name, mine).prompts()) if name else []
        except SkdError:
            return []

    def _open(self, name: str, mine: Sequence[Trace]) -> Opened:
        if name != MINE:
            return self.frame.library.open(name)
        if not mine:
            raise UsageError("You have written no text on this page yet. Press Run.")
        return Opened(MINE, list(mine), [])
