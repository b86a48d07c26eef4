"""Shapes of published checkpoints, written down by hand: what memory and speed depend on.

tests/test_real_recipes.py holds each against the number of parameters that is published for it.
Nothing here loads weights: models are made from these with random numbers, or without any memory
on torch's meta device.
"""

import json
from pathlib import Path
from typing import Any

QWEN25 = dict(
    model_type="qwen2", architectures=["Qwen2ForCausalLM"], hidden_act="silu", vocab_size=151_936,
    max_position_embeddings=32_768, rms_norm_eps=1e-6, rope_theta=1e6, tie_word_embeddings=True,
    bos_token_id=151_643, eos_token_id=151_645, use_sliding_window=False, torch_dtype="bfloat16",
)  # fmt: skip
QWEN3 = dict(
    model_type="qwen3", architectures=["Qwen3ForCausalLM"], hidden_act="silu", vocab_size=151_936,
    max_position_embeddings=40_960, rms_norm_eps=1e-6, rope_theta=1e6, tie_word_embeddings=True,
    head_dim=128, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8,
    attention_bias=False, bos_token_id=151_643, eos_token_id=151_645, torch_dtype="bfloat16",
)  # fmt: skip
GEMMA2 = dict(
    model_type="gemma2", architectures=["Gemma2ForCausalLM"], vocab_size=256_000, head_dim=256,
    hidden_activation="gelu_pytorch_tanh", max_position_embeddings=8_192, sliding_window=4_096,
    attn_logit_softcapping=50.0, final_logit_softcapping=30.0, query_pre_attn_scalar=256,
    bos_token_id=2, eos_token_id=1, pad_token_id=0, torch_dtype="bfloat16",
)  # fmt: skip
GEMMA3 = dict(
    model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], vocab_size=262_144, head_dim=256,
    hidden_activation="gelu_pytorch_tanh", max_position_embeddings=32_768, sliding_window=512,
    sliding_window_pattern=6, query_pre_attn_scalar=256, rope_theta=1e6, rope_local_base_freq=1e4,
    num_attention_heads=4, num_key_value_heads=1,
    bos_token_id=2, eos_token_id=[1, 106], pad_token_id=0, torch_dtype="bfloat16",
)  # fmt: skip


def _sized(
    base: dict[str, Any],
    hidden: int,
    wide: int,
    layers: int | None = None,
    heads: int | None = None,
    groups: int | None = None,
    **others: Any,
) -> dict[str, Any]:
    sizes = dict(
        hidden_size=hidden,
        intermediate_size=wide,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
    )
    return base | {name: size for name, size in sizes.items() if size is not None} | others


SHAPES: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-0.5B-Instruct": _sized(QWEN25, 896, 4_864, 24, 14, 2),
    "Qwen/Qwen2.5-1.5B-Instruct": _sized(QWEN25, 1_536, 8_960, 28, 12, 2),
    "Qwen/Qwen2.5-7B-Instruct": _sized(
        QWEN25, 3_584, 18_944, 28, 28, 4, vocab_size=152_064, tie_word_embeddings=False
    ),
    "Qwen/Qwen3-0.6B": _sized(QWEN3, 1_024, 3_072),
    "Qwen/Qwen3-1.7B": _sized(QWEN3, 2_048, 6_144),
    "google/gemma-2-2b-it": _sized(GEMMA2, 2_304, 9_216, 26, 8, 4),
    "google/gemma-2-9b-it": _sized(GEMMA2, 3_584, 14_336, 42, 16, 8),
    "google/gemma-3-270m-it": _sized(GEMMA3, 640, 2_048, 18),
    "google/gemma-3-1b-it": _sized(GEMMA3, 1_152, 6_912, 26),
}
"""config.json by Hub id."""

PARAMETERS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "google/gemma-2-2b-it": 2_614_341_888,
    "google/gemma-2-9b-it": 9_241_705_984,
    "google/gemma-3-270m-it": 268_098_176,
    "google/gemma-3-1b-it": 999_885_952,
}
"""As the model pages state them; weights that are tied count once."""


def write_config(folder: Path, name: str) -> Path:
    """A folder with the config.json of a checkpoint and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SHAPES[name]), encoding="utf-8")
    return folder
