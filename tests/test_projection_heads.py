"""The projection of real architectures' output heads: their logits, every parameter's gradient."""

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from skd_lab.losses import token_nll, token_weights
from skd_lab.projection import Projection, chunked_nll

SIZES = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 8, "tie_word_embeddings": True}),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, {"head_dim": 8, "final_logit_softcapping": 5.0}),
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        {"head_dim": 8, "final_logit_softcapping": 4.0},
    ),
    "cohere": (CohereForCausalLM, CohereConfig, {"logit_scale": 0.0625}),
    "granite": (GraniteForCausalLM, GraniteConfig, {"logits_scaling": 8.0}),
}


def tiny_model(name):
    model_class, config_class, extra = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config_class(**SIZES, **extra)).double().eval()
        with torch.no_grad():
            # Norms and heads away from their start: a wrong head then shows in the logits.
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", MODELS)
def test_projection_of_a_model_gives_its_logits(name):
    model = tiny_model(name)
    ids = torch.randint(3, 64, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = model(ids, output_hidden_states=True)
        logits = Projection.of(model).logits(out.hidden_states[-1])
        cut = Projection.of(model, vocab_size=60).logits(out.hidden_states[-1])
    assert out.logits.std() > 0.1
    torch.testing.assert_close(logits, out.logits, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(cut, out.logits[..., :60], rtol=1e-12, atol=1e-12)
    if name in ("gemma2", "gemma3", "cohere", "granite"):
        bare = Projection(model.get_output_embeddings().weight).logits(out.hidden_states[-1])
        assert (bare - out.logits).abs().max() > 0.1


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2"])
def test_every_parameter_gets_the_gradient_of_the_dense_loss(name):
    """Tied embeddings included: their gradient is the head's share plus the input's share."""
    model = tiny_model(name)
    ids = torch.randint(3, 64, (2, 9), generator=torch.Generator().manual_seed(1))
    targets, weights = ids[:, 1:].flatten(), token_weights("mean_over_tokens", torch.tensor([16]))
    gradients = []
    for chunked in (True, False):
        model.zero_grad()
        out = model(ids, output_hidden_states=True)
        if chunked:
            hidden = out.hidden_states[-1][:, :-1].flatten(0, 1)
            loss = chunked_nll(hidden, Projection.of(model), targets, weights, chunk_tokens=3)[0]
        else:
            log_probs = torch.log_softmax(out.logits[:, :-1], dim=-1).flatten(0, 1)
            loss = token_nll(log_probs, targets).mean()
        loss.backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (name != "llama")
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-12)
    assert all(gradient.abs().max() > 1e-6 for gradient in gradients[0].values())


def test_a_model_without_a_head_is_refused():
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).model
    with pytest.raises(
        ValueError, match="LlamaModel has no plain output embeddings to project.*AutoModelForCausal"
    ):
        Projection.of(model)
