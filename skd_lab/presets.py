"""What fits a bundled pair of models, where it differs from the paper's defaults."""

from collections.abc import Mapping
from typing import Any

from skd_lab.config import RunConfig

# 25 of 1,024 ids is already on-policy-like; rates are for models of this size
_TINY = {"accept_top_k": 3, "gamma": 4, "learning_rate": 1e-3}
_TASKS: dict[str, dict[str, Any]] = {
    "": {"max_new_tokens": 64},
    "-arithmetic": {"max_new_tokens": 48, "task": "arithmetic"},
    "-translation": {"max_new_tokens": 48, "task": "translation"},
    "-instruction": {"max_new_tokens": 96, "task": "instruction"},
}
PRESETS: dict[str, dict[str, Any]] = {
    f"{family}{name}": {**_TINY, **preset}
    for family in ("tiny-qwen3", "tiny-gemma3")
    for name, preset in _TASKS.items()
}
"""Defaults that fit a bundled pair, where they differ from the paper's. The first is the default
pair, and of two pairs for a task the first is the task's."""

GENERATED_PROMPTS = {
    "summaries": 1000,
    "arithmetic": 1000,
    "translation": 1000,
    "instruction": 4000,
}
"""n_prompts for a bundled pair on a task without end; on the pair's own task, those its student was
fine-tuned on. Files and data sets are used whole."""


def with_preset(values: Mapping[str, Any]) -> RunConfig:
    """A RunConfig in which the bundled pair's preset fills what was not given.

    Without any model it is the pair made for the task, or tiny-qwen3; without a task, the one the
    pair was made for. A pair can be put to any other task.

    Args:
        values: what the user gave; None counts as not given.
    """
    given = {key: value for key, value in values.items() if value is not None}
    if not any(key in given for key in ("pair", "student", "teacher")):
        made_for = {preset.get("task"): pair for pair, preset in reversed(PRESETS.items())}
        given["pair"] = made_for.get(given.get("task"), "tiny-qwen3")
    preset = dict(PRESETS.get(given.get("pair", ""), {}))
    task = given.get("task", preset.get("task", RunConfig.task))
    if preset and task in GENERATED_PROMPTS:
        preset["n_prompts"] = GENERATED_PROMPTS[task]
    return RunConfig.from_dict({**preset, **given})
