"""What an update costs on this device at published shapes: tokens a second, memory, its parts."""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_models import PAIRS, Load, random_data, random_pair, shape
from benchmarks.meter import peak_memory
from benchmarks.real_shapes import write_config
from skd_lab.config import RunConfig
from skd_lab.decode import decoding
from skd_lab.rollout import student_rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout
from skd_lab.train import train

METHODS = ("supervised_kd", "on_policy_kd", "skd")
PHASES = ("draft", "verify", "score", "update")


def update_cost(family: str, method: str, device: str, load: Load) -> dict[str, Any]:
    """Some updates of a random pair: the student's weights float32, its products bfloat16 (float16
    on a card without it), the teacher's weights too. The first update is not timed.

    Untrained models agree by chance, so K is nine tenths of the vocabulary: nine proposals of ten
    stand, as with the small K of a trained pair.
    """
    names = PAIRS[family]
    shapes = [shape(name, scaled=load.scaled) for name in names]
    vocabulary = min(one["vocab_size"] for one in shapes)
    half = _half(device)
    types = torch.float32, getattr(torch, half)
    collected(device)
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            student=str(write_config(Path(folder) / "student", names[0])),
            teacher=str(write_config(Path(folder) / "teacher", names[1])),
            teacher_dtype=half,
            mixed_precision="bf16" if half == "bfloat16" else "fp16",
            method=method,
            accept_top_k=round(0.9 * vocabulary),
            max_prompt_tokens=load.prompt,
            max_new_tokens=load.new,
            batch_size=load.batch,
            microbatch_size=load.microbatch,
            steps=1 + load.updates,
            lr_schedule="constant",
            save_every=10**9,
            keep_checkpoints=1,
            trace_prompts=0,
            device=device,
            run_dir=f"{folder}/run",
        )
        expected = None if load.scaled else _expected(config)
        with peak_memory() as peak:
            pair = random_pair(shapes[0], shapes[1], dtypes=types, device=device)
            data = random_data(load, vocabulary, load.batch * config.steps)
            steps = train(config, pair=pair, data=data, progress=False).steps[1:]
    del pair
    collected(device)

    def middle(name: str) -> float:
        return statistics.median(step.metrics[name] for step in steps)

    parts = {name: middle(f"seconds_{name}") for name in PHASES}
    judged = {"acceptance_rate": middle("acceptance_rate")} if method == "skd" else {}
    return {
        "updates_timed": len(steps),
        "kept_tokens_per_second": middle("tokens_per_second"),
        **judged,
        "seconds": {"all": load.batch * load.new / middle("tokens_per_second"), **parts},
        "peak_bytes": peak[0],
        "expected_bytes": expected,
        "load": vars(load),
    }


def decoding_cost(family: str, way: str, device: str, load: Load) -> dict[str, Any]:
    """Kept tokens a second of rollouts alone, float32 student and teacher of half the bits.

    Args:
        way: "plain", "compiled" or "recorded", as --decoding takes it. The first rollout, with
            its compiling or recording, is timed apart.
    """
    collected(device)
    shapes = [shape(name, scaled=load.scaled) for name in PAIRS[family]]
    types = torch.float32, getattr(torch, _half(device))
    pair = random_pair(shapes[0], shapes[1], dtypes=types, device=device)
    data = random_data(load, pair.vocab_size, load.batch)
    asked: dict[str, Any] = dict(
        prompt_ids=[row.prompt_ids for row in data.encoded],
        max_new_tokens=load.new,
        eos_token_ids=[],
        vocab_size=pair.vocab_size,
    )
    uniforms = draw_uniforms(0, load.batch, load.new)
    policy = SamplingPolicy()
    of_skd = dict(
        accept_top_k=round(0.9 * pair.vocab_size), student_policy=policy, teacher_policy=policy
    )
    found: dict[str, Any] = {"load": vars(load)}
    rolls: dict[str, Callable[[], Any]] = {
        "": lambda: student_rollout(pair.student, policy=policy, uniforms=uniforms[0], **asked),
        "skd_": lambda: interleaved_rollout(
            pair.student, pair.teacher, uniforms=uniforms, **of_skd, **asked
        ),
    }
    with decoding(way, torch.device(device)):
        for name, roll in rolls.items():
            first, rest = _timed(roll, 1 + load.updates, device)
            found[f"{name}first_seconds"] = first
            found[f"{name}kept_tokens_per_second"] = load.batch * load.new / rest
    return found


def _timed(roll: Callable[[], Any], times: int, device: str) -> tuple[float, float]:
    """Seconds of the first call, and the median of the others."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        roll()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return seconds[0], statistics.median(seconds[1:])


def collected(device: str) -> None:
    """Give back what an earlier item left."""
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()


def _half(device: str) -> str:
    """The type of two bytes that this device computes in."""
    if device == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16"


def _expected(config: RunConfig) -> float:
    """What the dry run says."""
    from skd_lab.memory import plan

    return plan(config).peak
