"""What the app can open: run folders on this machine, and recordings that came with the package."""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from skd_lab.app.models import PairChoice
from skd_lab.bundle import bundled_pairs
from skd_lab.errors import SkdError, UsageError
from skd_lab.records import Trace, loads_traces
from skd_lab.runs import Run, list_runs
from skd_lab.views.page import visible

_MARKER = re.compile(r"<\|im_start\|>(system|user|assistant)\b|<\|\w*\|>")
"""Turn markers of chat templates, which say nothing about a prompt."""


@dataclass(frozen=True)
class Opened:
    """A run or a recording, as far as the page shows it."""

    name: str
    traces: list[Trace]
    notes: list[str]
    run: Run | None = None
    """None for a recording of the package: it has no steps and no scores."""

    def prompts(self) -> dict[str, list[Trace]]:
        """Recordings by prompt, each list in step order; the key is what a person chooses from."""
        by_row: dict[Any, list[Trace]] = {}
        for trace in self.traces:
            by_row.setdefault(trace.header.get("row"), []).append(trace)
        found = {}
        for n, traces in enumerate(by_row.values(), start=1):
            traces.sort(key=lambda trace: trace.header.get("step") or 0)
            prompt = visible(str(traces[0].header.get("prompt", "")))
            words = " ".join(_MARKER.sub(" ", prompt).split())
            found[f"{n}: {words[:80]}"] = traces
        return found


class Library:
    """Runs and recordings by name; looked up anew at every call, so a new run appears.

    Args:
        runs_dir: folder of run folders.
        run: one more run folder, opened first.

    Raises:
        UsageError: if `run` is no run folder.
    """

    def __init__(self, runs_dir: str | Path = "runs", run: str | Path | None = None) -> None:
        self.runs_dir = Path(runs_dir)
        self.run = None if run is None else Run(run).path

    def names(self) -> list[str]:
        """What can be opened; the best thing to open first comes first."""
        runs = sorted(self._runs(), key=lambda name: (name != "demo", name))
        first = [name for name, path in self._runs().items() if path == self.run]
        return list(dict.fromkeys([*first, *runs, *self._recordings()]))

    def open(self, name: str) -> Opened:
        """Read what has this name.

        Raises:
            UsageError: for a name that is not in the list, or damaged records.
        """
        runs, recordings = self._runs(), self._recordings()
        if name in runs:
            run = Run(runs[name])
            return Opened(name, run.traces, run.notes, run)
        if name in recordings:
            return Opened(
                name, loads_traces(recordings[name].read_text(encoding="utf-8"), name), []
            )
        raise UsageError(f"There is no run named {name!r} any more. Choose another.")

    def pairs(self, checkpoints: bool = False) -> dict[str, PairChoice]:
        """Pairs by name: those of the package, then the students that runs have trained.

        Args:
            checkpoints: also every checkpoint of a run.
        """
        found = [PairChoice(name, name) for name in bundled_pairs()]
        for name, path in self._runs().items():
            try:
                config = Run(path).config
            except SkdError:
                continue  # its damage is said where the run is opened
            pair, teacher = (config.get(key) for key in ("pair", "teacher"))
            if pair is None and teacher is None:
                continue
            students = {f"student after {name}": path / "student"}
            if checkpoints:
                steps = sorted((path / "checkpoints").glob("step-*/student"))
                students |= {f"{name} at step {int(s.parent.name[5:])}": s for s in steps}
            found += [
                PairChoice(key, pair, student=str(student), teacher=teacher)
                for key, student in students.items()
                if student.is_dir()
            ]
        return {choice.name: choice for choice in found}

    def folder(self, name: str) -> Path | None:
        """The run folder of this name; None for a recording, or what is not there."""
        return self._runs().get(name)

    def _runs(self) -> dict[str, Path]:
        runs = [Run(self.run)] if self.run else []
        return {run.name: run.path for run in [*list_runs(self.runs_dir), *runs]}

    def _recordings(self) -> dict[str, Any]:
        folder = files("skd_lab").joinpath("bundled", "traces")
        if not folder.is_dir():
            return {}
        # the last name first: the task of the pair that is there unasked, and texts before numbers
        found = sorted(((item.name, item) for item in folder.iterdir()), reverse=True)
        return {
            f"recorded: {name.removesuffix('.ndjson')}": item
            for name, item in found
            if name.endswith(".ndjson")
        }
