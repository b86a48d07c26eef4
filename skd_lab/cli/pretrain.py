"""skd-lab pretrain: make a bundled pair again, from random weights and generated text."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from skd_lab.cli.flags import whole_number
from skd_lab.errors import UsageError
from skd_lab.presets import PRESETS


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "pretrain",
        help="Make a bundled pair again, from scratch.",
        description="Make a bundled pair from scratch: tokenizer, teacher and student, from "
        "generated text alone (the other pairs take tiny-qwen3's tokenizer). Takes minutes on one "
        "CPU thread; an interrupted run goes on from its last checkpoint when the command is given "
        "again.",
    )
    parser.add_argument(
        "pair",
        nargs="?",
        default="tiny-qwen3",
        metavar="NAME",
        help=f"Pair, one of {', '.join(PRESETS)} (default tiny-qwen3).",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="Folder of the finished pair (default runs/pretrain/NAME).",
    )
    parser.add_argument(
        "--held-out",
        type=whole_number,
        default=1000,
        metavar="N",
        help="Test prompts for the scores on the model cards (default 1000).",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="Replace a pair that is already in the folder."
    )
    parser.add_argument("--json", action="store_true", help="Print folder and scores as JSON.")
    parser.add_argument("--quiet", action="store_true", help="Show no progress.")


def run(args: argparse.Namespace) -> int:
    if args.held_out < 1:
        raise UsageError(f"--held-out must be at least 1, got {args.held_out}.")

    from skd_lab.files import read_json
    from skd_lab.pretrain import pretrain

    folder = pretrain(
        args.pair,
        args.out,
        held_out=args.held_out,
        overwrite=args.overwrite,
        progress=not args.quiet,
        say=_silent if args.quiet else _say,
    )
    made = read_json(folder / "pair.json")
    if args.json:
        print(json.dumps({"folder": str(folder), "held_out": made["held_out"]}))
        return 0
    for role in ("student", "teacher"):
        report = made["held_out"][role]
        name, score = next(iter(report["metrics"].items()))
        print(
            f"{role}  {name} {score['value']:.1%} of {report['n']} held-out prompts "
            f"(95% interval {score['low']:.1%} to {score['high']:.1%})"
        )
    print(f"pair     {folder}  (use it with --student {folder}/student --teacher {folder}/teacher)")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _silent(text: str) -> None:
    pass
