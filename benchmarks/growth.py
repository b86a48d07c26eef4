"""How the cost of a kept token grows: with the batch, the length, the block size and the share of
proposals that stand. `python -m benchmarks.growth`
"""

import argparse
import random
import statistics
import time
from dataclasses import replace
from typing import Any

import torch

from benchmarks.machine import write_result
from benchmarks.meter import peak_memory
from benchmarks.rollout import PLAIN
from benchmarks.sizes import SIZES, Size, make_pair, make_texts
from skd_lab.sampling import draw_uniforms
from skd_lab.speculative import interleaved_rollout

GAMMAS: tuple[int | str, ...] = (1, 2, 3, 5, 8, 12, "adaptive")
Setting = dict[str, Any]


def settings(size: Size, largest: int) -> list[Setting]:
    """One thing changes at a time; `series` names it."""
    base = {"batch": size.batch, "new": size.new, "gamma": 5, "accept": 0.9}
    series: list[Setting] = []
    batch = 1
    while batch <= min(64, largest):
        series.append({"series": "batch", **base, "batch": batch})
        batch *= 4
    new = 64
    while new <= largest:
        series.append({"series": "length", **base, "batch": 4, "new": new})
        new *= 2
    for accept in (0.5, 0.7, 0.9, 0.97):
        series += [{"series": "gamma", **base, "gamma": g, "accept": accept} for g in GAMMAS]
    return series


def measure(size: Size, wanted: list[Setting], repeats: int) -> list[dict[str, Any]]:
    """CPU seconds a kept token in every setting, in a new random order in every repeat."""
    pair, order = make_pair(size), random.Random(0)
    seen: list[list[float]] = [[] for _ in wanted]
    peaks = [0.0] * len(wanted)
    for repeat in range(repeats + 1):
        for place in order.sample(range(len(wanted)), len(wanted)):
            setting = wanted[place]
            began = time.process_time()
            if repeat == repeats:
                with peak_memory() as peak:
                    _write(pair, size, setting)
                peaks[place] = peak[0]
                continue
            kept = _write(pair, size, setting)
            seen[place].append((time.process_time() - began) / kept)
    return [
        {
            **setting,
            "cpu_seconds_per_kept_token": {
                "median": statistics.median(seconds),
                "min": min(seconds),
                "max": max(seconds),
            },
            "peak_bytes": peak,
        }
        for setting, seconds, peak in zip(wanted, seen, peaks, strict=True)
    ]


def _write(pair: Any, size: Size, setting: Setting) -> int:
    rows, new = setting["batch"], setting["new"]
    rollouts = interleaved_rollout(
        pair.student,
        pair.teacher,
        make_texts(replace(size, new=new), rows)[0],
        accept_top_k=max(1, round(setting["accept"] * size.vocabulary)),
        gamma=setting["gamma"],
        max_new_tokens=new,
        eos_token_ids=[],
        student_policy=PLAIN,
        teacher_policy=PLAIN,
        uniforms=draw_uniforms(0, rows, new),
        keep_teacher_hidden=True,
    )
    return sum(len(rollout.completion_ids) for rollout in rollouts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--largest", type=int, default=1024, help="longest completion, tokens")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", help="name of the file in results/")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size = SIZES[args.size]
    rows = measure(size, settings(size, args.largest), args.repeats)
    for row in rows:
        cost = 1e3 * row["cpu_seconds_per_kept_token"]["median"]
        print(
            f"{row['series']:7} batch {row['batch']:3} new {row['new']:5} gamma {row['gamma']!s:9}"
            f"accept {row['accept']:.2f} {cost:8.3f} ms/token {row['peak_bytes'] / 2**20:6.0f} MB"
        )
    if args.save:
        result = {"benchmark": "growth", "size": size.name, "rows": rows}
        print(f"Written to {write_result(args.save, result).name}.")


if __name__ == "__main__":
    main()
