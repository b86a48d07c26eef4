"""What every tab gets: the library, the models, who asked to stop, and the page's own runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from skd_lab.app.library import Library
from skd_lab.app.models import Models
from skd_lab.app.session import Sessions
from skd_lab.app.training import MAX_RUNS, Trainer
from skd_lab.records import Trace

PLUMBING: dict[str, Any] = {
    "api_visibility": "private",
    "queue": False,
    "show_progress": "hidden",
}
"""Settings of an event that only moves things on the page: no model, no waiting, no endpoint."""

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Settings of whatever uses a model: one at a time, over all tabs, pages and endpoints."""

WORK: dict[str, Any] = {**MODEL, "api_visibility": "private", "show_progress": "minimal"}
"""Settings of a button's event that uses a model."""


@dataclass(kw_only=True)
class Frame:
    """What a tab builds on; one an app, shared by all its pages but for `mine`."""

    library: Library
    models: Models
    sessions: Sessions = field(default_factory=Sessions)
    own_models: bool = True
    """Whether visitors may name folders and Hub ids of models."""
    mine: gr.State
    """list[Trace] of this page's own runs, oldest first: what one person wrote, no other sees."""
    app: gr.Blocks
    watched: Callable[..., Trace] | None = None
    """Set by Watch: (run, prompt, which recordings, mine, index) to the trace at that index."""
    watching: list[Any] = field(default_factory=list)
    """Watch's strip, then the components that `watched` takes the values of, but the index."""
    trainer: Trainer = field(init=False)
    """The one run that trains, over all pages."""

    def __post_init__(self) -> None:
        self.trainer = Trainer(self.library, None if self.own_models else MAX_RUNS)
