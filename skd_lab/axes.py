"""Axes of a grid: their names, what values they take, and for which methods they mean anything."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from skd_lab.acceptance import REPLACEMENTS
from skd_lab.errors import UsageError
from skd_lab.methods import Method, get_method
from skd_lab.objectives import get_objective
from skd_lab.presets import PRESETS
from skd_lab.recipes import FAMILIES, STARTS, pair_name
from skd_lab.tasks import get_task

OWN = "own"
"""The start that is the pair's student (or --set student=...) as it is."""
FULL = "full"
"""All the prompts a task has, as a value of the axis prompts."""
CPU = "cpu"
"""As many updates as fit in the CPU seconds that BASELINE took, as a value of the axis budget."""
BASELINE = "skd"
"""The method that others are measured against, in tables and in CPU seconds."""
UNTRAINED = ("start", "teacher")
"""Rows of a table without training: the student before it, and the teacher."""

AXES: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "family": (None,),
        "task": ("summaries",),
        "teacher": (None,),
        "method": ("supervised_kd", "on_policy_kd", BASELINE),
        "prompts": (100,),
        "start": (OWN,),
        "seed": (0,),
        "accept_top_k": (None,),
        "replacement": (None,),
        "objective": (None,),
        "beta": (None,),
        "on_policy_fraction": (None,),
        "learning_rate": (None,),
        "loss_temperature": (None,),
        "steps": (None,),
        "budget": (None,),
    }
)
"""Axes of a grid, in the order of a cell's name, with what they are when not given."""
MODELS = ("family", "teacher", "start", "prompts", "budget")
"""Axes that are no field of RunConfig: they choose models, prompts or the number of updates."""
TRAINED_SO_FAR = re.compile(r"([1-9]\d*)x([1-9]\d*)(?:@([1-9]\d*))?")
"""A start or a teacher by what made it, `PROMPTSxUPDATES` or `PROMPTSxUPDATES@WIDTH`: trained from
random weights on so many prompts for so many updates, with another hidden size."""


def pair_of(family: str | None, task: str) -> str | None:
    """The bundled pair that a family has for a task, of the first family if None; None if there
    is none."""
    name = pair_name(family or next(iter(FAMILIES)), task)
    return name if name in PRESETS else None


def that_apply(values: Mapping[str, Any], method: Method) -> dict[str, Any]:
    """Without axes that the method does not know, so that no run is made twice."""
    kept = {axis: value for axis, value in values.items() if value is not None}
    if "interleaved" not in method.completions:
        kept.pop("accept_top_k", None)
        kept.pop("replacement", None)
    asked = kept.get("objective")
    if asked == method.objectives[0] or not (asked and method.takes(asked)):
        kept.pop("objective", None)
    if "generalized_jsd" not in (kept.get("objective"), method.objectives[0]):
        kept.pop("beta", None)
    if not method.share_is_free:
        kept.pop("on_policy_fraction", None)
    if method.name == BASELINE:
        # its own CPU seconds are the budget
        kept.pop("budget", None)
    return kept


def check_axis(axis: str, values: Iterable[Any]) -> None:
    """Raise UsageError for an axis or a value that there is not; names the choices."""
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
        elif value is None and AXES[axis] == (None,):
            continue
        elif axis == "objective":
            get_objective(value)
        elif axis == "start":
            known = [OWN, *dict.fromkeys(name for made in STARTS.values() for name in made)]
            _require(axis, value, value in known or _made(value), f"is none of {_or(known)}")
        elif axis == "teacher":
            _require(axis, value, _made(value), f"is no {_or([])}")
        elif axis == "prompts":
            whole = isinstance(value, int) and value >= 1
            _require(axis, value, whole or value == FULL, f"is no whole number above 0 or {FULL}")
        elif axis == "seed":
            _require(axis, value, isinstance(value, int) and value >= 0, "is no whole number")
        elif axis in _CHOICES:
            choices = _CHOICES[axis]
            _require(axis, value, value in choices, f"is none of {', '.join(choices)}")


_CHOICES = {"family": tuple(FAMILIES), "replacement": REPLACEMENTS, "budget": (CPU,)}


def _made(value: Any) -> bool:
    found = TRAINED_SO_FAR.fullmatch(value) if isinstance(value, str) else None
    return found is not None and int(found[3] or 8) % 8 == 0


def _or(names: list[str]) -> str:
    return ", ".join([*names, "PROMPTSxUPDATES such as 100x40, or 100x40@48 for another width"])


def _require(axis: str, value: Any, holds: bool, what: str) -> None:
    if not holds:
        raise UsageError(f"axis {axis}: {value!r} {what}.")
