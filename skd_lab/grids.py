"""Grids of runs as data: axes, and the cells they make."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

from skd_lab.axes import (
    AXES,
    BASELINE,
    CPU,
    FULL,
    MODELS,
    OWN,
    TRAINED_SO_FAR,
    UNTRAINED,
    check_axis,
    pair_of,
    that_apply,
)
from skd_lab.config import RunConfig
from skd_lab.errors import UsageError
from skd_lab.methods import get_method
from skd_lab.presets import with_preset
from skd_lab.recipes import STARTS, task_of
from skd_lab.tasks import get_task

_LETTERS = {"teacher": "t", "accept_top_k": "k", "seed": "s", "learning_rate": "lr", "steps": "n"}
_FIXED = {item.name for item in fields(RunConfig)} - {"method", "n_prompts", "seed", "task"}
_FIXED -= {"run_dir", "resume", "overwrite", "track"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run with its evaluation: a value for each axis that applies to its method."""

    values: Mapping[str, Any]

    def __getitem__(self, axis: str) -> Any:
        return self.values[axis]

    @property
    def name(self) -> str:
        """Its folder's name."""
        words = [f"{_LETTERS.get(axis, '')}{value}" for axis, value in self.values.items()]
        return re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(words))

    @property
    def setting(self) -> str:
        """Its name without the seed."""
        return self.without("seed").name

    @property
    def tuned_as(self) -> str:
        """What it shares a learning rate with: its method on its task."""
        kept = ("family", "task", "teacher", "method")
        return Cell(values={k: v for k, v in self.values.items() if k in kept}).name

    def without(self, *axes: str) -> "Cell":
        """The cell in which these axes are not set."""
        return Cell(values={k: v for k, v in self.values.items() if k not in axes})

    @property
    def paces(self) -> "tuple[Cell, Cell] | None":
        """Of a cell with equal CPU seconds: the run whose updates say what one of its own costs,
        and the run whose CPU seconds it has. None for any other cell."""
        if self.values.get("budget") != CPU:
            return None
        pace = that_apply({**self.values, "method": BASELINE}, get_method(BASELINE))
        return self.without("budget"), Cell(values=pace)

    def config(self, run_dir: str, fixed: Mapping[str, Any]) -> RunConfig:
        """What trains it under these fields, all but models and updates that are made for it."""
        given = {**fixed, **{k: v for k, v in self.values.items() if k not in MODELS}}
        if given["method"] in UNTRAINED:
            given["method"] = "sft"
        if family := self.values.get("family"):
            given["pair"] = pair_of(family, self["task"])
            if given["pair"] is None:
                raise UsageError(f"family {family} has no pair for task {self['task']!r}.")
        prompts = self.values.get("prompts")
        if isinstance(prompts, int):
            given["n_prompts"] = prompts
        config = with_preset({**given, "run_dir": run_dir})
        return config.replace(n_prompts=None) if prompts == FULL else config


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Cells to run: the products of one or more blocks of axes.

    Attributes:
        name: for titles.
        blocks: each a mapping of axis to values; an axis that is not given has AXES' values.
        fixed: fields of RunConfig that are the same in every cell.
        test_prompts: held-out prompts of every evaluation.
        sample_prompts: of those, on how many texts are sampled: own ones, interleaved ones,
            and drafts.
        drafts: whether the student also drafts for its teacher.
        split: they are of this split.
        rates: learning rates to choose from, on validation, for each method and task; none to use
            the one of `fixed` or of the pair.
        chosen: what was chosen, by a cell's `tuned_as`.
        updates: how many a cell with equal CPU seconds is given, by its `setting`.

    Raises:
        UsageError: for an unknown axis or value; names the choices.
    """

    name: str = "grid"
    blocks: Sequence[Mapping[str, Sequence[Any]]] = ({},)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    test_prompts: int = 300
    sample_prompts: int = 100
    drafts: bool = True
    split: str = "test"
    rates: Sequence[float] = ()
    chosen: Mapping[str, float] = field(default_factory=dict)
    updates: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.test_prompts < 1:
            raise UsageError(f"--test-prompts must be at least 1, got {self.test_prompts}.")
        for name in self.fixed:
            if name not in _FIXED:
                raise UsageError(
                    f"--set {name}: no such setting. Choose one of: {', '.join(sorted(_FIXED))}; "
                    f"or an axis ({', '.join(AXES)})."
                )
        for block in self.blocks:
            for axis, values in block.items():
                check_axis(axis, values)
        cells = {cell.name: cell for cell in self.cells()}
        for cell in cells.values():
            for other in cell.paces or ():
                if other.name not in cells:
                    raise UsageError(
                        f"budget {CPU} is measured on runs with the usual number of updates, and "
                        f"the grid has no {other.name}. Give the axis the values none,{CPU}, and "
                        f"the methods {BASELINE}."
                    )
            get_task(cell["task"]).check_request(self.split, None)
            config = self.config(cell)  # refuses what cannot be
            for rate in self.rates:
                config.replace(learning_rate=rate)
            if "start" in cell.values:
                self._check_models(cell, config)

    def _check_models(self, cell: Cell, config: RunConfig) -> None:
        # a pair can be put to any task, but its starts are trained on its own
        pair, start = config.pair or "", cell["start"]
        made_for = pair in STARTS and task_of(pair) == cell["task"]
        named = start in STARTS.get(pair, {}) or TRAINED_SO_FAR.fullmatch(start)
        if start != OWN and (not made_for or not named or config.student):
            raise UsageError(
                f"start {start!r} is trained from random weights, for a bundled pair "
                f"({', '.join(STARTS)}) on its own task; task {cell['task']!r} has none with "
                f"these models. Use start={OWN}."
            )
        if cell.values.get("teacher") and (not made_for or config.teacher):
            raise UsageError(
                f"teacher {cell['teacher']!r} is trained from random weights, for a bundled pair "
                f"({', '.join(STARTS)}) on its own task. Leave the axis teacher out."
            )

    def cells(self) -> list[Cell]:
        """Every cell once, in the order they run: a block after the other, in it seed by seed, so
        that a grid that is stopped has compared all of its methods on the seeds it got to. Cells
        with equal CPU seconds come last: the others say what a second buys."""
        found: dict[str, Cell] = {}
        for block in self.blocks:
            axes = {**AXES, **block}
            points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
            for point in sorted(points, key=lambda point: axes["seed"].index(point["seed"])):
                for cell in _with_untrained(point):
                    found.setdefault(cell.name, cell)
        return sorted(found.values(), key=lambda cell: "budget" in cell.values)

    def config(self, cell: Cell, run_dir: str = "runs/grid") -> RunConfig:
        """What trains a cell, all but the models that are made for it."""
        fixed = dict(self.fixed)
        if rate := self.chosen.get(cell.tuned_as):
            fixed["learning_rate"] = rate
        if cell.setting in self.updates:
            fixed["steps"] = self.updates[cell.setting]
        return cell.config(run_dir, fixed)

    def with_axes(self, axes: Mapping[str, Sequence[Any]]) -> "Grid":
        """The same grid with other values on some axes, in every block."""
        if not axes:
            return self
        return replace(self, blocks=[{**block, **axes} for block in self.blocks])

    def to_dict(self) -> dict[str, Any]:
        """As grid.json holds it."""
        return {
            "name": self.name,
            "blocks": [{axis: list(values) for axis, values in b.items()} for b in self.blocks],
            "fixed": dict(self.fixed),
            "test_prompts": self.test_prompts,
            "sample_prompts": self.sample_prompts,
            "drafts": self.drafts,
            "split": self.split,
            "rates": list(self.rates),
        }


def _with_untrained(values: Mapping[str, Any]) -> list[Cell]:
    """The cell, behind the student it starts from and the teacher."""
    models = {axis: values[axis] for axis in ("family", "task", "teacher") if values.get(axis)}
    start = {**models, "method": "start", "start": values["start"]}
    # the pair's own student is the same whatever the seed
    start |= {} if values["start"] == OWN else {"seed": values["seed"]}
    trained = Cell(values=that_apply(values, get_method(values["method"])))
    return [Cell(values={**models, "method": "teacher"}), Cell(values=start), trained]
