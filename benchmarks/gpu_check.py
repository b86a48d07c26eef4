"""One command on a machine with a GPU: is everything right there, and what does it cost?

    python -m benchmarks.gpu_check                       # all of it, 80 GB
    python -m benchmarks.gpu_check --size small          # 16 to 24 GB
    python -m benchmarks.gpu_check --budget 540          # stops in time; the same command goes on
    python -m benchmarks.gpu_check --device cpu --size tiny   # the same logic in seconds

Stages: `exact` (each architecture beside a CPU, in three precisions), `update` (updates of three
methods at the shapes of Qwen3 and Gemma 3, random weights), `decode` (rollouts: plain, compiled, as
CUDA graphs), `bundled` (a pair like the bundled ones, larger, from nothing, then distilled).
Every finished item is written to FOLDER/gpu_check.json at once and is not done again.
"""

import argparse
import functools
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_bundled, gpu_cost, gpu_exact
from benchmarks.gpu_models import FAMILIES, LOADS, PAIRS
from benchmarks.machine import describe_machine

STAGES = ("exact", "update", "decode", "bundled")
Item = Callable[[float], dict[str, Any]]
"""Does one thing; is told the seconds that are left."""


def items(stages: list[str], device: str, size: str, folder: Path) -> dict[str, Item]:
    """Everything there is to do, by name, in order."""
    load, found = LOADS[size], {}

    def add(name: str, function: Callable[..., dict[str, Any]], *settings: Any) -> None:
        found[name] = lambda seconds: function(*settings)

    if "exact" in stages:
        for family in FAMILIES:
            add(f"exact {family}", gpu_exact.exactness, family, device)
    if "update" in stages:
        for family in PAIRS:
            for method in gpu_cost.METHODS:
                add(f"update {family} {method}", gpu_cost.update_cost, family, method, device, load)
    if "decode" in stages:
        for family in PAIRS:
            for way in ("plain",) if device == "cpu" else ("plain", "compiled", "recorded"):
                name = f"decode {family} {way}"
                add(name, gpu_cost.decoding_cost, family, way, device, load)
    if "bundled" in stages:
        pair = folder / f"pair-{size}"
        for role in ("teacher", "student"):
            found[f"bundled {role}"] = functools.partial(
                gpu_bundled.teach, role, device, load, pair
            )
        add("bundled before", gpu_bundled.score, "student/student", device, load, pair)
        for method in gpu_cost.METHODS:
            found[f"bundled {method}"] = functools.partial(
                gpu_bundled.distil, method, device, load, pair
            )
    return found


def check(
    todo: dict[str, Item], path: Path, budget: float, about: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Do what is not in the file yet, and write it after every item.

    Args:
        todo: by name.
        path: of the JSON; made if it is not there.
        budget: seconds; no item begins after them.
        about: what must be the same for the file to be gone on with.

    Returns:
        Everything in the file, and the names that are left.
    """
    began, result = time.monotonic(), _so_far(path, about)
    for name, item in todo.items():
        seconds = budget - (time.monotonic() - began)
        if name in result["items"] or seconds <= 0:
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            found = item(seconds)
        except gpu_bundled.Unfinished as unfinished:
            print(f"  stopped: {unfinished}", file=sys.stderr)
            break
        except Exception as error:  # one that fails must not take the others with it
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        found["item_seconds"] = time.monotonic() - started
        result["items"][name] = found
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result, [name for name in todo if name not in result["items"]]


def table(result: dict[str, Any]) -> str:
    """A line an item; every failed check below its item."""
    machine = result["machine"]
    lines = [f"{machine['device']}, torch {machine['torch']}, {machine['date']}, {result['size']}"]
    for name, found in result["items"].items():
        lines.append(f"{name:28} {_line(found)}")
        lines += [
            f"    {one['check']}: {one['value']:.3g}, at most {one['limit']:g}"
            for one in found.get("checks", [])
            if not one["passed"]
        ]
    return "\n".join(lines)


def failed(result: dict[str, Any]) -> list[str]:
    """Items with an error, or with a check that did not pass."""
    return [
        name for name, one in result["items"].items() if "error" in one or not one.get("passed", 1)
    ]


def _line(found: dict[str, Any]) -> str:
    if "error" in found:
        return f"ERROR {found['error']}"
    if "checks" in found:
        passed = sum(one["passed"] for one in found["checks"])
        return f"{passed} of {len(found['checks'])} checks"
    words = []
    if "kept_tokens_per_second" in found:
        words.append(f"{found['kept_tokens_per_second']:8.0f} tok/s")
    if "peak_bytes" in found:
        words.append(f"{found['peak_bytes'] / 2**30:6.2f} GiB")
        if found["expected_bytes"]:
            words.append(f"(dry run {found['expected_bytes'] / 2**30:.2f})")
        seconds = found["seconds"]
        words.append(f"{seconds['all']:.2f} s:")
        words += [f"{k} {v / seconds['all']:.0%}" for k, v in seconds.items() if k != "all" and v]
    if "first_seconds" in found:
        words.append(f"first {found['first_seconds']:.1f} s; skd")
        words.append(f"{found['skd_kept_tokens_per_second']:.0f} tok/s")
    if "loss" in found:
        words.append(f"loss {found['loss']:.3f}")
    for metric, score in found.get("score", {}).items():
        words.append(f"{metric} {score['value']:.1f} [{score['low']:.1f}, {score['high']:.1f}]")
    return " ".join(words)


def _so_far(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    new: dict[str, Any] = {"machine": describe_machine(), **about, "items": {}}
    if not path.exists():
        return new
    old = json.loads(path.read_text(encoding="utf-8"))
    same = all(old.get(key) == value for key, value in about.items())
    same &= all(old["machine"].get(k) == new["machine"].get(k) for k in ("device", "torch"))
    if not same:
        raise SystemExit(
            f"{path} is of another size or machine ({old.get('size')}, "
            f"{old['machine'].get('device')}). Give another --out."
        )
    return old


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda (the default) or cpu")
    parser.add_argument("--size", choices=LOADS, default="full")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--only", metavar="TEXT", help="items whose name holds this")
    parser.add_argument("--budget", type=float, default=float("inf"), metavar="SECONDS")
    parser.add_argument("--again", action="store_true", help="do items that failed once more")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu_check"), metavar="FOLDER")
    args = parser.parse_args(arguments)
    if args.device != "cpu" and not torch.cuda.is_available():
        print("There is no CUDA device here. Use --device cpu --size tiny to try the logic.")
        return 2
    torch.backends.cuda.matmul.allow_tf32 = False  # the checks are about float32
    path = args.out / "gpu_check.json"
    todo = items(args.stages, args.device, args.size, args.out)
    todo = {name: item for name, item in todo.items() if not args.only or args.only in name}
    if args.again and path.exists():
        _forget_failed(path)
    result, left = check(todo, path, args.budget, {"size": args.size, "on": args.device})
    print(table(result))
    if left:
        print(f"Left: {', '.join(left)}. The same command goes on.")
    if bad := failed(result):
        print(f"FAILED: {', '.join(bad)}")
    return 1 if bad else 0


def _forget_failed(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    for name in failed(result):
        del result["items"][name]
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
