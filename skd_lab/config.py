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
from skd_lab.schedules import top_k_at

REDUCTION = Literal["mean_over_tokens", "mean_over_sequences"]
OVER_LONG = Literal["drop", "cut_left", "error"]
SCHEDULE = Literal["cosine", "linear", "constant", "constant_with_warmup"]
PRECISION = Literal["no", "bf16"]  # fp16 needs loss scaling, and the optimizer in its hands
REPLACEMENT = Literal["teacher_sample", "teacher_argmax", "student_in_top_k"]
VARIANT = Literal["paper", "released"]
DTYPE = Literal["float32", "bfloat16", "float16", "float64"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a training run. Defaults are the paper's where it gives any.

    Raises:
        UsageError: for a value that cannot be; names the field, the value and what to do.
    """

    # models
    pair: str | None = None
    """Bundled pair of models, such as tiny-qwen3. Leave out when giving a student and a teacher."""
    student: str | None = None
    """Student: a model folder or a Hub id. With a pair it replaces the pair's student."""
    teacher: str | None = None
    """Teacher: a model folder or a Hub id. With a pair it replaces the pair's teacher."""
    dtype: DTYPE = "float32"
    """Type the weights are loaded in. Train in float32 and let mixed precision save the time."""
    device: str | None = None
    """Device such as cpu, cuda or mps. The best one there is, if left out."""
    mixed_precision: PRECISION = "no"
    """Autocast of the forward passes."""

    # data
    task: str = "summaries"
    """Task that gives prompts, references and the score."""
    data_path: str | None = None
    """File or folder to read instead of the task's own source."""
    n_prompts: int | None = None
    """Training prompts. All if left out (of a generated task, with a bundled pair, 100 to 1300)."""
    max_prompt_tokens: int = 1024
    """Longest prompt, in tokens."""
    over_long: OVER_LONG = "drop"
    """What happens to a longer prompt; drops and cuts are counted and said."""

    # method
    method: str = "skd"
    """Who writes the completions, and what is minimised on them."""
    objective: str | None = None
    """Objective; the method's own if left out."""
    beta: float | None = None
    """The teacher's weight in generalized_jsd, inside (0, 1); 0.5 if left out."""
    skew: float | None = None
    """The weight mixed into skewed_forward_kl and skewed_reverse_kl; 0.1 if left out."""
    on_policy_fraction: float | None = None
    """Share of prompts not answered by the reference, in gkd and mixed_skd; 0.5 if left out."""
    loss_temperature: float = 1.0
    """Divides both models' logits in the loss."""
    reduction: REDUCTION = "mean_over_tokens"
    """Average over the window's tokens, or the paper's mean of per-sequence means (Eq. 1)."""
    accept_top_k: int | str = 25
    """K of Algorithm 1: a proposal stands if the teacher ranks it in its top K. Or a line over the
    run or over each completion, such as updates:1..25 or tokens:25..1."""
    replacement: REPLACEMENT = "teacher_sample"
    """What a refused proposal becomes."""
    variant: VARIANT = "paper"
    """Algorithm 1 as printed, or the published code's way of deciding, for study."""
    gamma: int | str = 5
    """Draft block size in tokens, or adaptive. Changes cost, not text."""
    max_new_tokens: int = 128
    """Longest completion, in tokens."""
    student_temperature: float = 1.0
    """Temperature of the student's proposals."""
    student_top_k: int | None = None
    """Keep the student's k most likely tokens when it proposes."""
    student_top_p: float | None = None
    """Nucleus of the student's proposals."""
    student_greedy: bool = False
    """The student proposes its most likely token."""
    teacher_temperature: float = 1.0
    """Temperature of the teacher's replacements."""
    teacher_top_k: int | None = None
    """Keep the teacher's k most likely tokens when it replaces."""
    teacher_top_p: float | None = None
    """Nucleus of the teacher's replacements."""
    teacher_greedy: bool = False
    """The teacher replaces by its most likely token."""

    # optimisation
    steps: int = 200
    """Optimizer updates."""
    batch_size: int = 16
    """Prompts per update, over all processes."""
    microbatch_size: int | None = None
    """Rows in one forward and backward of a process; the whole share if left out."""
    learning_rate: float = 1e-5
    """Peak learning rate of AdamW."""
    lr_schedule: SCHEDULE = "cosine"
    """How the learning rate falls."""
    warmup_steps: int = 0
    """Updates in which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's decay of weight matrices."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    seed: int = 0
    """Keys the uniforms and the order of prompts."""

    # the run folder
    run_dir: str = "runs/run"
    """Folder that the run writes."""
    resume: bool = False
    """Go on from the newest checkpoint of the run folder."""
    overwrite: bool = False
    """Delete what an earlier run left in the run folder."""
    save_every: int = 100
    """Updates between checkpoints; one is always written at the end."""
    keep_checkpoints: int | None = 2
    """Newest checkpoints that stay."""
    eval_every: int | None = None
    """Updates between evaluations on validation prompts; none if left out."""
    eval_prompts: int = 50
    """Validation prompts of such an evaluation."""
    trace_every: int = 50
    """Updates between recordings of the watched prompts."""
    trace_prompts: int = 2
    """Validation prompts whose token strips are recorded; 0 for none."""
    track: str | None = None
    """Show the numbers in tensorboard or wandb too while the run goes; both with a comma."""

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

_POSITIVE_INTEGERS = (
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
    literals = {name: hint for name, hint in hints.items() if typing.get_origin(hint) is Literal}
    return {name: typing.get_args(hint) for name, hint in literals.items()}


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
