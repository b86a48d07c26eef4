"""Recipes for published checkpoints, one file each in real/: card, settings, memory.

A recipe is a configuration with a reason. `skd-lab train --recipe NAME` starts from it; flags win.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from skd_lab.config import RunConfig
from skd_lab.errors import DataError, UsageError

FOLDER = Path(__file__).parent / "real"
"""Where the package keeps them."""

KNOWN = Literal["estimated", "measured"]


@dataclass(frozen=True, kw_only=True)
class RealRecipe:
    """One recipe."""

    name: str
    about: str
    """What is distilled, in one sentence."""
    hardware: str
    """The smallest machine it is meant for."""
    processes: int
    """Processes, one a GPU."""
    memory_gib: float
    """Expected peak of the fullest GPU, GiB."""
    memory_is: KNOWN
    """Whether that was read off such a machine, or computed by `--dry-run`."""
    config: dict[str, Any]
    """Fields of RunConfig."""

    @property
    def command(self) -> str:
        """What to type."""
        if self.processes == 1:
            return f"skd-lab train --recipe {self.name}"
        launch = f"torchrun --standalone --nproc_per_node {self.processes}"
        return f"{launch} -m skd_lab train --recipe {self.name}"


def recipe_names() -> list[str]:
    """Of all recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name: str) -> RealRecipe:
    """A recipe by name.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in recipe_names():
        raise UsageError(
            f"There is no recipe '{name}'. Choose one of: {', '.join(recipe_names())}; or copy one "
            "and give your file to --config."
        )
    return RealRecipe(name=name, **read_yaml(FOLDER / f"{name}.yaml"))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        DataError: if there is no such file, or no mapping in it; names the file and the line.
    """
    import yaml  # not at the top: few commands read one

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}. Check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is no YAML: {reason}. Mend that place.") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} holds no settings by name. Write lines such as `steps: 200`.")
    return values


def config_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of RunConfig in what a YAML file holds: a recipe's or a plain list of them.

    YAML takes 1e-5 for text (its own form is 1.0e-5): where a number is wanted it becomes one.
    """
    own = values.get("config")
    fields = dict(own if isinstance(own, Mapping) else values)
    for field in dataclasses.fields(RunConfig):
        if isinstance(text := fields.get(field.name), str) and float in _kinds(field.type):
            try:
                fields[field.name] = float(text)
            except ValueError:
                continue  # the configuration says what is wrong with it
    return fields


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) or (hint,)
