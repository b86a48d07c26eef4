"""Grids of runs as data: axes, and the cells they make."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from types import MappingProxyType
from typing import Any

from skd_lab.config import RunConfig
from skd_lab.errors import UsageError
from skd_lab.methods import Method, get_method
from skd_lab.objectives import get_objective
from skd_lab.presets import with_preset
from skd_lab.recipes import STARTS, task_of
from skd_lab.tasks import get_task

OWN = "own"
"""The start that is the pair's student (or --set student=...) as it is."""
FULL = "full"
"""All the prompts a task has, as a value of the axis prompts."""
UNTRAINED = ("start", "teacher")
"""Rows of a table without training: the student before it, and the teacher."""

AXES: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "task": ("summaries",),
        "method": ("supervised_kd", "on_policy_kd", "skd"),
        "prompts": (100,),
        "start": (OWN,),
        "seed": (0,),
        "accept_top_k": (None,),
        "objective": (None,),
        "beta": (None,),
        "on_policy_fraction": (None,),
        "learning_rate": (None,),
        "loss_temperature": (None,),
        "steps": (None,),
    }
)
"""Axes of a grid, in the order of a cell's name, with what they are when not given."""
_LETTERS = {"accept_top_k": "k", "seed": "s", "learning_rate": "lr", "steps": "n"}
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
        """Its name without the seed: a learning rate is chosen for this."""
        return Cell(values={k: v for k, v in self.values.items() if k != "seed"}).name

    def config(self, run_dir: str, fixed: Mapping[str, Any]) -> RunConfig:
        """What trains it under these fields, all but the student it starts from."""
        given = {**fixed, **{k: v for k, v in self.values.items() if k not in ("prompts", "start")}}
        if given["method"] in UNTRAINED:
            given["method"] = "sft"
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
        split: they are of this split.
        rates: learning rates to choose from, on validation, for each method and setting; none to
            use the one of `fixed` or of the pair.
        chosen: what was chosen, by a cell's `setting`.

    Raises:
        UsageError: for an unknown axis or value; names the choices.
    """

    name: str = "grid"
    blocks: Sequence[Mapping[str, Sequence[Any]]] = ({},)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    test_prompts: int = 300
    split: str = "test"
    rates: Sequence[float] = ()
    chosen: Mapping[str, float] = field(default_factory=dict)

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
        for cell in self.cells():
            get_task(cell["task"]).check_request(self.split, None)
            config = self.config(cell)  # refuses what cannot be
            for rate in self.rates:
                config.replace(learning_rate=rate)
            if "start" in cell.values:
                self._check_start(cell, config)

    def _check_start(self, cell: Cell, config: RunConfig) -> None:
        # a pair can be put to any task, but its starts are trained on its own
        pair = config.pair or ""
        made_for = pair in STARTS and task_of(pair) == cell["task"]
        if cell["start"] != OWN and (not made_for or config.student):
            raise UsageError(
                f"start {cell['start']!r} is trained from random weights, for a bundled pair "
                f"({', '.join(STARTS)}) on its own task; task {cell['task']!r} has none with "
                f"these models. Use start={OWN}."
            )

    def cells(self) -> list[Cell]:
        """Every cell once, in the order they run: a block after the other, in it seed by seed, so
        that a grid that is stopped has compared all of its methods on the seeds it got to."""
        found: dict[str, Cell] = {}
        for block in self.blocks:
            axes = {**AXES, **block}
            points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
            for point in sorted(points, key=lambda point: axes["seed"].index(point["seed"])):
                for cell in _with_untrained(point):
                    found.setdefault(cell.name, cell)
        return list(found.values())

    def config(self, cell: Cell, run_dir: str = "runs/grid") -> RunConfig:
        """What trains a cell, all but the student it starts from."""
        rate = self.chosen.get(cell.setting)
        return cell.config(run_dir, {**self.fixed, **({"learning_rate": rate} if rate else {})})

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
            "split": self.split,
            "rates": list(self.rates),
        }


def _with_untrained(values: Mapping[str, Any]) -> list[Cell]:
    """The cell, behind the student it starts from and the teacher."""
    where = {"task": values["task"]}
    start = {**where, "method": "start", "start": values["start"]}
    # the pair's own student is the same whatever the seed
    start |= {} if values["start"] == OWN else {"seed": values["seed"]}
    trained = Cell(values=_that_apply(values, get_method(values["method"])))
    return [Cell(values={**where, "method": "teacher"}), Cell(values=start), trained]


def _that_apply(values: Mapping[str, Any], method: Method) -> dict[str, Any]:
    """Without axes that the method does not know, so that no run is made twice."""
    kept = {axis: value for axis, value in values.items() if value is not None}
    if "interleaved" not in method.completions:
        kept.pop("accept_top_k", None)
    asked = kept.get("objective")
    if asked == method.objectives[0] or not (asked and method.takes(asked)):
        kept.pop("objective", None)
    if "generalized_jsd" not in (kept.get("objective"), method.objectives[0]):
        kept.pop("beta", None)
    if not method.share_is_free:
        kept.pop("on_policy_fraction", None)
    return kept


def check_axis(axis: str, values: Iterable[Any]) -> None:
    """Raise UsageError for an axis or a value that there is not."""
    if axis not in AXES:
        raise UsageError(f"there is no axis {axis!r}. Choose one of: {', '.join(AXES)}.")
    values = list(values)
    if not values:
        raise UsageError(f"axis {axis} has no value. Give one or more, with commas.")
    for value in values:
        if axis == "task":
            get_task(value)
        elif axis == "method":
            get_method(value)
        elif axis == "objective":
            if value is not None:
                get_objective(value)
        elif axis == "start":
            known = [OWN, *dict.fromkeys(name for made in STARTS.values() for name in made)]
            _require(axis, value, value in known, f"is none of {', '.join(known)}")
        elif axis == "prompts":
            whole = isinstance(value, int) and value >= 1
            _require(axis, value, whole or value == FULL, f"is no whole number above 0 or {FULL}")
        elif axis == "seed":
            _require(axis, value, isinstance(value, int) and value >= 0, "is no whole number")


def _require(axis: str, value: Any, holds: bool, what: str) -> None:
    if not holds:
        raise UsageError(f"axis {axis}: {value!r} {what}.")
