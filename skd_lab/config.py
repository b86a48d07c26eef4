"""What decides a run: one frozen dataclass, whose fields are the command line's flags.

Values are checked here; names of methods and tasks by the tables that own them. Imports no torch,
so that `skd-lab --help` is quick.
"""

import dataclasses
import functools
import json
import os
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from skd_lab.errors import UsageError
from skd_lab.fields import RunFields
from skd_lab.schedules import top_k_at


@dataclass(frozen=True, kw_only=True)
class RunConfig(RunFields):
    """Everything that decides a training run, checked: the fields are those of fields.py.

    Raises:
        UsageError: for a value that cannot be; names the field, the value and what to do.
    """

    def __post_init__(self) -> None:
        for name in ("student", "teacher", "data_path", "run_dir"):
            if isinstance(value := getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(value))
        for name, (kinds, words) in _types().items():
            _require(self, name, _one_of(kinds), f"must be {words}")
        for name in _POSITIVE_INTEGERS:
            _require(self, name, lambda v: v >= 1, "must be at least 1")
        for name in ("warmup_steps", "trace_prompts", "seed", "weight_decay"):
            _require(self, name, lambda v: v >= 0, "must not be negative")
        for name in ("loss_temperature", "learning_rate", "max_grad_norm"):
            _require(self, name, lambda v: 0 < v < float("inf"), "must be above 0")
        for role in ("student", "teacher"):
            _require(
                self,
                f"{role}_temperature",
                lambda v: 0 < v < float("inf"),
                f"must be above 0 (for the most likely token use {flag(f'{role}_greedy')})",
            )
            _require(self, f"{role}_top_p", lambda v: 0 < v <= 1, "must be in (0, 1]")
        _require(self, "gamma", _is_draft_size, "must be at least 1 or adaptive")
        _require(self, "on_policy_fraction", lambda v: 0 <= v <= 1, "must be in [0, 1]")
        _require(self, "lora_dropout", lambda v: 0 <= v < 1, "must be in [0, 1)")
        try:
            self.top_k_at(0)
        except UsageError as error:
            raise UsageError(str(error).replace("accept_top_k", flag("accept_top_k"))) from None
        for name, choices in _choices().items():
            _require(self, name, choices.__contains__, f"must be one of {', '.join(choices)}")
        if self.warmup_steps >= self.steps:
            raise UsageError(
                f"{flag('warmup_steps')} is {self.warmup_steps}, but there are {self.steps} steps: "
                "the learning rate would never come down. Use a smaller number."
            )
        of_adapters = [name for name in ADAPTER_FIELDS if self._differs(name)]
        if self.lora_rank is None and of_adapters:
            raise UsageError(
                f"{flag(of_adapters[0])} says how adapters are made, but there are none. Add "
                "--lora-rank, or leave it out."
            )
        own = [f"student_{key}" for key in POLICY if self._differs(f"student_{key}")]
        if self.variant == "released" and own:
            raise UsageError(
                f"{flag(own[0])} is given, but the released code samples the student with the "
                "teacher's settings. Leave it out, or use --variant paper."
            )
        if self.resume and self.overwrite:
            raise UsageError("--resume goes on with a run and --overwrite deletes it: give one.")
        if self.pair is None and (self.student is None or self.teacher is None):
            raise UsageError(
                "No models to train with. Give --pair tiny-qwen3, or both --student and --teacher."
            )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """As text, one field a line."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """From a dict such as to_dict gave.

        Raises:
            UsageError: for a key that is no field (named), or a value that cannot be.
        """
        known = {field.name for field in fields(cls)}
        unknown = [key for key in values if key not in known]
        if unknown:
            raise UsageError(
                f"The configuration has no field {', '.join(map(repr, unknown))}. "
                f"Fields are: {', '.join(sorted(known))}."
            )
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> "RunConfig":
        """From text such as to_json gave."""
        return cls.from_dict(json.loads(text))

    def replace(self, **changes: Any) -> "RunConfig":
        """A copy with other values, checked again."""
        return dataclasses.replace(self, **changes)

    def policy(self, role: Literal["student", "teacher"]) -> dict[str, Any]:
        """The role's sampling settings, as SamplingPolicy takes them."""
        return {key: getattr(self, f"{role}_{key}") for key in POLICY}

    def top_k_at(self, done: int) -> int | tuple[int, ...]:
        """K after so many updates; one a position for a line over tokens."""
        return top_k_at(self.accept_top_k, done / max(self.steps - 1, 1), self.max_new_tokens)

    def _differs(self, name: str) -> bool:
        return getattr(self, name) != type(self).__dataclass_fields__[name].default


POLICY = ("temperature", "top_k", "top_p", "greedy")
ADAPTER_FIELDS = ("lora_alpha", "lora_dropout", "lora_targets")

_POSITIVE_INTEGERS = (
    *("lora_rank", "lora_alpha"),
    *("n_prompts", "max_prompt_tokens"),
    "max_new_tokens",
    *("student_top_k", "teacher_top_k"),
    "steps",
    "batch_size",
    "microbatch_size",
    "save_every",
    "keep_checkpoints",
    "eval_every",
    "eval_prompts",
    "trace_every",
)


def flag(name: str) -> str:
    """The command line's spelling of a field."""
    return "--" + name.replace("_", "-")


@functools.cache
def _choices() -> dict[str, tuple[str, ...]]:
    hints = typing.get_type_hints(RunConfig)
    found = {name: choices_of(hint) for name, hint in hints.items()}
    return {name: choices for name, choices in found.items() if choices}


def choices_of(hint: Any) -> tuple[str, ...]:
    """What a field's type lets stand in it by name; () for a field of numbers or free text."""
    for kind in (hint, *typing.get_args(hint)):
        if typing.get_origin(kind) is Literal:
            return typing.get_args(kind)
    return ()


@functools.cache
def _types() -> dict[str, tuple[tuple[type, ...], str]]:
    """Types a field's value may have (None aside), and how to say so."""
    kinds: dict[Any, tuple[tuple[type, ...], str]] = {
        int: ((int,), "a whole number"),
        float: ((int, float), "a number"),
        str: ((str,), "text"),
        bool: ((bool,), "true or false"),
    }
    hints = typing.get_type_hints(RunConfig)
    found = {
        name: kinds[kind]
        for name, hint in hints.items()
        for kind in (hint, *typing.get_args(hint))
        if kind in kinds
    }
    return found | {
        "accept_top_k": ((int, str), "a whole number or a line such as tokens:25..1"),
        "gamma": ((int, str), "a whole number or adaptive"),
    }


def _is_draft_size(value: int | str) -> bool:
    return value == "adaptive" if isinstance(value, str) else value >= 1


def _one_of(kinds: tuple[type, ...]) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds  # not isinstance: True is no whole number


def _require(config: RunConfig, name: str, holds: Callable[[Any], bool], rule: str) -> None:
    value = getattr(config, name)
    if value is not None and not holds(value):
        raise UsageError(f"{flag(name)} {rule}, got {value}.")
