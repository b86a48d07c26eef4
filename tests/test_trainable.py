"""A student made ready: checkpointing that changes nothing but memory, few bits, refusals."""

import importlib.util
import sys

import pytest
import torch
from test_models import write_model
from tiny import ARCHITECTURES, tiny_model

from skd_lab.adapters import adapter_parameters, add_adapters, has_adapters, save_adapter
from skd_lab.batch import collate, completion_hidden
from skd_lab.config import RunConfig
from skd_lab.errors import UsageError
from skd_lab.layers import FlatLayers
from skd_lab.loading import attention_reason, load_config, load_model
from skd_lab.models import load_pair
from skd_lab.projection import Projection
from skd_lab.rollout import student_rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.trainable import check_trainable, make_trainable, save_adapter_and_merge

HAS_BITS = importlib.util.find_spec("bitsandbytes") is not None
needs_bits = pytest.mark.skipif(not HAS_BITS, reason="bitsandbytes is not installed")
# bitsandbytes' own blocks on a CPU are 32 columns wide
BLOCKS = dict(hidden_size=64, head_dim=32)
PROMPTS = [[2, 3, 4], [5], [6, 7, 8, 9, 10, 11, 12]]


def config(**values):
    return RunConfig(pair="tiny-qwen3", **values)


def rollouts_of(model):
    uniforms = draw_uniforms(0, 3, 12)[0]
    settings = dict(policy=SamplingPolicy(), max_new_tokens=12, eos_token_ids=[1])
    return student_rollout(model, PROMPTS, uniforms=uniforms, **settings)


def gradients_of(model):
    """Of some loss of the training forward, as the loop makes it."""
    rollouts = rollouts_of(model)
    model.train()
    hidden = completion_hidden(model, collate(rollouts, 0))
    Projection.of(model).logits(hidden).logsumexp(-1).sum().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_checkpointing_changes_no_gradient(architecture, adapters):
    found = []
    for checkpointing in (False, True):
        # in float64 the framework's eager attention is nan where a window holds padding alone
        wide = {"sliding_window": 64} if architecture.startswith("gemma") else {}
        model = tiny_model(architecture, seed=0, **wide)
        rank = 2 if adapters else None
        make_trainable(model, config(gradient_checkpointing=checkpointing, lora_rank=rank))
        found.append(gradients_of(model))
    without, with_it = found
    assert without.keys() == with_it.keys() and without
    assert all(torch.equal(without[name], with_it[name]) for name in without)


def test_gradient_checkpointing_makes_activations_again_in_the_update_and_nowhere_else():
    """Counts what a layer computes: once more in a backward pass, not once more in a rollout."""
    calls = []
    for checkpointing in (False, True):
        model = tiny_model("llama", seed=0)  # no flat layers: the module itself is counted
        make_trainable(model, config(gradient_checkpointing=checkpointing))
        fed: list[int] = []
        mlp = model.model.layers[0].mlp
        mlp.register_forward_pre_hook(lambda module, args, fed=fed: fed.append(args[0].shape[1]))
        model.train()
        rollouts_of(model)
        rolled = len(fed)
        gradients_of(model)
        # in there the rollout once more, then the forward of the update, and what comes after
        calls.append((fed[:rolled], fed[rolled : 2 * rolled], fed[2 * rolled :]))
    (rolled, again, updated), (rolled_too, again_too, updated_too) = calls
    # tokens fed by the rollout: the prompts, then one a step, as the cache is on
    assert rolled == again == rolled_too == again_too and rolled[1:] == [1] * 12
    assert len(updated) == 1 and updated_too == updated * 2


def test_gradient_checkpointing_leaves_the_flat_layers_on():
    model = tiny_model("qwen3", seed=0)
    make_trainable(model, config(gradient_checkpointing=True))
    with torch.no_grad():
        assert FlatLayers.fit(model.eval())


@pytest.mark.parametrize(
    "values, message",
    [
        ({"student_quantised": "4bit"}, "quantised student cannot be trained.*--lora-rank 16"),
        ({"dtype": "float16"}, "--dtype float16 cannot be trained.*--lora-rank 16"),
        ({"dtype": "float16", "lora_rank": 2}, "Add --mixed-precision fp16"),
    ],
)
def test_what_could_not_be_trained_is_refused_before_anything_is_loaded(values, message):
    with pytest.raises(UsageError, match=message):
        check_trainable(config(**values))
    check_trainable(config(dtype="float16", lora_rank=2, mixed_precision="fp16"))
    check_trainable(config(student_quantised="8bit", lora_rank=2))


def test_settings_of_adapters_without_a_rank_are_refused():
    for name, value in (("lora_alpha", 4), ("lora_dropout", 0.1), ("lora_targets", "q_proj")):
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} says how adapters"):
            config(**{name: value})


def test_a_folder_of_adapters_is_no_model(tmp_path):
    model = tiny_model("qwen3", seed=0)
    add_adapters(model, 2)
    save_adapter(tmp_path / "adapter", model, base="Qwen/Qwen3-0.6B")
    # a pair reads the tokenizer first, which may not be there
    for load in (load_model, load_config, lambda at: load_pair(student=at, teacher=at)):
        with pytest.raises(
            UsageError, match="holds adapters, not a model .*'Qwen/Qwen3-0.6B'.*student/ beside"
        ):
            load(tmp_path / "adapter")


def test_the_attention_is_chosen_by_what_the_model_can_do(tmp_path):
    reasons = {}
    for architecture in ("qwen3", "gemma2"):
        write_model(tmp_path / architecture, architecture=architecture)
        reasons[architecture] = attention_reason(load_config(tmp_path / architecture))
    assert reasons["qwen3"].startswith("sdpa: it takes a mask a row, which flash attention")
    assert reasons["gemma2"].startswith("eager: it caps the attention's scores")
    pair = load_pair(student=tmp_path / "qwen3", teacher=tmp_path / "qwen3", device="cpu")
    assert f"attention   {reasons['qwen3']}\n" in pair.report + "\n"


def test_the_teacher_may_have_another_type_and_its_decisions_are_said_to_be_recorded(tmp_path):
    folder = write_model(tmp_path / "model")
    pair = load_pair(student=folder, teacher=folder, teacher_dtype="bfloat16", device="cpu")
    assert (pair.student.dtype, pair.teacher.dtype) == (torch.float32, torch.bfloat16)
    assert "a later forward over the whole text may differ" in pair.report
    alike = load_pair(student=folder, teacher=folder, device="cpu")
    assert alike.teacher.dtype == torch.float32 and "may differ" not in alike.report


def test_few_bits_without_bitsandbytes_are_refused_with_the_extra_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UsageError, match=r"4 bits needs bitsandbytes.*'skd-lab\[quantised\]'"):
        load_model(write_model(tmp_path / "model"), quantised="4bit")


@needs_bits
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_quantised_teacher_is_near_the_whole_one_and_works_beside_a_student(tmp_path, bits):
    folder = write_model(tmp_path / "model", **BLOCKS)
    whole = load_model(folder, device="cpu")
    few = load_model(folder, device="cpu", quantised=bits)
    assert few.get_memory_footprint() < whole.get_memory_footprint()
    assert not FlatLayers.fit(few)
    ids = torch.arange(2, 18)[None]
    with torch.no_grad():
        apart = (few(input_ids=ids).logits - whole(input_ids=ids).logits).abs().mean()
        noise = whole(input_ids=ids.flip(1)).logits - whole(input_ids=ids).logits
    assert 0 < apart < 0.5 * noise.abs().mean()
    pair = load_pair(student=folder, teacher=folder, teacher_quantised=bits, device="cpu")
    assert f"{bits[0]} bits and float32" in pair.report


@needs_bits
def test_adapters_of_a_quantised_student_are_merged_into_its_whole_weights(tmp_path):
    folder = write_model(tmp_path / "model", **BLOCKS)
    values = dict(student=str(folder), teacher=str(folder), lora_rank=2)
    run = RunConfig(**values, student_quantised="4bit")
    pair = load_pair(student=folder, teacher=folder, student_quantised="4bit", device="cpu")
    make_trainable(pair.student, run)
    gradients = gradients_of(pair.student)
    assert len(gradients) == len(adapter_parameters(pair.student)) == 28
    with torch.no_grad():
        for parameter in adapter_parameters(pair.student):
            parameter.fill_(0.05)
    merged = save_adapter_and_merge(tmp_path / "adapter", pair, run)
    assert not has_adapters(merged) and has_adapters(pair.student)
    whole = load_model(folder, device="cpu").get_submodule("model.layers.0.mlp.up_proj").weight
    change = merged.get_submodule("model.layers.0.mlp.up_proj").weight - whole
    # alpha / rank = 2, and each entry of B A is 2 * 0.05 ** 2
    torch.testing.assert_close(change, torch.full_like(change, 0.01), rtol=1e-4, atol=1e-6)
    with pytest.raises(UsageError, match="quantised"):
        make_trainable(load_model(folder, device="cpu", quantised="8bit"), config())
