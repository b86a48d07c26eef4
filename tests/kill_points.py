"""A `skd-lab` process that kills itself (kill -9) at a chosen point of its own file work.

    python kill_points.py FOLDER POINT SECONDS train --run-dir FOLDER ...

POINT is "none", "open:N" (the Nth file opened for writing below FOLDER), "rename:N" (the Nth
rename there), or "checkpoint:N" (the Nth time that a finished checkpoint gets its name). The kill
comes SECONDS after that moment; with 0 it comes before the operation is done. Python's audit hooks
tell the moment, so nothing of the library is replaced. Used by test_resume.py and soak.py.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

# of a step record or a report, what a clock or a neighbour on the machine decides
TIMES = ("seconds", "tokens_per_second", "cpu_seconds")


def start(run_dir: Path, point: str, seconds: float, words: list[str]) -> subprocess.Popen:
    """A child that runs `skd-lab words` and is killed at the point."""
    command = [sys.executable, __file__, str(run_dir), point, str(seconds), *words]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=threads, text=True, **pipes)


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
