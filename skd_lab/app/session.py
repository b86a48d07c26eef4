"""What belongs to one open page: its wish to stop, and the runs it has made.

A page's own runs live in a gr.State, so gradio keeps them by session and no other page can name
them. The wish to stop has to reach a generator that is already running, so it lives here.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace

from skd_lab.records import Trace

KEPT_RUNS = 10
"""A page keeps its newest runs."""


class Sessions:
    """One stop flag per (page, tab)."""

    def __init__(self) -> None:
        self._flags: dict[tuple[str, str], threading.Event] = {}

    def begin(self, session: str | None, tab: str) -> None:
        """A new run was asked for: an earlier wish to stop no longer counts."""
        self._flags[session or "", tab] = threading.Event()

    def flag(self, session: str | None, tab: str) -> threading.Event:
        """Is set when the run is to stop."""
        return self._flags.setdefault((session or "", tab), threading.Event())

    def stop(self, session: str | None, tab: str) -> None:
        """Ask the run of this page and tab to stop, also if it still waits for its turn."""
        self.flag(session, tab).set()

    def leave(self, session: str | None) -> None:
        """The page was closed: nobody will look at what it asked for."""
        for key in [key for key in self._flags if key[0] == (session or "")]:
            self._flags.pop(key).set()


def keep(mine: Sequence[Trace], new: Sequence[Trace]) -> list[Trace]:
    """The page's runs with the new ones behind, the oldest dropped; each gets a row of its own."""
    last = max([trace.header.get("row") or 0 for trace in mine], default=0)
    numbered = [
        replace(trace, header={**trace.header, "row": last + n})
        for n, trace in enumerate(new, start=1)
    ]
    return [*mine, *numbered][-KEPT_RUNS:]
