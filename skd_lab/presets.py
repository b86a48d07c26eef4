"""What fits a bundled pair of models, where it differs from the paper's defaults."""

from collections.abc import Mapping
from typing import Any

from skd_lab.config import RunConfig

# 25 of 512 ids is already on-policy-like; rates are for models of this size
_TINY = {"accept_top_k": 3, "gamma": 4, "learning_rate": 1e-3}
PRESETS: dict[str, dict[str, Any]] = {
    "tiny-qwen3": {**_TINY, "max_new_tokens": 64},
    "tiny-qwen3-arithmetic": {**_TINY, "max_new_tokens": 48, "task": "arithmetic"},
}
"""Defaults that fit a bundled pair, where they differ from the paper's."""

GENERATED_PROMPTS = {
    "summaries": 100,
    "arithmetic": 1300,
    "translation": 1000,
    "instruction": 1000,
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
        made_for = {preset.get("task"): pair for pair, preset in PRESETS.items()}
        given["pair"] = made_for.get(given.get("task"), "tiny-qwen3")
    preset = dict(PRESETS.get(given.get("pair", ""), {}))
    task = given.get("task", preset.get("task", RunConfig.task))
    if preset and task in GENERATED_PROMPTS:
        preset["n_prompts"] = GENERATED_PROMPTS[task]
    return RunConfig.from_dict({**preset, **given})
