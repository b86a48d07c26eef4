"""Optimizer steps of every trainer on the same pair and prompts: `python -m benchmarks.step`."""

import argparse
import contextlib
import random
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.machine import write_result
from benchmarks.meter import REGIONS, Meter, peak_memory
from benchmarks.sizes import SIZES, Size
from benchmarks.step_rows import WITHOUT_TRL, Row, quiet, step_rows


class Observation:
    """The steps of one row: the first of every run is warm-up and not kept."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.steps: list[dict[str, Any]] = []
        self.peaks: list[float] = []
        self.with_memory = False
        self.seen = 0

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around one optimizer step."""
        self.meter.reset()
        with contextlib.ExitStack() as stack:
            peak = stack.enter_context(peak_memory()) if self.with_memory else None
            wall, cpu = time.perf_counter(), time.process_time()
            with self.meter.region("rest"):
                yield
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.seen += 1
        if self.seen == 1:
            return
        if peak is not None:
            self.peaks.append(peak[0])
            return
        self.steps.append(
            {
                "wall": wall,
                "cpu": cpu,
                "regions": dict(self.meter.wall),
                "regions_cpu": dict(self.meter.cpu),
                "calls": dict(self.meter.calls),
            }
        )


def measure(
    size: Size, rows: dict[str, Row], repeats: int, steps: int, seed: int = 0, memory: bool = True
) -> dict[str, Any]:
    """Every row `repeats` times in a new random order, `steps` timed steps each time.

    Then once more for the memory of a step, as reading it takes time.
    """
    meter = Meter()
    seen = {name: Observation(meter) for name in rows}
    order = random.Random(seed)
    for repeat in range(repeats + memory):
        names = list(rows)
        order.shuffle(names)
        for name in names:
            observation = seen[name]
            observation.seen, observation.with_memory = 0, repeat == repeats
            timed = 1 if observation.with_memory else steps
            rows[name](size, 1 + timed, meter, observation.step)
    return {name: summary(size, seen[name]) for name in rows}


def summary(size: Size, seen: Observation) -> dict[str, Any]:
    """Medians with their range, the split of a step, forwards for every kept token."""
    kept = size.batch * size.new
    wall, cpu = ([step[clock] for step in seen.steps] for clock in ("wall", "cpu"))
    median = statistics.median(wall)
    calls = seen.steps[0]["calls"]
    return {
        "steps_timed": len(wall),
        "seconds": _spread(wall),
        "cpu_seconds": _spread(cpu),
        "kept_tokens_per_second": kept / median,
        "split": _split(seen.steps, "regions"),
        "cpu_split": _split(seen.steps, "regions_cpu"),
        "student_forwards_per_token": calls.get("student draft", 0) / size.new,
        "teacher_forwards_per_token": calls.get("teacher verify", 0) / size.new,
        "peak_bytes": max(seen.peaks, default=float("nan")),
    }


def _split(steps: list[dict[str, Any]], clock: str) -> dict[str, float]:
    return {
        name: statistics.median(step[clock].get(name, 0.0) for step in steps) for name in REGIONS
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def table(rows: dict[str, Any]) -> str:
    """What a person reads at the end; CPU seconds, as other processes disturb them less."""
    first = next(iter(rows.values()))["cpu_seconds"]["median"]
    lines = [f"{'':30} {'cpu s':>8} {'ratio':>6} {'wall s':>8} {'tok/s':>7} {'MB':>7}  split"]
    for name, row in rows.items():
        cpu = row["cpu_seconds"]["median"]
        split = " ".join(f"{row['cpu_split'][region] / cpu:.0%}" for region in REGIONS)
        lines.append(
            f"{name:30} {cpu:8.3f} {cpu / first:6.2f} {row['seconds']['median']:8.3f} "
            f"{row['kept_tokens_per_second']:7.0f} {row['peak_bytes'] / 2**20:7.0f}  {split}"
        )
    return "\n".join(lines + ["split: " + ", ".join(REGIONS)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--rows", nargs="+", help="names of rows; all if left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="timed steps in every repeat")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="our decoding by torch.compile")
    parser.add_argument("--no-memory", action="store_true", help="spare the last round")
    parser.add_argument("--save", help="name of the file in results/")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size = SIZES[args.size]
    with quiet():
        rows = step_rows(args.rows, "compiled" if args.compile else "plain")
        if not any(name.startswith("TRL") for name in rows):
            print(WITHOUT_TRL)
        memory = not args.no_memory
        measured = measure(size, rows, args.repeats, args.steps, memory=memory)
    print(table(measured))
    if args.save:
        result = {"benchmark": "step", "size": size.name, "rows": measured}
        print(f"Written to {write_result(args.save, result).name}.")


if __name__ == "__main__":
    main()
