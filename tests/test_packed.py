"""Packed rows: texts side by side learn what each learns alone, and a stop changes nothing."""

from dataclasses import replace

import pytest
import torch

from skd_lab import packed
from skd_lab.encode import Encoded
from skd_lab.loading import load_tokenizer
from skd_lab.models import BUNDLED
from skd_lab.packed import fit, pack, packed_loss
from skd_lab.recipes import FAMILIES, WINDOW, make_model
from skd_lab.tasks import Example

TEXTS = [
    Encoded(
        example=Example(id=str(n), prompt="?"),
        prompt_ids=[10 + (7 * n + i) % 500 for i in range(length)],
        reference_ids=[600 + (11 * n + i) % 400 for i in range(answer)],
    )
    for n, (length, answer) in enumerate([(60, 9), (20, 4), (35, 12), (5, 1), (90, 30), (12, 7)])
]
ROOM = dict(steps=4, batch_size=3, learning_rate=1e-2, warmup_steps=1)


def tiny(family: str, seed: int = 0):
    """Two layers that see something, in float64 so that sums can be compared."""
    recipe = replace(
        FAMILIES[family], hidden_size=16, layers=2, intermediate_size=16, head_dim=8, seed=seed
    )
    tokenizer = load_tokenizer(BUNDLED / "tiny-qwen3" / "student")
    return make_model(recipe, tokenizer).double()


def test_every_token_is_in_one_row_and_every_text_starts_at_zero():
    ids, positions, learn = pack(TEXTS, pad_id=0)
    assert ids.shape[1] == packed._WIDTH and ids.shape[0] < len(TEXTS)
    tokens = sum(len(t.prompt_ids) + len(t.reference_ids) for t in TEXTS)
    assert int((ids != 0).sum()) == tokens
    assert int(learn.sum()) == sum(len(t.reference_ids) for t in TEXTS)
    for text in TEXTS:
        own = [*text.prompt_ids, *text.reference_ids]
        found = [
            (row, start)
            for row in range(len(ids))
            for start in range(ids.shape[1] - len(own) + 1)
            if ids[row, start : start + len(own)].tolist() == own
        ]
        assert len(found) == 1
        row, start = found[0]
        assert positions[row, start : start + len(own)].tolist() == list(range(len(own)))
        where = learn[row, start : start + len(own)]
        first = len(text.prompt_ids) - 1
        assert where.tolist() == [first <= i < len(own) - 1 for i in range(len(own))]


def test_a_longer_text_than_the_rows_makes_them_wider():
    long = replace(TEXTS[0], prompt_ids=list(range(5, 205)))
    assert pack([long, *TEXTS[1:]], 0)[0].shape[1] == 209


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_packed_texts_have_the_loss_and_gradient_of_texts_alone(family, attention):
    model = tiny(family)
    model.set_attn_implementation(attention)
    loss = packed_loss(model, pack(TEXTS, 0))
    loss.backward()
    together = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    count = sum(len(t.reference_ids) for t in TEXTS)
    alone = 0.0
    for text in TEXTS:
        own = packed_loss(model, pack([text], 0)) * len(text.reference_ids) / count
        own.backward()
        alone += own.item()
    assert loss.item() == pytest.approx(alone, rel=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(together[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_the_second_familys_window_is_crossed():
    """Otherwise the test above would say nothing of windows."""
    config = tiny("tiny-gemma3").config
    assert config.sliding_window == WINDOW < len(TEXTS[0].prompt_ids)
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}


def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "_SAVE_EVERY", 1)
    whole, again = tiny("tiny-qwen3"), tiny("tiny-qwen3")
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    fit(whole, TEXTS, tmp_path / "whole", **ROOM)
    order = packed.prompt_order

    def stop_in_the_third(prompts, visits, seed):
        if visits.start == 2 * ROOM["batch_size"]:
            raise KeyboardInterrupt
        return order(prompts, visits, seed)

    with monkeypatch.context() as patch:
        patch.setattr(packed, "prompt_order", stop_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            fit(again, TEXTS, tmp_path / "stopped", **ROOM)
    other = tiny("tiny-qwen3", seed=5)
    seconds = fit(other, TEXTS, tmp_path / "stopped", **ROOM)
    assert seconds > 0
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


def test_the_rate_stays_and_then_falls_to_nothing(tmp_path, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self, *a, **k: rates.append(self.param_groups[0]["lr"]) or step(self, *a, **k),
    )
    fit(tiny("tiny-qwen3"), TEXTS, tmp_path, **{**ROOM, "steps": 8}, decay_steps=4)
    assert rates[1:5] == [1e-2] * 4 and rates[0] == 0
    assert rates[5:] == sorted(rates[5:], reverse=True) and 0 < rates[-1] < 3e-3


def test_what_is_learnt_is_the_texts(tmp_path):
    model = tiny("tiny-qwen3").float()
    before = packed_loss(model, pack(TEXTS, 0)).item()
    fit(model, TEXTS, tmp_path, **{**ROOM, "steps": 40, "batch_size": 6})
    assert packed_loss(model, pack(TEXTS, 0)).item() < 0.5 * before
