"""Tiny random models of the real classes, with heads sharp enough that their texts are no noise."""

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

ARCHITECTURES = ["llama", "qwen2", "qwen3", "gemma2", "gemma3"]
WINDOW = 6
"""Sliding window of the Gemma models, tokens: short, so that ordinary rows cross it."""

_CLASSES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM),
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM),
    "qwen3_next": (Qwen3NextConfig, Qwen3NextForCausalLM),
}


def tiny_model(
    architecture: str,
    *,
    seed: int,
    vocab_size: int = 32,
    hidden_size: int = 16,
    layers: int = 2,
    dtype: torch.dtype = torch.float64,
    sharpness: float | None = None,
    **config: object,
) -> PreTrainedModel:
    """A random model of the architecture; the same seed gives the same weights.

    Args:
        sharpness: factor on the output head, so that a few tokens carry most of the probability.
    """
    config_class, model_class = _CLASSES[architecture]
    settings: dict[str, object] = dict(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=256,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        tie_word_embeddings=architecture.startswith("gemma"),
    )
    if architecture == "qwen2":
        del settings["head_dim"]
    if architecture.startswith("gemma"):
        kinds = ["sliding_attention", "full_attention"]
        settings |= dict(
            sliding_window=WINDOW,
            query_pre_attn_scalar=8,
            layer_types=[kinds[layer % 2] for layer in range(layers)],
        )
    if architecture == "qwen3_next":
        kinds = ["linear_attention", "full_attention"]
        settings |= dict(
            layer_types=[kinds[layer % 2] for layer in range(layers)],
            linear_num_key_heads=2,
            linear_num_value_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            num_experts=0,
        )
    attention = "eager" if architecture == "gemma2" else "sdpa"
    settings |= dict(attn_implementation=attention) | config
    # the framework initialises from the global generator; what it held is put back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config_class(**settings)).to(dtype)
    if sharpness is None:
        sharpness = 8.0 if architecture.startswith("gemma") else 40.0
    with torch.no_grad():
        # norm scales are all 0 or 1 at the start; a swapped or forgotten one would not be seen
        noise = torch.Generator().manual_seed(seed + 1)
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 and "norm" in name:
                jitter = torch.randn(parameter.shape, generator=noise, dtype=torch.float64)
                parameter.add_(0.1 * jitter.to(dtype))
        model.get_output_embeddings().weight.mul_(sharpness)
    return model.eval()
