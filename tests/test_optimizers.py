"""Optimizers: small updates survive 16 bits, states come back exactly, and what is refused."""

import sys

import pytest
import torch
from torch import nn

from skd_lab.errors import UsageError
from skd_lab.optimizers import MasterWeights, make_optimizer, parameter_groups


def model_of(dtype, seed=0):
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(1 + 0.1 * torch.randn(parameter.shape, generator=noise))
    return model.to(dtype)


def trained(model, optimizer, updates, first=0):
    """Updates by gradients that are the same for every model."""
    for update in range(first, first + updates):
        noise = torch.Generator().manual_seed(update)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=noise).to(parameter.dtype)
        optimizer.step()
    return model


def weights(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_an_update_of_one_millionth_is_lost_in_bfloat16_and_kept_in_its_master():
    bare, model = model_of(torch.bfloat16), model_of(torch.bfloat16)
    before = weights(bare)
    started = {name: value.float().clone() for name, value in model.named_parameters()}
    trained(bare, torch.optim.AdamW(bare.parameters(), lr=1e-6, weight_decay=0.0), 50)
    lost = [torch.equal(now, then) for now, then in zip(bare.parameters(), before, strict=True)]
    assert all(lost)  # what the masters are for
    optimizer = make_optimizer(model, learning_rate=1e-6)
    assert isinstance(optimizer, MasterWeights)
    trained(model, optimizer, 50)
    names = {parameter: name for name, parameter in model.named_parameters()}
    order = [names[p] for group in optimizer.param_groups for p in group["params"]]
    for name, master in zip(order, optimizer.state_dict()["masters"], strict=True):
        moved = (master - started[name]).abs()
        assert master.dtype == torch.float32
        assert (moved > 0).float().mean() > 0.9 and moved.max() < 1e-4


def test_masters_are_what_float32_training_gives_and_weights_are_their_rounding():
    half, full = model_of(torch.bfloat16), model_of(torch.bfloat16).float()
    by_half = make_optimizer(half, learning_rate=1e-2, weight_decay=0.1)
    by_full = make_optimizer(full, learning_rate=1e-2, weight_decay=0.1)
    assert isinstance(by_full, torch.optim.AdamW)
    trained(half, by_half, 20)
    for update in range(20):  # the same gradients, rounded as bfloat16 ones are
        noise = torch.Generator().manual_seed(update)
        for parameter in full.parameters():
            drawn = torch.randn(parameter.shape, generator=noise)
            parameter.grad = drawn.bfloat16().float()
        by_full.step()
    order = [p for group in by_half.param_groups for p in group["params"]]
    wanted = [p for group in by_full.param_groups for p in group["params"]]
    for weight, master, full_one in zip(
        order, by_half.state_dict()["masters"], wanted, strict=True
    ):
        assert torch.equal(master, full_one)
        assert torch.equal(weight, full_one.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_saved_state_goes_on_bit_for_bit(dtype, tmp_path):
    straight = model_of(dtype)
    optimizer = make_optimizer(straight, learning_rate=1e-3)
    trained(straight, optimizer, 3)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    held = straight.state_dict()
    again = model_of(dtype, seed=9)
    again.load_state_dict(held)
    resumed = make_optimizer(again, learning_rate=1e-3)
    resumed.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    trained(straight, optimizer, 4, first=3)
    trained(again, resumed, 4, first=3)
    assert all(torch.equal(a, b) for a, b in zip(weights(straight), weights(again), strict=True))
    mine, theirs = optimizer.state_dict(), resumed.state_dict()
    for one, other in zip(mine.get("masters", []), theirs.get("masters", []), strict=True):
        assert torch.equal(one, other)


def test_a_schedule_and_clipping_reach_the_masters():
    model = model_of(torch.bfloat16)
    optimizer = make_optimizer(model, learning_rate=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 0.0 if done else 1e-3)
    trained(model, optimizer, 1)
    schedule.step()
    assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.0
    then = [master.clone() for master in optimizer.state_dict()["masters"]]
    trained(model, optimizer, 1)  # the rate is 0 now
    now = optimizer.state_dict()["masters"]
    assert all(torch.equal(a, b) for a, b in zip(now, then, strict=True))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    clipped = nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    assert clipped > 1 and all(p.grad.abs().max() < 1e-3 for p in model.parameters())


def test_frozen_parameters_have_no_state():
    model = model_of(torch.float32)
    model[0].requires_grad_(False)
    groups = parameter_groups(model, 0.1)
    assert [len(group["params"]) for group in groups] == [1, 3]
    optimizer = make_optimizer(model, learning_rate=1e-3)
    before = weights(model[0])
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(weights(model[0]), before, strict=True))


def test_float16_weights_are_refused():
    with pytest.raises(UsageError, match="float16 weights cannot be trained.*--lora-rank"):
        make_optimizer(model_of(torch.float16), learning_rate=1e-3)


def test_eight_bits_without_bitsandbytes_are_refused_with_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UsageError, match=r"pip install 'skd-lab\[quantised\]'"):
        make_optimizer(model_of(torch.float32), "adamw_8bit", learning_rate=1e-3)


def test_pages_without_cuda_are_refused():
    with pytest.raises(UsageError, match="pages between a CUDA device.*student is on cpu"):
        make_optimizer(model_of(torch.float32), "paged_adamw_8bit", learning_rate=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eight_bit_states_train_and_come_back(dtype):
    pytest.importorskip("bitsandbytes")
    straight, again = (nn.Linear(128, 64).to(dtype) for _ in range(2))
    first = make_optimizer(straight, "adamw_8bit", learning_rate=1e-3)
    before = weights(straight)
    trained(straight, first, 2)
    assert not torch.equal(before[0], straight.weight)
    state = (first.inner if dtype == torch.bfloat16 else first).state
    assert any(s["state1"].dtype == torch.uint8 for s in state.values())
    again.load_state_dict(straight.state_dict())
    second = make_optimizer(again, "adamw_8bit", learning_rate=1e-3)
    second.load_state_dict(first.state_dict())
    trained(straight, first, 2, first=2)
    trained(again, second, 2, first=2)
    assert all(torch.equal(a, b) for a, b in zip(weights(straight), weights(again), strict=True))
