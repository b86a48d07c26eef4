"""The flat layers equal the module's, and step aside where something is unknown about a model."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import WINDOW, tiny_model

from skd_lab.decode import Decoder
from skd_lab.layers import FlatLayers, flat, products
from skd_lab.rollout import reference_rollout
from skd_lab.step import teacher_states

VOCAB = 32
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15, 16, 17]]


def decoders(model, monkeypatch, **settings):
    """The same request by the flat layers and by the model's own module."""
    settings = {"max_new_tokens": 12, "keep_hidden": True} | settings
    with torch.no_grad():
        flat = Decoder(model, PROMPTS, **settings)
        with monkeypatch.context() as patch:
            patch.setattr(FlatLayers, "fit", staticmethod(lambda model: False))
            module = Decoder(model, PROMPTS, **settings)
    assert flat._flat is not None and module._flat is None
    return flat, module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("architecture", ["qwen3", "gemma3"])
@pytest.mark.parametrize(("heads", "rearranged"), [(1, False), (2, False), (4, False), (2, True)])
def test_logits_and_states_are_the_modules(architecture, dtype, heads, rearranged, monkeypatch):
    if rearranged:
        monkeypatch.setattr(products, "_SMALLEST", 0)
    model = tiny_model(
        architecture,
        seed=3,
        vocab_size=VOCAB,
        dtype=dtype,
        layers=3,
        sharpness=1.0,
        num_attention_heads=4,
        num_key_value_heads=heads,
    )
    flat, module = decoders(model, monkeypatch, max_new_tokens=40 if rearranged else 12)
    assert flat._flat.copied == (rearranged and dtype == torch.float32)
    generator = torch.Generator().manual_seed(0)
    position = torch.tensor([len(prompt) - 1 for prompt in PROMPTS])
    # ragged, rolled back, beyond the window, and past the end of a row
    for width, back in ((1, 0), (4, 0), (3, 2), (2, 0), (1, 0), (5, 1)):
        position = position - torch.tensor([0, back, 0]).clamp(max=position)
        ids = torch.randint(1, VOCAB, (len(PROMPTS), width), generator=generator)
        with torch.no_grad():
            ours, theirs = flat.feed(ids, position), module.feed(ids, position)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        position = position + width
    assert position.max() > 2 * WINDOW
    kept = torch.tensor([2, 0])
    flat.select_rows(kept), module.select_rows(kept)
    ids = torch.tensor([[3], [4]])
    with torch.no_grad():
        ours, theirs = flat.feed(ids, position[kept]), module.feed(ids, position[kept])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_logits_are_cut_and_capped_as_the_modules(monkeypatch):
    model = tiny_model(
        "gemma3", seed=3, vocab_size=VOCAB, dtype=torch.float32, final_logit_softcapping=2.0
    )
    flat, module = decoders(model, monkeypatch, vocab_size=20)
    ids, position = torch.tensor([[3]] * 3), torch.tensor([2, 0, 8])
    with torch.no_grad():
        ours, theirs = flat.feed(ids, position)[0], module.feed(ids, position)[0]
    assert ours.shape == (3, 1, 20) and ours.abs().max() > 1.0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 8, 9])
def test_a_wide_head_gives_the_same_logits_for_few_and_many_tokens(rows):
    model = tiny_model("qwen3", seed=3, vocab_size=9000, dtype=torch.float32, sharpness=1.0)
    hidden = torch.randn(rows, 1, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = FlatLayers(model, rows, 4).logits(hidden)
        torch.testing.assert_close(logits, model.lm_head(hidden), rtol=0, atol=1e-5)
        Decoder(model, [[1, 2, 3]] * max(rows, 1), max_new_tokens=2)  # reads prompts, no logits
    assert logits.is_contiguous()


def test_weights_are_copied_for_one_rollout_alone(monkeypatch):
    monkeypatch.setattr(products, "_SMALLEST", 0)
    model = tiny_model("qwen3", seed=3, vocab_size=VOCAB, dtype=torch.float32, sharpness=1.0)
    ids, position = torch.tensor([[3]] * 3), torch.tensor([2, 0, 8])
    seen = []
    for _ in range(2):
        flat, module = decoders(model, monkeypatch, max_new_tokens=40)
        with torch.no_grad():
            seen.append(flat.feed(ids, position)[0])
            torch.testing.assert_close(seen[-1], module.feed(ids, position)[0], rtol=0, atol=1e-5)
            for weight in model.parameters():
                weight.data.mul_(1.1)  # as some averaging does, unseen by autograd
    assert flat._flat.copied and not torch.allclose(*seen)


def test_big_models_and_short_texts_are_decoded_from_the_weights_as_they_lie(monkeypatch):
    model = tiny_model("qwen3", seed=3, vocab_size=VOCAB, dtype=torch.float32)
    with torch.no_grad():
        assert Decoder(model, PROMPTS, max_new_tokens=16)._flat.copied
        assert not Decoder(model, PROMPTS, max_new_tokens=15)._flat.copied
        monkeypatch.setattr(flat, "LARGEST_COPY", 1000)
        assert not Decoder(model, PROMPTS, max_new_tokens=16)._flat.copied


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3"])
def test_a_teacher_scores_as_its_module_does(architecture, monkeypatch):
    teacher = tiny_model(architecture, seed=4, vocab_size=VOCAB, dtype=torch.float32)
    answers = [[4] * 9, [5, 6], [7, 8, 9]]  # ragged, and longer than the window
    rollouts = reference_rollout(PROMPTS, answers, eos_token_ids=[1])
    ours = teacher_states(teacher, rollouts, pad_id=0)
    monkeypatch.setattr(FlatLayers, "fit", staticmethod(lambda model: False))
    theirs = teacher_states(teacher, rollouts, pad_id=0)
    assert ours.shape == (14, 16)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_steps_give_the_same_logits():
    # in a process of its own: here every call is type-checked, which cannot be compiled
    checked = subprocess.run(
        [sys.executable, "-c", COMPILED], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.split() == ["compiled"] * 4 + ["plain"] + ["compiled"] * 2


COMPILED = """
import torch
from tiny import tiny_model
from skd_lab.decode import Decoder

torch.set_grad_enabled(False)
model = tiny_model("qwen3", seed=3, dtype=torch.float32, sharpness=1.0)
prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
plain = Decoder(model, prompts, max_new_tokens=12)
Decoder.compiled = True
fast = Decoder(model, prompts, max_new_tokens=12)
inner, calls = fast._one, []
fast._one = lambda *a: (calls.append(a), inner(*a))[1]
position = torch.tensor([len(prompt) - 1 for prompt in prompts])
for step, width in enumerate((1, 1, 1, 1, 3, 1, 1)):
    if step == 6:
        plain.select_rows(torch.tensor([2, 0])), fast.select_rows(torch.tensor([2, 0]))
        position = position[[2, 0]]
    ids = (3 + torch.arange(len(position) * width) % 20).view(len(position), width)
    before = len(calls)
    ours, theirs = fast.feed(ids, position)[0], plain.feed(ids, position)[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    print("compiled" if len(calls) > before else "plain")
    position = position + width
"""


def fits(model):
    with torch.no_grad():
        return FlatLayers.fit(model)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2", "qwen3_next"])
def test_unknown_models_are_left_to_their_module(architecture):
    assert not fits(tiny_model(architecture, seed=1))


def test_a_changed_model_is_left_to_its_module():
    model = tiny_model("qwen3", seed=1, dtype=torch.float32)
    assert fits(model)
    assert not FlatLayers.fit(model), "with gradients the module must run"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not fits(model)
    hook = model.model.layers[0].mlp.register_forward_hook(lambda *_: None)
    assert not fits(model)
    hook.remove()
    assert fits(model)
    model(torch.tensor([[1, 2]]), output_hidden_states=True)  # leaves hooks of the framework's own
    assert model.model.layers[0]._forward_hooks
    assert fits(model)
    model.model.layers[0].mlp.forward = model.model.layers[0].mlp.forward
    assert not fits(model)
    assert not fits(tiny_model("qwen3", seed=1, dtype=torch.bfloat16))
    assert not fits(tiny_model("qwen3", seed=1, dtype=torch.float32, attention_bias=True))
    eager = tiny_model("qwen3", seed=1, dtype=torch.float32, attn_implementation="eager")
    assert not fits(eager)
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert not fits(tiny_model("qwen3", seed=1, dtype=torch.float32, rope_parameters=rope))


def test_an_adapter_in_a_layers_place_is_seen():
    class Adapter(torch.nn.Linear):
        pass

    model = copy.deepcopy(tiny_model("qwen3", seed=1, dtype=torch.float32))
    attention = model.model.layers[0].self_attn
    attention.q_proj = Adapter(16, 16, bias=False)
    assert not fits(model)
