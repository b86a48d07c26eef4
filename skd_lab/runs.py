"""A run folder on disk: list the runs, open one, read what is there.

- `config.json`: what decided the run
- `steps.jsonl`: one line an optimizer update
- `traces.ndjson`: the watched prompts, token by token
- `eval.jsonl`: evaluations
- `checkpoints/step-N/`: written under another name, then renamed
- `student/`: a plain Hugging Face folder
- `report.html`
"""

import math
from functools import cached_property
from pathlib import Path
from typing import Any

from skd_lab.errors import DataError, UsageError
from skd_lab.files import read_json, read_jsonl, read_text
from skd_lab.records import StepRecord, Trace, loads_traces


class Run:
    """A run folder, read part by part when asked for; missing parts are empty.

    Attributes:
        path: the folder.
        notes: what was damaged and left out, filled as parts are read.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
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
        return self.path.resolve().name

    @cached_property
    def config(self) -> dict[str, Any]:
        path = self.path / "config.json"
        return read_json(path) if path.exists() else {}

    @cached_property
    def steps(self) -> list[StepRecord]:
        """Step records in step order; a step written again after a resume counts once, as last
        written."""
        path = self.path / "steps.jsonl"
        if not path.exists():
            return []
        by_step: dict[int, StepRecord] = {}
        for number, record in enumerate(read_jsonl(path, notes=self.notes), start=1):
            metrics = dict(record)
            step = metrics.pop("step", None)
            if not isinstance(step, int):
                raise DataError(
                    f"{path}, record {number}: no whole number under 'step', got {step!r}. "
                    "Repair or remove that line."
                )
            metrics = {key: _number(value) for key, value in metrics.items()}
            by_step[step] = StepRecord(step=step, metrics=metrics)
        return [by_step[step] for step in sorted(by_step)]

    @cached_property
    def traces(self) -> list[Trace]:
        path = self.path / "traces.ndjson"
        if not path.exists():
            return []
        return loads_traces(read_text(path), name=str(path), notes=self.notes)

    @cached_property
    def evals(self) -> list[dict[str, Any]]:
        path = self.path / "eval.jsonl"
        return read_jsonl(path, notes=self.notes) if path.exists() else []

    @cached_property
    def table(self) -> dict[str, Any]:
        """`table.json`, if the run wrote one (what the demo prints at its end)."""
        path = self.path / "table.json"
        return read_json(path) if path.exists() else {}


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
