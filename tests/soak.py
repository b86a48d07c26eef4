"""Longer than the suite has time for: `make soak`. Many kills, and one long run killed twice.

Every line says what was compared; the last one is reached only if everything was equal.
"""

import argparse
import random
import signal
import tempfile
import time
from pathlib import Path

import kill_points

COMMON = (
    "--pair tiny-qwen3 --batch-size 2 --n-prompts 50 --max-new-tokens 16 --trace-prompts 1 "
    "--eval-prompts 2 --device cpu --quiet"
)
SHORT = f"{COMMON} --steps 12 --save-every 2 --trace-every 2 --eval-every 3"
LONG = f"{COMMON} --save-every 50 --trace-every 100 --eval-every 200"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="Kills of short runs.")
    parser.add_argument("--steps", type=int, default=1000, help="Updates of the long run.")
    parser.add_argument("--seed", type=int, default=0, help="Draws the moments.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        short_runs(Path(folder), args.kills, args.seed)
        long_run(Path(folder), args.steps, args.seed)
    print("soak: everything equal")


def short_runs(folder: Path, kills: int, seed: int) -> None:
    """Runs of twelve updates, each killed up to five times before it may end."""
    whole = finished(folder / "whole" / "run", SHORT)
    for number in range(0, kills, 5):
        run_dir = folder / f"short-{number}" / "run"
        points = kill_points.draw_points(seed + number + 1, min(5, max(2, kills - number)))
        for point, seconds in points:
            code = kill_points.run(run_dir, words(run_dir, SHORT), point, seconds)
            at = f"{point} + {seconds:.3f} s"
            print(f"short run {number // 5 + 1}: {at}: {'killed' if code else 'had ended'}")
        assert finished(run_dir, SHORT) == whole, f"run {number // 5 + 1} is not the same"
        print(f"short run {number // 5 + 1}: records, traces and weights equal", flush=True)


def long_run(folder: Path, steps: int, seed: int) -> None:
    """One long run, killed in its second and third thirds at a write drawn there."""
    began = time.monotonic()
    settings = f"{LONG} --steps {steps}"
    whole = finished(folder / "long-whole" / "run", settings)
    print(f"long run: {steps} updates in {time.monotonic() - began:.0f} s", flush=True)
    run_dir, began = folder / "long" / "run", time.monotonic()
    draw = random.Random(seed)
    for _ in "12":
        point = f"open:{draw.randint(steps // 3, steps // 2)}"
        code = kill_points.run(run_dir, words(run_dir, settings), point, draw.random() / 10)
        assert code == -signal.SIGKILL, f"{point} never came"
        steps_done = len((run_dir / "steps.jsonl").read_bytes().splitlines())
        print(f"long run: killed at {point}, after {steps_done} updates", flush=True)
    assert finished(run_dir, settings) == whole, "the killed long run is not the same"
    print(f"long run: killed twice, equal, {time.monotonic() - began:.0f} s")


def words(run_dir: Path, settings: str) -> list[str]:
    return ["train", "--run-dir", str(run_dir), *settings.split()]


def finished(run_dir: Path, settings: str) -> dict[str, object]:
    """The records of a run that is let go on to its end."""
    assert kill_points.run(run_dir, words(run_dir, settings)) == 0
    return kill_points.records(run_dir)


if __name__ == "__main__":
    main()
