"""A `skd-lab` process that kills itself (kill -9) at a chosen point of its own file work.

    python kill_points.py FOLDER POINT SECONDS train --run-dir FOLDER ...

POINT is "none", "open:N" (the Nth file opened for writing below FOLDER), "rename:N" (the Nth
rename there), or "checkpoint:N" (the Nth time that a finished checkpoint gets its name). The kill
comes SECONDS after that moment; with 0 it comes before the operation is done. Python's audit hooks
tell the moment, so nothing of the library is replaced. Used by test_resume.py and soak.py.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

# of a step record or a report, what a clock or a neighbour on the machine decides
TIMES = ("seconds", "tokens_per_second", "cpu_seconds")


def draw_points(seed: int, kills: int) -> list[tuple[str, float]]:
    """Points and seconds: a finished checkpoint without its name, then any write or soon after."""
    draw = random.Random(seed)
    named = [("checkpoint:1", 0.0), ("checkpoint:2", draw.random() / 100)]
    anywhere = [
        (f"open:{draw.randint(2, 14)}", draw.choice([0.0, draw.random() / 10]))
        for _ in range(kills - len(named))
    ]
    return named + anywhere


def run(run_dir: Path, words: list[str], point: str = "none", seconds: float = 0.0) -> int:
    """Run `skd-lab words` in a child, with --resume if there is a run, until its end or the point.

    Returns:
        The child's exit code: minus 9 if it was killed.
    """
    more = ["--resume"] if (run_dir / "config.json").exists() else []
    command = [sys.executable, __file__, str(run_dir), point, str(seconds), *words, *more]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=threads, capture_output=True, text=True)
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(f"at {point}: exit code {done.returncode}\n{done.stderr}")
    return done.returncode


def records(run_dir: Path) -> dict[str, object]:
    """What a run wrote, without its times; weights and traces byte for byte."""
    lines = {
        name: [
            {key: value for key, value in json.loads(line).items() if not key.startswith(TIMES)}
            for line in (run_dir / name).read_text(encoding="utf-8").splitlines()
        ]
        for name in ("steps.jsonl", "eval.jsonl")
    }
    student = sorted(path for path in (run_dir / "student").iterdir() if path.name != "README.md")
    whole = [run_dir / "traces.ndjson", *student]
    return lines | {path.relative_to(run_dir).as_posix(): path.read_bytes() for path in whole}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _kill_at(folder: str, point: str, seconds: float) -> None:
    kind, _, number = point.partition(":")
    left = int(number)

    def hook(event: str, args: tuple) -> None:
        nonlocal left
        if not _is(kind, event, args, folder):
            return
        left -= 1
        if left == 0:
            if seconds == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()

    sys.addaudithook(hook)


def _is(kind: str, event: str, args: tuple, folder: str) -> bool:
    if event == "open" and kind == "open":
        path, _, flags = args
        return str(path).startswith(folder) and bool(flags & (os.O_WRONLY | os.O_RDWR))
    if event == "os.rename" and kind in ("rename", "checkpoint"):
        target = Path(os.fsdecode(args[1]))
        named = target.parent.name == "checkpoints" and target.name.startswith("step-")
        return str(target).startswith(folder) and (kind == "rename" or named)
    return False


if __name__ == "__main__":
    folder, point, seconds, *words = sys.argv[1:]
    if point != "none":
        _kill_at(folder, point, float(seconds))
    from skd_lab.cli import main

    sys.exit(main(words))
