"""Adapters: right at the start, in rollouts and in the loss; saved, merged, and what is refused."""

import pytest
import torch
from tiny import ARCHITECTURES, tiny_model

from skd_lab.adapters import (
    TARGETS,
    adapter_parameters,
    add_adapters,
    has_adapters,
    load_adapter,
    merge_adapters,
    save_adapter,
)
from skd_lab.batch import collate, completion_hidden
from skd_lab.errors import DataError, UsageError
from skd_lab.layers import FlatLayers
from skd_lab.losses import forward_kl
from skd_lab.projection import Projection
from skd_lab.rollout import student_rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout

PROMPTS = [[2, 3, 4], [5], [6, 7, 8, 9, 10, 11, 12]]
POLICY = SamplingPolicy()


def shaken(model, scale=0.3):
    """Adapters away from their start, where B is 0 and nothing would be seen."""
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapter_parameters(model):
            parameter.add_(scale * torch.randn(parameter.shape, generator=noise).to(parameter))
    return model


def adapted(architecture, *, dtype=torch.float64, shake=True, **config):
    model = tiny_model(architecture, seed=0, dtype=dtype, **config)
    add_adapters(model, 2, seed=3)
    return shaken(model) if shake else model


def logits_of(model, ids=((2, 3, 4, 5, 6, 7, 8, 9),)):
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)).logits


def rolled(sampler, *models, **settings):
    return sampler(
        *models,
        PROMPTS,
        max_new_tokens=16,
        eos_token_ids=[1],
        uniforms=draw_uniforms(0, 3, 16) if len(models) == 2 else draw_uniforms(0, 3, 16)[0],
        **settings,
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_student_starts_as_it_was_and_only_adapters_are_trained(architecture):
    plain = tiny_model(architecture, seed=0)
    model = adapted(architecture, shake=False)
    student, teacher = (torch.log_softmax(logits_of(m), -1) for m in (model, plain))
    assert float(forward_kl(student, teacher).abs().max()) == 0.0
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 7 * model.config.num_hidden_layers
    assert all(".lora_A." in name or ".lora_B." in name for name in trained)
    assert type(model) is type(plain) and has_adapters(model) and not has_adapters(plain)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rollouts_see_the_adapters(architecture):
    model, teacher = adapted(architecture), tiny_model(architecture, seed=1, layers=3)
    kept = rolled(
        interleaved_rollout, model, teacher, accept_top_k=32, gamma=4,
        student_policy=POLICY, teacher_policy=POLICY,
    )  # fmt: skip
    own = rolled(student_rollout, model, policy=POLICY)
    assert [r.completion_ids.tolist() for r in kept] == [r.completion_ids.tolist() for r in own]
    plain = rolled(student_rollout, tiny_model(architecture, seed=0), policy=POLICY)
    assert [r.completion_ids.tolist() for r in plain] != [r.completion_ids.tolist() for r in own]
    # and without the cache: what was drawn is what a whole forward of the adapted model gives
    for row, rollout in enumerate(own):
        ids = [*rollout.prompt_ids, *rollout.completion_ids.tolist()]
        log_probs = torch.log_softmax(logits_of(model, [ids])[0], -1)
        for place, token in enumerate(rollout.completion_ids.tolist()):
            seen = log_probs[len(PROMPTS[row]) - 1 + place, token]
            noted = float(rollout.trace.student_log_prob[place])
            assert float(seen) == pytest.approx(noted, abs=1e-5)


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3"])
def test_the_flat_layers_leave_adapters_to_the_module(architecture):
    model = adapted(architecture, shake=False)
    with torch.no_grad():
        assert not FlatLayers.fit(model)
        merge_adapters(model)
        assert FlatLayers.fit(model)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_merged_student_is_the_adapted_one_as_a_plain_model(architecture):
    model = adapted(architecture)
    before, names = logits_of(model), set(tiny_model(architecture, seed=0).state_dict())
    merge_adapters(model)
    assert set(model.state_dict()) == names and not has_adapters(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(logits_of(model), before, rtol=1e-10, atol=1e-10)


def test_saved_adapters_are_exact_and_peft_reads_them(tmp_path):
    from peft import PeftModel

    model = adapted("qwen3", dtype=torch.float32)
    save_adapter(tmp_path / "adapter", model, base="somewhere/base")
    written = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert written >= {"adapter_config.json", "adapter_model.safetensors"}
    again = adapted("qwen3", dtype=torch.float32, shake=False)
    load_adapter(tmp_path / "adapter", again)
    pairs = zip(adapter_parameters(model), adapter_parameters(again), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    base = tiny_model("qwen3", seed=0, dtype=torch.float32)
    by_peft = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    torch.testing.assert_close(logits_of(by_peft), logits_of(model))


def test_adapters_of_another_rank_are_refused(tmp_path):
    save_adapter(tmp_path, adapted("qwen3"))
    other = tiny_model("qwen3", seed=0)
    add_adapters(other, 4)
    with pytest.raises(DataError, match="do not fit this student: 28 differ, the first is .*lora"):
        load_adapter(tmp_path, other)


def test_adapters_of_half_precision_weights_are_float32_and_reach_the_loss():
    model = adapted("qwen3", dtype=torch.bfloat16)
    assert {p.dtype for p in adapter_parameters(model)} == {torch.float32}
    model.train()
    rollouts = rolled(student_rollout, model, policy=POLICY)
    hidden = completion_hidden(model, collate(rollouts, 0))
    Projection.of(model).logits(hidden).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter_parameters(model))


def test_the_seed_decides_the_start_and_torchs_generator_is_left_alone():
    state = torch.random.get_rng_state()
    one, two, other = (tiny_model("llama", seed=0) for _ in range(3))
    for model, seed in ((one, 1), (two, 1), (other, 2)):
        add_adapters(model, 2, seed=seed)
    assert torch.equal(torch.random.get_rng_state(), state)
    first = [p for p in adapter_parameters(one)]
    assert all(torch.equal(a, b) for a, b in zip(first, adapter_parameters(two), strict=True))
    assert not torch.equal(first[0], adapter_parameters(other)[0])


def test_an_unknown_architecture_is_refused_unless_targets_are_named():
    model = tiny_model("qwen3_next", seed=0)
    with pytest.raises(UsageError, match="Qwen3NextForCausalLM .* 'qwen3_next'.*--lora-targets"):
        add_adapters(model, 2)
    add_adapters(model, 2, targets=["q_proj"])
    assert has_adapters(model) and "qwen3_next" not in TARGETS


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "model.embed_tokens"])
def test_adapters_on_the_head_or_the_embedding_are_refused(target):
    with pytest.raises(UsageError, match=f"'{target}' is the embedding or the output head"):
        add_adapters(tiny_model("qwen3", seed=0), 2, targets=["q_proj", target])


def test_a_head_that_carries_an_adapter_is_refused_by_the_loss():
    from peft import LoraConfig, inject_adapter_in_model

    model = tiny_model("qwen3", seed=0)
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["lm_head"]), model)
    with pytest.raises(UsageError, match="no plain output embeddings .* carry an adapter"):
        Projection.of(model)


def test_a_layer_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match="no layer 'c_attn'.*It has down_proj, gate_proj, k_proj"):
        add_adapters(tiny_model("llama", seed=0), 2, targets=["c_attn"])


def test_adapters_upon_adapters_are_refused():
    with pytest.raises(UsageError, match="has adapters already"):
        add_adapters(adapted("llama"), 2)
