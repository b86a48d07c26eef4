"""A run folder on disk: list the runs, open one, read what is there.

- `config.json`: what decided the run
- `steps.jsonl`: one line an optimizer update
- `traces.ndjson`: the watched prompts, token by token
- `eval.jsonl`: evaluations
- `checkpoints/step-N/`: written under another name, then renamed
- `student/`: a plain Hugging Face folder
- `environment.json`: the sessions in which it was made
- `report.html`
"""

import bisect
import contextlib
import json
import math
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from skd_lab.errors import DataError, UsageError
from skd_lab.files import read_json, read_jsonl, read_text
from skd_lab.records import StepRecord, Trace, loads_traces, read_traces


class Run:
    """A run folder, read part by part when asked for; missing parts are empty.

    Args:
        path: the folder.
        strict: refuse a part that is damaged anywhere but in a cut last line (DataError); if
            False, what can be read of it is given and the damage is said in `notes`.

    Attributes:
        path: the folder.
        notes: what was damaged and left out, filled as parts are read.
    """

    def __init__(self, path: str | Path, *, strict: bool = True):
        self.path, self.strict = Path(path), strict
        self.notes: list[str] = []
        if not self.path.is_dir():
            raise UsageError(f"No run folder at {self.path}. `list_runs(root)` shows those there.")
        if not any((self.path / part).exists() for part in _PARTS):
            raise UsageError(
                f"{self.path} is not a run folder: it holds none of {', '.join(_PARTS)}. "
                "Give the folder a run was written to."
            )

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The folder's own."""
        return self.path.resolve().name

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json`: the fields of the RunConfig."""
        return self._object("config.json")

    @cached_property
    def steps(self) -> list[StepRecord]:
        """Step records in step order; a step written again after a resume counts once, as last
        written."""
        by_step: dict[int, StepRecord] = {}
        for number, record in enumerate(self._lines("steps.jsonl"), start=1):
            metrics = dict(record)
            step = metrics.pop("step", None)
            if not isinstance(step, int):
                problem = (
                    f"{self.path / 'steps.jsonl'}, record {number}: no whole number under 'step', "
                    f"got {step!r}. Repair or remove that line."
                )
                if self.strict:
                    raise DataError(problem)
                self.notes.append(problem)
                continue
            metrics = {key: _number(value) for key, value in metrics.items()}
            by_step[step] = StepRecord(step=step, metrics=metrics)
        return [by_step[step] for step in sorted(by_step)]

    @cached_property
    def traces(self) -> list[Trace]:
        """`traces.ndjson` in the order written; empty without one. Damage is an error if `strict`;
        else the tokens before it are kept, and it is noted."""
        path = self.path / "traces.ndjson"
        if not path.exists():
            return []
        if self.strict:
            return loads_traces(read_text(path), name=str(path), notes=self.notes)
        return good_traces(path, self.notes)

    @cached_property
    def evals(self) -> list[dict[str, Any]]:
        """`eval.jsonl`: the evaluations on the way, oldest first."""
        return self._lines("eval.jsonl")

    @cached_property
    def table(self) -> dict[str, Any]:
        """`table.json`, if the run wrote one (what the demo prints at its end)."""
        return self._object("table.json")

    @cached_property
    def environment(self) -> dict[str, Any]:
        """`environment.json`: the sessions in which the run was made, under "sessions"."""
        return self._object("environment.json")

    def _object(self, name: str) -> dict[str, Any]:
        path = self.path / name
        return self._read(path, read_json, lambda _: {}) if path.exists() else {}

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self.path / name
        if not path.exists():
            return []
        return self._read(path, lambda path: read_jsonl(path, notes=self.notes), _whole_lines)

    def _read(self, path: Path, read: Callable, spare: Callable) -> Any:
        """`read(path)`; if that is damaged and the run not strict, `spare(path)` and a note."""
        try:
            return read(path)
        except DataError as error:
            if self.strict:
                raise
            self.notes.append(f"{error} Shown is what can be read.")
            return spare(path)


def good_traces(path: str | Path, notes: list[str]) -> list[Trace]:
    """What can be read of a damaged file of traces: of each, the tokens before the damage.

    Args:
        path: NDJSON of traces, or an exported page (that one whole or not at all).
        notes: what was left out is said here.

    Raises:
        DataError: if the file cannot be read, or nothing in it is a trace.
    """
    path = Path(path)
    try:
        text = read_text(path)
        if text[:15].lower() == "<!doctype html>":
            return read_traces(path)
        return loads_traces(text, name=str(path), notes=notes)
    except DataError as error:
        if not path.is_file():
            raise
        traces: list[Trace] = []
        # a header starts a trace; what one lost to damage is no loss to the next
        for part in re.split(r'^(?=\{"schema")', _any_text(path), flags=re.M):
            lines = part.splitlines(keepends=True)
            end = bisect.bisect_left(range(1, len(lines) + 1), True, key=_is_damaged(lines))
            traces += loads_traces("".join(lines[:end]))
        if not traces:
            raise
        notes.append(f"{error} Shown is what can be read.")
        return traces


def _is_damaged(lines: list[str]) -> Callable[[int], bool]:
    def damaged(count: int) -> bool:
        try:
            loads_traces("".join(lines[:count]))
        except DataError:
            return True
        return False

    return damaged


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a damaged file that are JSON objects."""
    records = []
    for line in _any_text(path).split("\n"):
        with contextlib.suppress(ValueError, RecursionError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict)]


def _any_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


_PARTS = ("config.json", "steps.jsonl", "traces.ndjson", "eval.jsonl")


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def list_runs(root: str | Path = "runs") -> list[Run]:
    """Run folders directly under `root`, by name; an absent root is an empty list."""
    root = Path(root)
    if not root.is_dir():
        return []
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    return [Run(path) for path in folders if any((path / part).exists() for part in _PARTS)]
