"""Runs that train adapters or half-precision weights: resumed exactly, merged, read by others."""

import json
import shutil

import pytest
import torch

import skd_lab as skd
from skd_lab.adapters import has_adapters
from skd_lab.loading import load_model
from skd_lab.models import places

BASE = dict(
    pair="tiny-qwen3", n_prompts=12, steps=4, batch_size=4, learning_rate=1e-2, accept_top_k=3,
    gamma=4, max_new_tokens=10, trace_prompts=0, save_every=2, device="cpu",
)  # fmt: skip


def run(folder, **changes):
    return skd.train(skd.RunConfig(**(BASE | changes | {"run_dir": str(folder)})), progress=False)


def stopped_and_gone_on_with(folder, **changes):
    """As if the run had been killed after its first checkpoint."""
    run(folder, **changes)
    shutil.rmtree(folder / "checkpoints" / "step-000004")
    return run(folder, resume=True, **changes)


def same(mine, theirs):
    mine, theirs = mine.state_dict(), theirs.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_rank": 2, "lora_dropout": 0.1, "gradient_checkpointing": True},
        {"lora_rank": 2, "dtype": "bfloat16"},
        {"dtype": "bfloat16", "learning_rate": 1e-4},
        {"teacher_quantised": "4bit"},
        {"teacher_quantised": "8bit", "student_quantised": "8bit", "lora_rank": 2},
    ],
    ids=["adapters", "adapters on bfloat16", "masters", "teacher in 4 bits", "student in 8 bits"],
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, changes):
    if "teacher_quantised" in changes:
        pytest.importorskip("bitsandbytes")
    straight = run(tmp_path / "straight", **changes)
    again = stopped_and_gone_on_with(tmp_path / "again", **changes)
    assert same(straight.student, again.student)
    losses = [[s.metrics["loss"] for s in result.steps] for result in (straight, again)]
    assert losses[0] == losses[1] and len(losses[0]) == 4


def test_a_run_leaves_merged_weights_and_adapters_and_trains_nothing_else(tmp_path):
    from peft import PeftModel

    result = run(tmp_path / "run", lora_rank=2)
    checkpoint = tmp_path / "run" / "checkpoints" / "step-000004"
    files = {path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*.*")}
    assert "adapter/adapter_model.safetensors" in files
    assert not any(name.startswith("student/") for name in files)
    merged = load_model(tmp_path / "run" / "student", device="cpu")
    assert same(merged, result.student) and not has_adapters(result.student)
    start = load_model(places("tiny-qwen3")[0], device="cpu")
    changed = [
        name
        for name, value in merged.state_dict().items()
        if not torch.equal(value, start.state_dict()[name])
    ]
    assert changed and all(name.split(".")[-2].endswith("_proj") for name in changed)
    by_peft = PeftModel.from_pretrained(start, str(tmp_path / "run" / "adapter"))
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            by_peft(input_ids=ids).logits, merged(input_ids=ids).logits, rtol=1e-4, atol=1e-4
        )
    saved = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert saved["r"] == 2 and saved["peft_type"] == "LORA"


def test_bfloat16_updates_of_one_millionth_change_the_masters(tmp_path):
    run(tmp_path / "run", dtype="bfloat16", learning_rate=1e-6, lr_schedule="constant", steps=2)
    state = torch.load(
        tmp_path / "run" / "checkpoints" / "step-000002" / "optimizer.pt", weights_only=True
    )
    start = load_model(places("tiny-qwen3")[0], dtype="bfloat16", device="cpu")
    trained = list(start.parameters())
    order = [p for p in trained if p.dim() >= 2] + [p for p in trained if p.dim() < 2]
    moved = [
        (master - then.detach().float()).abs()
        for master, then in zip(state["masters"], order, strict=True)
    ]
    assert all(master.dtype == torch.float32 for master in state["masters"])
    assert sum(float((m > 0).sum()) for m in moved) > 0.2 * sum(m.numel() for m in moved)
    assert max(float(m.max()) for m in moved) < 1e-5
