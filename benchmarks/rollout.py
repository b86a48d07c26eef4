"""Rollouts alone, for every kept token: `python -m benchmarks.rollout`."""

import argparse
import functools
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.machine import write_result
from benchmarks.meter import ROLLOUT, Meter, Place, peak_memory, wrapped
from benchmarks.released_shape import released_rollout, score_again
from benchmarks.sizes import SIZES, Size, make_pair, make_texts
from benchmarks.step_rows import quiet
from skd_lab.decode import Decoder
from skd_lab.records import Rollout
from skd_lab.rollout import student_rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout, speculative_rollout

Counts = dict[str, float]
Row = Callable[[Any, Size], Counts]
"""Writes completions; returns "kept" tokens, "steps" (tokens of the longest row, times batches),
and, where it is known, "proposed", "verified", "accepted"."""

PLAIN = SamplingPolicy()


def released(pair: Any, size: Size) -> Counts:
    """The released code's shape, with its second teacher forward; see released_shape.py."""
    prompts, uniforms = _one_by_one(size)
    kept = refused = 0
    for row, prompt in enumerate(prompts):
        ids, thrown = released_rollout(
            pair,
            prompt,
            accept_top_k=size.accept_top_k,
            max_new_tokens=size.new,
            uniforms=uniforms[:, row],
        )
        score_again(pair, prompt, ids)
        kept, refused = kept + len(ids), refused + thrown
    return {"kept": kept, "steps": kept, "verified": kept, "accepted": kept - refused}


def generate(role: str, pair: Any, size: Size) -> Counts:
    """transformers' own sampling by one model, all rows at once."""
    ids = torch.tensor(make_texts(size, size.batch)[0])
    out = _generate(getattr(pair, role), ids, size)
    return {"kept": out.numel() - ids.numel(), "steps": size.new}


def assisted(pair: Any, size: Size) -> Counts:
    """transformers' assisted generation: the teacher's text, batch 1, five tokens a draft."""
    prompts, _ = _one_by_one(size)
    draft = pair.student.generation_config
    draft.num_assistant_tokens, draft.num_assistant_tokens_schedule = 5, "constant"
    draft.assistant_confidence_threshold = 0.0
    kept = 0
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = _generate(pair.teacher, ids, size, assistant_model=pair.student)
        kept += out.numel() - ids.numel()
    return {"kept": kept, "steps": kept}


def on_policy(pair: Any, size: Size) -> Counts:
    """skd_lab.student_rollout."""
    prompts, uniforms = _all(size)
    return _counts(
        student_rollout(
            pair.student,
            prompts,
            max_new_tokens=size.new,
            policy=PLAIN,
            uniforms=uniforms[0],
            eos_token_ids=[],
        ),
        size.new,
    )


def interleaved(gamma: Any, batch: int | None, pair: Any, size: Size) -> Counts:
    """skd_lab.interleaved_rollout, keeping what spares the second teacher forward."""
    prompts, uniforms = _one_by_one(size) if batch == 1 else _all(size)
    return _counts(
        interleaved_rollout(
            pair.student,
            pair.teacher,
            prompts,
            accept_top_k=size.accept_top_k,
            gamma=gamma,
            max_new_tokens=size.new,
            eos_token_ids=[],
            student_policy=PLAIN,
            teacher_policy=PLAIN,
            uniforms=uniforms,
            batch_size=batch,
            keep_teacher_hidden=True,
        ),
        size.new * (len(prompts) if batch == 1 else 1),
    )


def lossless(batch: int | None, pair: Any, size: Size) -> Counts:
    """skd_lab.speculative_rollout: the teacher's text, as assisted generation writes it."""
    prompts, uniforms = _one_by_one(size) if batch == 1 else _all(size)
    return _counts(
        speculative_rollout(
            pair.student,
            pair.teacher,
            prompts,
            gamma=5,
            max_new_tokens=size.new,
            eos_token_ids=[],
            student_policy=PLAIN,
            teacher_policy=PLAIN,
            uniforms=uniforms,
            batch_size=batch,
        ),
        size.new * (len(prompts) if batch == 1 else 1),
    )


ROWS: dict[str, Row] = {
    "released shape, batch 1": released,
    "HF assisted, batch 1": assisted,
    "HF generate, student": functools.partial(generate, "student"),
    "HF generate, teacher": functools.partial(generate, "teacher"),
    "skd_lab student": on_policy,
    "skd_lab skd, gamma 5, batch 1": functools.partial(interleaved, 5, 1),
    "skd_lab lossless, batch 1": functools.partial(lossless, 1),
    "skd_lab lossless": functools.partial(lossless, None),
    **{
        f"skd_lab skd, gamma {gamma}": functools.partial(interleaved, gamma, None)
        for gamma in (1, 3, 5, 8, "adaptive")
    },
}


def measure(size: Size, rows: dict[str, Row], repeats: int, seed: int = 0) -> dict[str, Any]:
    """Every row once to warm up, then `repeats` times in a new random order, once for memory."""
    pair, meter = make_pair(size), Meter()
    meter.follow("student", pair.student)
    meter.follow("teacher", pair.teacher)
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in rows}
    peaks: dict[str, float] = {}
    order = random.Random(seed)
    model = type(pair.student)
    places: list[Place] = [
        (model, "forward", meter.of_forward),
        (type(pair.student.model), "forward", meter.of_forward),
        (Decoder, "_forward", lambda decoder, *_: meter.of_forward(decoder.model)),
    ]
    with wrapped(meter, places):
        for repeat in range(repeats + 2):
            names = list(rows)
            order.shuffle(names)
            for name in names:
                meter.reset()
                if repeat == repeats + 1:
                    with peak_memory() as peak:
                        rows[name](pair, size)
                    peaks[name] = peak[0]
                    continue
                wall, cpu = time.perf_counter(), time.process_time()
                with meter.region(ROLLOUT):
                    counts = rows[name](pair, size)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                if repeat > 0:
                    regions, calls = dict(meter.cpu), dict(meter.calls)
                    seen[name].append(
                        {"wall": wall, "cpu": cpu, "counts": counts, "cpu_split": regions}
                        | {"calls": calls}
                    )
    return {name: _summary(seen[name], peaks[name]) for name in rows}


def _summary(runs: list[dict[str, Any]], peak: float) -> dict[str, Any]:
    counts, calls = runs[0]["counts"], runs[0]["calls"]
    cpu, wall = ([run[clock] / counts["kept"] for run in runs] for clock in ("cpu", "wall"))
    split = {
        name: statistics.median(run["cpu_split"].get(name, 0.0) for run in runs) / counts["kept"]
        for name in ("student draft", "teacher verify", ROLLOUT)
    }
    rate = counts["accepted"] / counts["verified"] if counts.get("verified") else None
    return {
        "runs": len(runs),
        "seconds_per_kept_token": _spread(wall),
        "cpu_seconds_per_kept_token": _spread(cpu),
        "cpu_split_per_kept_token": split,
        "acceptance_rate": rate,
        "student_forwards_per_token": calls.get("student draft", 0) / counts["steps"],
        "teacher_forwards_per_token": calls.get("teacher verify", 0) / counts["steps"],
        "proposals_per_kept_token": counts["proposed"] / counts["kept"]
        if counts.get("proposed")
        else None,
        "peak_bytes": peak,
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _counts(rollouts: list[Rollout], steps: int) -> Counts:
    verified = sum(rollout.verified for rollout in rollouts)
    return {
        "kept": sum(len(rollout.completion_ids) for rollout in rollouts),
        "steps": steps,
        "verified": verified,
        "accepted": sum(rollout.accepted for rollout in rollouts),
        "proposed": verified + sum(rollout.discarded for rollout in rollouts),
    }


def _all(size: Size) -> tuple[list[list[int]], torch.Tensor]:
    prompts, _ = make_texts(size, size.batch)
    return prompts, draw_uniforms(0, size.batch, size.new)


def _one_by_one(size: Size) -> tuple[list[list[int]], torch.Tensor]:
    """Rows that decode one prompt at a time are given two: their cost a token is what counts."""
    prompts, uniforms = _all(size)
    return prompts[:2], uniforms[:, :2]


def _generate(model: Any, ids: torch.Tensor, size: Size, **settings: Any) -> torch.Tensor:
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        min_new_tokens=size.new,
        max_new_tokens=size.new,
        pad_token_id=0,
        eos_token_id=None,
        **settings,
    )


def table(rows: dict[str, Any]) -> str:
    """What a person reads at the end of a run."""
    lines = [
        f"{'':32} {'cpu ms/token':>12} {'ratio':>6} {'accept':>6} {'student':>8} {'teacher':>8}"
    ]
    first = next(iter(rows.values()))["cpu_seconds_per_kept_token"]["median"]
    for name, row in rows.items():
        cpu, rate = row["cpu_seconds_per_kept_token"]["median"], row["acceptance_rate"]
        lines.append(
            f"{name:32} {1e3 * cpu:12.3f} {cpu / first:6.2f} {rate or float('nan'):6.2f} "
            f"{row['student_forwards_per_token']:8.2f} {row['teacher_forwards_per_token']:8.2f}"
        )
    return "\n".join([*lines, "student, teacher: forwards for every token of a row"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--rows", nargs="+", help="names of rows; all if left out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", help="name of the file in results/")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size = SIZES[args.size]
    with quiet():
        rows = measure(size, {name: ROWS[name] for name in args.rows or ROWS}, args.repeats)
    print(table(rows))
    if args.save:
        result = {"benchmark": "rollout", "size": size.name, "rows": rows}
        print(f"Written to {write_result(args.save, result).name}.")


if __name__ == "__main__":
    main()
