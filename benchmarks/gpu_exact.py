"""Whether the library computes on this device what it computes on a CPU, in three precisions."""

import copy
import tempfile
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.gpu_models import FAMILIES, LOADS, random_data, random_pair, shape
from skd_lab.batch import collate, completion_logits
from skd_lab.config import RunConfig
from skd_lab.decode import decoding, sampling_mode
from skd_lab.losses import forward_kl
from skd_lab.models import Pair
from skd_lab.projection import Projection, chunked_divergence
from skd_lab.records import Rollout
from skd_lab.rollout import student_rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout
from skd_lab.train import train

ROWS, NEW, TOP_K = 4, 16, 100
LIMITS = {
    "texts": 0.0,
    "float32 log-probabilities": 1e-3,
    "bfloat16 log-probabilities": 0.1,
    "bfloat16 decisions": 0.05,
    "float32 loss": 1e-5,
    "float32 gradient": 1e-4,
    "bfloat16 loss": 3e-2,
    "float64 training": 1e-9,
    "float32 training": 1e-3,
}
"""Largest value that passes: tokens that differ; nats, at most or (bfloat16) on average; share of
decisions that a full forward would take otherwise; relative differences."""


def exactness(family: str, device: str) -> dict[str, Any]:
    """All checks of one architecture: {"checks": [{check, value, limit, passed}, ...]}."""
    config = shape(FAMILIES[family], scaled=True)
    checks = [
        {"check": name, "value": value, "limit": LIMITS[kind], "passed": value <= LIMITS[kind]}
        for make in (_texts, _forwards, _losses, _training)
        for name, kind, value in make(config, device)
    ]
    return {"checks": checks, "passed": all(check["passed"] for check in checks)}


def _pair(config: dict[str, Any], dtype: torch.dtype, device: str) -> Pair:
    """The same numbers on every device and in every precision, rounded."""
    pair = random_pair(config, config, dtypes=(torch.float64,) * 2, device="cpu", sharpness=10.0)
    for model in (pair.student, pair.teacher):
        model.to(device=device, dtype=dtype)
    return pair


def _rollouts(pair: Pair, *, gamma: int = 4, top_k: int = TOP_K, rows: int = ROWS) -> list[Rollout]:
    prompts = [row.prompt_ids[: 3 + i] for i, row in enumerate(_data(rows).encoded)]
    return interleaved_rollout(
        pair.student,
        pair.teacher,
        prompts,
        accept_top_k=top_k,
        gamma=gamma,
        max_new_tokens=NEW,
        eos_token_ids=[],
        student_policy=SamplingPolicy(),
        teacher_policy=SamplingPolicy(),
        uniforms=draw_uniforms(0, rows, NEW),
        vocab_size=pair.vocab_size,
        keep_teacher_hidden=True,
    )


def _data(rows: int) -> Any:
    return random_data(LOADS["tiny"], 512, rows)


def _differing(one: list[Rollout], other: list[Rollout]) -> float:
    pairs = zip(one, other, strict=True)
    return float(sum((a.completion_ids != b.completion_ids).sum() for a, b in pairs))


def _texts(config: dict[str, Any], device: str) -> Iterator[tuple[str, str, float]]:
    """In float64 every text is the same, however it was made."""
    here = _pair(config, torch.float64, device)
    texts = _rollouts(here)
    there = _rollouts(_pair(config, torch.float64, "cpu"))
    yield "tokens that differ from a CPU's, float64", "texts", _differing(texts, there)
    if device != "cpu":
        for way in ("compiled", "recorded"):
            with decoding(way, torch.device(device)):
                other = _rollouts(here)
            yield f"tokens that differ when {way}, float64", "texts", _differing(texts, other)
    single = _rollouts(here, gamma=1)
    yield "tokens that differ with blocks of 1, float64", "texts", _differing(texts, single)
    alone = student_rollout(
        here.student,
        [one.prompt_ids for one in texts],
        max_new_tokens=NEW,
        policy=SamplingPolicy(),
        uniforms=draw_uniforms(0, ROWS, NEW)[0],
        eos_token_ids=[],
        vocab_size=here.vocab_size,
    )
    all_stand = _rollouts(here, top_k=here.vocab_size)
    name = "tokens that differ from the student's own where K is the vocabulary, float64"
    yield name, "texts", _differing(all_stand, alone)


def _forwards(config: dict[str, Any], device: str) -> Iterator[tuple[str, str, float]]:
    """What was seen with caches, beside one forward over the finished text."""
    for dtype in (torch.float32, torch.bfloat16):
        pair = _pair(config, dtype, device)
        rollouts = _rollouts(pair)
        batch = collate(rollouts, 0).to(torch.device(device))
        gaps, flips = [], []
        for role, model in (("student", pair.student), ("teacher", pair.teacher)):
            with sampling_mode(model):
                logits = model(input_ids=batch.input_ids).logits[..., : pair.vocab_size]
            found = completion_logits(logits.float(), batch).log_softmax(-1).cpu()
            kept = batch.completion_ids.cpu()
            seen = torch.cat([getattr(one.trace, f"{role}_log_prob") for one in rollouts])
            gaps.append((found.gather(-1, kept[:, None])[:, 0] - seen.float()).abs())
            if role == "teacher":
                rank = torch.cat([one.trace.teacher_rank for one in rollouts])
                proposed = torch.cat([one.trace.proposed_id for one in rollouts])
                score = found.gather(-1, proposed[:, None])
                flips = ((found > score).sum(-1) < TOP_K) != (rank <= TOP_K)
        name = str(dtype).removeprefix("torch.")
        gap = torch.cat(gaps)
        value = gap.max() if dtype == torch.float32 else gap.mean()
        yield f"log-probabilities, {name}", f"{name} log-probabilities", float(value)
        if dtype == torch.bfloat16:
            yield (
                "decisions that flip, bfloat16",
                "bfloat16 decisions",
                float(flips.double().mean()),
            )


def _losses(config: dict[str, Any], device: str) -> Iterator[tuple[str, str, float]]:
    """The loss in chunks beside the loss from all logits at once, on the device."""
    for dtype in (torch.float32, torch.bfloat16):
        pair = _pair(config, dtype, device)
        heads = [Projection.of(model, pair.vocab_size) for model in (pair.student, pair.teacher)]
        states = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
        hidden = states.to(device, dtype).requires_grad_()
        weights = torch.full((200,), 1 / 200, device=device)
        loss, _, _ = chunked_divergence(
            forward_kl, hidden, heads[0], hidden.detach().flip(0), heads[1], weights,
            chunk_tokens=64,
        )  # fmt: skip
        (gradient,) = torch.autograd.grad(loss, hidden)
        wide = hidden.detach().double().requires_grad_()
        dense = [Projection.of(copy.deepcopy(m).double(), pair.vocab_size) for m in _both(pair)]
        logits = dense[0].logits(wide), dense[1].logits(wide.detach().flip(0))
        exact = forward_kl(logits[0].log_softmax(-1), logits[1].log_softmax(-1)).mean()
        (wanted,) = torch.autograd.grad(exact, wide)
        name = str(dtype).removeprefix("torch.")
        gap = float((loss - exact).detach().abs() / exact.detach())
        yield f"loss in chunks, {name}", f"{name} loss", gap
        if dtype == torch.float32:
            gap = float((gradient - wanted).norm() / wanted.norm())
            yield "its gradient, float32", "float32 gradient", gap


def _both(pair: Pair) -> tuple[Any, Any]:
    return pair.student, pair.teacher


def _training(config: dict[str, Any], device: str) -> Iterator[tuple[str, str, float]]:
    """Losses of three updates of skd, beside a CPU's in float64."""
    wanted = _curve(config, torch.float64, "cpu")
    for dtype in (torch.float64, torch.float32):
        name = str(dtype).removeprefix("torch.")
        gaps = [
            abs(one - other) / abs(other)
            for one, other in zip(_curve(config, dtype, device), wanted, strict=True)
        ]
        yield f"losses of three updates, {name}", f"{name} training", max(gaps)


def _curve(config: dict[str, Any], dtype: torch.dtype, device: str) -> list[float]:
    load = LOADS["tiny"]
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            RunConfig(
                pair="tiny-qwen3",  # a name is asked for; the models are passed below
                method="skd",
                accept_top_k=TOP_K,
                max_new_tokens=load.new,
                max_prompt_tokens=load.prompt,
                batch_size=load.batch,
                steps=3,
                learning_rate=1e-4,
                device=device,
                trace_prompts=0,
                run_dir=f"{folder}/run",
            ),
            pair=_pair(config, dtype, device),
            data=random_data(load, 512, 12),
            progress=False,
        )
    return [record.metrics["loss"] for record in result.steps]
