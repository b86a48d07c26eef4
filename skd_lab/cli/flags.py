"""Fields of RunConfig as flags: name, type, choices and help text all come from the dataclass."""

import argparse
import ast
import functools
import inspect
import json
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from skd_lab.config import RunConfig, choices_of, flag
from skd_lab.errors import DataError
from skd_lab.fields import RunFields
from skd_lab.presets import PRESETS, with_preset
from skd_lab.real_recipes import config_of, read_yaml

GROUPS = {
    "models": "pair",
    "adapters and memory": "lora_rank",
    "data": "task",
    "method and sampling": "method",
    "optimisation": "steps",
    "run folder": "run_dir",
}
"""Titles in the help text, and the field each starts with."""

MODEL_FLAGS = (
    *("pair", "student", "teacher", "dtype", "teacher_dtype", "teacher_quantised", "device"),
    "thinking",
)
SAMPLING_FLAGS = (
    "accept_top_k",
    "replacement",
    "variant",
    "gamma",
    "max_new_tokens",
    *(
        f"{role}_{setting}"
        for role in ("student", "teacher")
        for setting in ("temperature", "top_k", "top_p", "greedy")
    ),
    "seed",
)


def add_config_flags(parser: argparse.ArgumentParser, only: Collection[str] | None = None) -> None:
    """Add a flag for each field of RunConfig, in titled groups.

    Args:
        parser: of a command.
        only: names of the fields to offer; all of them if None.
    """
    helps, hints = field_help(), typing.get_type_hints(RunConfig)
    starts = {first: title for title, first in GROUPS.items()}
    title, groups = "", {}
    for field in fields(RunConfig):
        title = starts.get(field.name, title)
        if only is not None and field.name not in only:
            continue
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add_flag(groups[title], field.name, hints[field.name], helps[field.name], field.default)


def config_from(args: argparse.Namespace, base: Mapping[str, Any] | None = None) -> RunConfig:
    """The RunConfig of parsed flags; presets of a bundled pair fill what was not given.

    Args:
        args: parsed flags.
        base: values that flags override, such as those of another run's config.json.

    Raises:
        UsageError: for a value that cannot be.
    """
    given = {
        field.name: getattr(args, field.name)
        for field in fields(RunConfig)
        if getattr(args, field.name, None) is not None
    }
    return with_preset({**(base or {}), **given})


def read_config(path: Path) -> dict[str, Any]:
    """The values in a run's config.json, or in a YAML file such as a recipe.

    Raises:
        DataError: if there is none, or it holds no values by name.
    """
    if path.suffix in (".yaml", ".yml"):
        return config_of(read_yaml(path))
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror}. Give the config.json of a run."
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}. Give the config.json of a run.") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} holds no JSON object. Give the config.json of a run.")
    return values


@functools.cache
def field_help() -> dict[str, str]:
    """Help text of every field of RunConfig: the docstring under it."""
    body = ast.parse(inspect.getsource(RunFields)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for statement, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(statement.target, ast.Name)
            texts[statement.target.id] = ast.literal_eval(text.value)
    return texts


def _add_flag(group: Any, name: str, hint: Any, text: str, default: Any) -> None:
    settings: dict[str, Any] = {"dest": name, "default": None, "help": _help(name, text, default)}
    kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType] or [hint]
    if hint is bool:
        settings["action"] = "store_true"
    elif choices := choices_of(hint):
        settings["choices"] = choices
    else:
        settings["type"], settings["metavar"] = _TYPES[tuple(kinds)]
    group.add_argument(flag(name), **settings)


def _help(name: str, text: str, default: Any) -> str:
    notes = [] if default in (None, False) else [f"default {default}"]
    pairs: dict[Any, list[str]] = {}
    for pair, preset in PRESETS.items():
        if name in preset:
            pairs.setdefault(preset[name], []).append(pair)
    for value, names in pairs.items():
        whose = "the bundled pairs" if len(names) == len(PRESETS) else ", ".join(names)
        notes.append(f"{value} for {whose}")
    return text.replace("%", "%%") + (f" ({'; '.join(notes)})" if notes else "")


def whole_number(text: str) -> int:
    """An int, or an error that says what is needed."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs a whole number, got {text!r}") from None


def number(text: str) -> float:
    """A float, or an error that says what is needed."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs a number, got {text!r}") from None


def number_or_text(text: str) -> int | str:
    """An int, or text that the configuration checks, such as a schedule."""
    return int(text) if text.lstrip("-").isdigit() else text


_TYPES: dict[tuple[type, ...], tuple[Any, str]] = {
    (int,): (whole_number, "N"),
    (float,): (number, "X"),
    (str,): (str, "TEXT"),
    (int, str): (number_or_text, "N|TEXT"),
}
