"""float16: gradients are unscaled before they are clipped, an overflow skips the step."""

import importlib
import json
import math
import shutil

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

import skd_lab as skd
from skd_lab.cli import main
from skd_lab.errors import NonFiniteLossError, UsageError
from skd_lab.step import apply_gradients


def half(monkeypatch, accelerator, scale, grow_after=4):
    """Make an accelerator on the CPU what accelerate makes of fp16 on a GPU."""
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=grow_after)
    accelerator.native_amp = True
    monkeypatch.setattr(AcceleratorState, "mixed_precision", "fp16", raising=False)
    return accelerator


@pytest.fixture
def stepper(monkeypatch):
    """stepper(scale, gradients): one update of a small model; its weights and what was said."""

    def made(scale, max_norm=0.5):
        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = Accelerator(cpu=True)
        if scale is not None:
            half(monkeypatch, accelerator, scale)
        generator = torch.Generator().manual_seed(0)
        model = nn.Linear(4, 3)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        optimizer = accelerator.prepare_optimizer(torch.optim.AdamW(model.parameters(), lr=0.1))
        x = torch.randn(8, 4, generator=generator)

        def step(poison=1.0):
            optimizer.zero_grad()
            accelerator.backward(poison * model(x).square().mean())
            return apply_gradients(accelerator, model, optimizer, max_norm, "rows 0 to 3")

        return model, step

    return made


def weights(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_a_scaled_step_equals_a_plain_one(stepper, scale):
    plain, plain_step = stepper(None)
    said = plain_step()
    scaled, scaled_step = stepper(scale)
    also = scaled_step()
    assert said["grad_norm"] > 0.5  # it is clipped
    assert also["grad_norm"] == pytest.approx(said["grad_norm"], rel=1e-6)
    assert also["loss_scale"] == scale and also["skipped"] == 0
    for one, other in zip(weights(plain), weights(scaled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_an_overflow_skips_the_step_and_halves_the_scale(stepper):
    model, step = stepper(2.0**16)
    step()
    before = weights(model)
    said = step(poison=1e38)
    assert said["skipped"] == 1 and said["loss_scale"] == 2.0**16
    assert not math.isfinite(said["grad_norm"])
    assert all(map(torch.equal, before, weights(model)))
    said = step()
    assert said["skipped"] == 0 and said["loss_scale"] == 2.0**15
    assert not any(map(torch.equal, before, weights(model)))


def test_the_scale_grows_again_after_steps_without_an_overflow(stepper):
    _, step = stepper(8.0)
    assert [step()["loss_scale"] for _ in range(6)] == [8, 8, 8, 8, 16, 16]


def test_a_gradient_that_overflows_at_any_scale_is_an_error(stepper):
    model, step = stepper(1.0)
    before = weights(model)
    assert step(poison=1e39)["skipped"] == 1  # more than float32 holds
    with pytest.raises(NonFiniteLossError, match="rows 0 to 3; nothing was changed"):
        step(poison=1e39)
    assert all(map(torch.equal, before, weights(model)))


def test_without_a_scale_an_infinite_gradient_is_an_error(stepper):
    with pytest.raises(NonFiniteLossError, match="The gradient became"):
        stepper(None)[1](poison=1e39)


SETTINGS = dict(
    pair="tiny-qwen3", device="cpu", steps=16, batch_size=2, n_prompts=4, max_new_tokens=8,
    learning_rate=1e-3, trace_prompts=0, accept_top_k=3, save_every=2,
)  # fmt: skip


@pytest.fixture
def on_half(monkeypatch):
    """Train in float16 autocast on the CPU, from so large a scale that the first steps overflow."""
    module = importlib.import_module("skd_lab.train")
    start = module.start_processes

    def started(*everything):
        return half(monkeypatch, start(*everything), scale=2.0**30, grow_after=99)

    monkeypatch.setattr(module, "start_processes", started)

    def run(run_dir, **changes):
        return skd.train(skd.RunConfig(**SETTINGS | changes, run_dir=str(run_dir)), progress=False)

    return run


def test_a_run_records_its_skipped_updates_and_learns(on_half, tmp_path):
    steps = [record.metrics for record in on_half(tmp_path / "run").steps]
    skipped = [metrics["skipped"] for metrics in steps]
    scales = [metrics["loss_scale"] for metrics in steps]
    assert skipped[0] == 1 and skipped[-1] == 0
    for done, (scale, was) in enumerate(zip(scales[:-1], skipped[:-1], strict=True)):
        if was:
            assert scales[done + 1] == scale / 2
    # nothing was learnt while steps were skipped: same weights, so the same norm is infinite
    assert all(math.isfinite(m["grad_norm"]) != bool(m["skipped"]) for m in steps)
    plain = skd.train(skd.RunConfig(**SETTINGS, run_dir=str(tmp_path / "plain")), progress=False)
    assert steps[0]["loss"] == pytest.approx(plain.steps[0].metrics["loss"], rel=2e-2)


def test_a_resumed_run_has_the_scale_it_had(on_half, tmp_path, monkeypatch):
    whole = [record.metrics for record in on_half(tmp_path / "whole").steps]
    on_half(tmp_path / "run")
    for step in (14, 16):
        state = json.loads((tmp_path / f"run/checkpoints/step-{step:06d}/state.json").read_text())
        assert state["scaler"]["scale"] > 0
    shutil.rmtree(tmp_path / "run/checkpoints/step-000016")  # as if killed before it
    again = [record.metrics for record in on_half(tmp_path / "run", resume=True).steps]
    for name in ("loss", "loss_scale", "skipped", "grad_norm"):
        assert [repr(m[name]) for m in again] == [repr(m[name]) for m in whole], name


def test_fp16_is_refused_where_it_cannot_be(tmp_path, capsys):
    words = ["train", "--pair", "tiny-qwen3", "--mixed-precision", "fp16", "--device", "cpu"]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--mixed-precision fp16 needs a CUDA GPU, and this run is on cpu. Use bf16" in said
    assert not (tmp_path / "run").exists()


def test_fp16_is_refused_for_weights_it_does_not_scale():
    from skd_lab.processes import _require_precision

    config = skd.RunConfig(**SETTINGS, mixed_precision="fp16", dtype="bfloat16")
    with pytest.raises(UsageError, match="float32 weights and does not go with --dtype bfloat16"):
        _require_precision(config, torch.device("cuda"))
    _require_precision(config.replace(dtype="float32"), torch.device("cuda"))
