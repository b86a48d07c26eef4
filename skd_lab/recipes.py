"""Recipes of the bundled pairs: shapes, data and training of teacher and student, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import torch
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from skd_lab.config import RunConfig
from skd_lab.fields import PRECISION
from skd_lab.presets import PRESETS
from skd_lab.tasks import get_task
from skd_lab.tokenizer import CONTEXT, EVERYDAY_TEXT, train_tokenizer

BASE = "tiny-qwen3"
"""The pair whose tokenizer the others share."""
VOCAB_SIZE = 1024
FRESH_DATA = 1
"""Seed of the teacher's and the tokenizer's examples; a user's own run takes seed 0."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model's shape and training; every field decides its weights."""

    hidden_size: int
    layers: int
    intermediate_size: int
    head_dim: int
    heads: int = 4
    key_value_heads: int = 2
    data_seed: int
    """Which examples of the train split."""
    prompts: int
    steps: int
    learning_rate: float
    warmup_steps: int
    batch_size: int = 16
    """Small: learning is bound by the number of updates."""
    mixed_precision: PRECISION = "no"
    attention: str = "sdpa"
    """With bf16 autocast on a CPU, eager is the faster one at this size."""
    seed: int = 0
    """Of the weights at the start and of the order of the prompts."""


_TEACHER = Recipe(
    hidden_size=192,
    layers=4,
    intermediate_size=576,
    head_dim=48,
    data_seed=FRESH_DATA,
    prompts=19_200,
    steps=1200,
    learning_rate=2e-3,
    warmup_steps=100,
    mixed_precision="bf16",
    attention="eager",
)
_STUDENT = Recipe(
    hidden_size=96,
    layers=2,
    intermediate_size=192,
    head_dim=24,
    data_seed=0,
    prompts=100,
    steps=800,
    learning_rate=2e-3,
    warmup_steps=20,
    seed=1,
)

RECIPES: Mapping[str, Mapping[str, Recipe]] = MappingProxyType(
    {
        "tiny-qwen3": {"teacher": _TEACHER, "student": _STUDENT},
        "tiny-qwen3-arithmetic": {
            "teacher": replace(_TEACHER, prompts=64_000, steps=4000),
            "student": replace(_STUDENT, prompts=1300, steps=2500),
        },
    }
)


class Start(NamedTuple):
    """How far a student was fine-tuned from random weights before a comparison begins."""

    prompts: int
    steps: int


STARTS: Mapping[str, Mapping[str, Start]] = MappingProxyType(
    {
        "tiny-qwen3": {
            "barely": Start(100, 80),
            "sft100": Start(100, 250),
            "sft1k": Start(1000, 300),
        },
        # word problems take more updates before anything is right
        "tiny-qwen3-arithmetic": {
            "barely": Start(100, 150),
            "sft100": Start(100, 800),
            "sft1k": Start(1000, 1500),
        },
    }
)
"""Starting points of a comparison, by bundled pair; the students have the pair's own shape."""


def task_of(pair: str) -> str:
    """The task a bundled pair is made for."""
    return str(PRESETS[pair].get("task", RunConfig.task))


def make_tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of every bundled pair: BASE's text, with the words of the other tasks."""
    examples = get_task(task_of(BASE)).load("train", 4000, seed=FRESH_DATA)
    chats = [
        f"user\n{(e.messages or [])[0]['content']}\nassistant\n{e.reference}" for e in examples
    ]
    return train_tokenizer([*chats, *[EVERYDAY_TEXT] * 100], VOCAB_SIZE)


def make_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A random model of the recipe's shape; the same recipe gives the same weights."""
    config = Qwen3Config(
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
    # transformers draws initial weights from the global generator: borrowed, and given back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Qwen3ForCausalLM(config)
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
