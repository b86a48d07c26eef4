"""Recipes of the bundled pairs: shapes, data and training of teacher and student, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
)

from skd_lab.config import RunConfig
from skd_lab.fields import PRECISION
from skd_lab.presets import PRESETS
from skd_lab.tasks import Summaries
from skd_lab.tokenizer import CONTEXT, EVERYDAY_TEXT, train_tokenizer

VOCAB_SIZE = 1024
FRESH_DATA = 1
"""Seed of the teacher's and the tokenizer's examples; a user's own run takes seed 0."""
WINDOW = 32
"""Tokens that every other layer of a Gemma3 sees: a dialogue is longer."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model's shape and training; every field decides its weights."""

    family: Literal["qwen3", "gemma3"] = "qwen3"
    hidden_size: int
    layers: int
    intermediate_size: int
    head_dim: int
    heads: int = 4
    key_value_heads: int = 2
    data_seed: int
    """Which examples of the train splits."""
    prompts: Mapping[str, int]
    """How many of each task; they are mixed."""
    often: float = 0.3
    """How often a dialogue says something besides the facts; the task has 0.3."""
    steps: int
    learning_rate: float
    warmup_steps: int
    decay_steps: int | None = None
    """The rate stays until so many updates before the end; None if it falls from the warm-up on."""
    batch_size: int = 16
    """Small: learning is bound by the number of updates."""
    mixed_precision: PRECISION = "no"
    attention: str = "sdpa"
    """With bf16 autocast on a CPU, eager is the faster one at this size."""
    seed: int = 0
    """Of the weights at the start and of the order of the prompts."""
    then: "tuple[Round, ...]" = ()
    """Rounds behind the first, each with an optimizer of its own."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """More training of a model that was trained; what is not said is as in the first round."""

    data_seed: int
    prompts: Mapping[str, int]
    often: float
    steps: int
    learning_rate: float
    warmup_steps: int
    decay_steps: int | None = None


_TEACHER = Recipe(
    hidden_size=192,
    layers=4,
    intermediate_size=576,
    head_dim=48,
    data_seed=FRESH_DATA,
    prompts={
        "summaries": 44_000,
        "arithmetic": 44_000,
        "translation": 44_000,
        "instruction": 60_000,
    },
    often=1.0,  # what is hard is learnt last
    steps=11_000,
    learning_rate=2e-3,
    warmup_steps=300,
    decay_steps=3500,
    batch_size=24,
    mixed_precision="bf16",
    attention="eager",
)


def _round(
    data_seed: int, steps: int, learning_rate: float, often: float = 0.5, **prompts: int
) -> Round:
    return Round(
        data_seed=data_seed,
        prompts=prompts,
        often=often,
        steps=steps,
        learning_rate=learning_rate,
        warmup_steps=100,
    )


_SECOND = _round(
    2, 3500, 1e-3, summaries=20_000, arithmetic=6000, translation=24_000, instruction=34_000
)
# what a family was still short of, more of it
_THIRD = {
    "qwen3": _round(
        3, 3000, 1.5e-3, summaries=22_000, arithmetic=4000, translation=25_000, instruction=21_000
    ),
    "gemma3": _round(
        3, 2500, 1.5e-3, summaries=7000, arithmetic=6000, translation=10_000, instruction=37_000
    ),
}
_QWEN3_FOURTH = _round(
    4, 2000, 1.5e-3, 0.3, summaries=34_000, arithmetic=4000, translation=5000, instruction=5000
)
_QWEN3_FIFTH = _round(
    5, 2000, 1e-3, summaries=6000, arithmetic=3000, translation=18_000, instruction=21_000
)
_QWEN3_SIXTH = _round(
    6, 3000, 1.2e-3, summaries=10_000, arithmetic=8000, translation=30_000, instruction=24_000
)
_GEMMA3_FOURTH = _round(
    4, 3500, 1.5e-3, summaries=9000, arithmetic=8000, translation=13_000, instruction=54_000
)
_GEMMA3_FIFTH = _round(
    5, 1700, 1e-3, summaries=4400, arithmetic=4400, translation=6000, instruction=26_000
)
_STUDENT = Recipe(
    hidden_size=96,
    layers=2,
    intermediate_size=192,
    head_dim=24,
    data_seed=0,
    prompts={},
    steps=0,
    learning_rate=2e-3,
    warmup_steps=20,
)


def _start(steps: int, seed: int = 0, **prompts: int) -> Recipe:
    warmup_steps = min(_STUDENT.warmup_steps, steps // 2)
    return replace(_STUDENT, prompts=prompts, steps=steps, seed=seed, warmup_steps=warmup_steps)


TASKS = ("summaries", "arithmetic", "translation", "instruction")
"""What the pairs of a family are made for; the first task's pair has the family's name."""
_MULTITASK = _start(4000, summaries=1000, arithmetic=1000, translation=1000, instruction=1000)
_STARTS: Mapping[str, Mapping[str, Recipe]] = {
    "summaries": {
        "barely": _start(200, summaries=100),
        "sft100": _start(1200, summaries=100),
        "sft1k": _start(680, summaries=1000),
        "multitask": _MULTITASK,
    },
    "arithmetic": {
        "barely": _start(200, arithmetic=100),
        "sft100": _start(600, arithmetic=100),
        "sft1k": _start(3500, arithmetic=1000),
        "multitask": _MULTITASK,
    },
    "translation": {
        "barely": _start(200, translation=100),
        "sft100": _start(600, translation=100),
        "sft1k": _start(750, translation=1000),
        "multitask": _MULTITASK,
    },
    "instruction": {
        "barely": _start(200, instruction=100),
        "sft100": _start(600, instruction=100),
        "sft1k": _start(2000, instruction=1000),
        "sft4k": _start(4000, instruction=4000),
        "multitask": _MULTITASK,
    },
}
DEFAULT_START = {
    "summaries": "sft1k",
    "arithmetic": "sft1k",
    "translation": "sft1k",
    "instruction": "sft4k",
}
"""By task, the start that is the pair's student: wrong about half of the time."""

FAMILIES: Mapping[str, Recipe] = MappingProxyType(
    {
        "tiny-qwen3": replace(
            _TEACHER, then=(_SECOND, _THIRD["qwen3"], _QWEN3_FOURTH, _QWEN3_FIFTH, _QWEN3_SIXTH)
        ),
        "tiny-gemma3": replace(
            _TEACHER,
            family="gemma3",
            then=(_SECOND, _THIRD["gemma3"], _GEMMA3_FOURTH, _GEMMA3_FIFTH),
        ),
    }
)
"""Families of bundled pairs, each with the recipe of its one teacher."""


def pair_name(family: str, task: str) -> str:
    """The bundled pair of a family that is made for a task."""
    return family if task == TASKS[0] else f"{family}-{task}"


STARTS: Mapping[str, Mapping[str, Recipe]] = MappingProxyType(
    {
        pair_name(family, task): {
            start: replace(recipe, family=teacher.family) for start, recipe in _STARTS[task].items()
        }
        for family, teacher in FAMILIES.items()
        for task in TASKS
    }
)
"""By bundled pair: where a comparison can start. Students of one shape, fine-tuned from random
weights on few prompts and for few updates, on a hundred, on a thousand, or on all tasks."""


def family_of(pair: str) -> str:
    """The family of a bundled pair."""
    return next(family for family in FAMILIES if pair.removeprefix(family)[:1] in ("", "-"))


def task_of(pair: str) -> str:
    """The task a bundled pair is made for."""
    return str(PRESETS[pair].get("task", RunConfig.task))


def make_tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of every bundled pair: plain dialogues, with the words of the other tasks."""
    examples = Summaries(often=0).load("train", 4000, seed=FRESH_DATA)
    chats = [
        f"user\n{(e.messages or [])[0]['content']}\nassistant\n{e.reference}" for e in examples
    ]
    return train_tokenizer([*chats, *[EVERYDAY_TEXT] * 100], VOCAB_SIZE)


def make_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A random model of the recipe's shape; the same recipe gives the same weights."""
    shape: dict[str, Any] = dict(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        intermediate_size=recipe.intermediate_size,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        head_dim=recipe.head_dim,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config: PreTrainedConfig
    if recipe.family == "gemma3":
        kinds = ("sliding_attention", "full_attention")
        config = Gemma3TextConfig(
            **shape,
            sliding_window=WINDOW,
            layer_types=[kinds[i % 2] for i in range(recipe.layers)],
            query_pre_attn_scalar=recipe.head_dim,
        )
    else:
        config = Qwen3Config(**shape)
    # transformers draws initial weights from the global generator: borrowed, and given back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = AutoModelForCausalLM.from_config(config)
    model.set_attn_implementation(recipe.attention)
    # explicit, so that nobody inherits a sampling habit from a checkpoint
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id], pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def stand_in(recipe: Recipe) -> Recipe:
    """The smallest model beside a recipe's own."""
    return replace(
        recipe,
        hidden_size=8,
        layers=1,
        intermediate_size=8,
        head_dim=8,
        heads=1,
        key_value_heads=1,
    )
