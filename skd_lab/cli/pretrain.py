"""skd-lab pretrain: make a family of bundled pairs again, from generated text."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from skd_lab.cli.flags import whole_number
from skd_lab.errors import UsageError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "pretrain",
        help="Make a family of bundled pairs again, from scratch.",
        description="Make a family of bundled pairs from scratch, from generated text alone: the "
        "tokenizer, one teacher of four tasks, and for each task a pair with several students. "
        "Takes about 90 minutes on one CPU thread; an interrupted run goes on from its last "
        "checkpoint when the command is given again.",
    )
    parser.add_argument(
        "family",
        nargs="?",
        default="tiny-qwen3",
        metavar="FAMILY",
        help="tiny-qwen3 (the default) or tiny-gemma3.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="Folder of the finished pairs (default runs/pretrain/FAMILY).",
    )
    parser.add_argument(
        "--held-out",
        type=whole_number,
        default=1000,
        metavar="N",
        help="Held-out prompts a task for the scores on the model cards (default 1000).",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="Replace pairs that are already in the folder."
    )
    parser.add_argument("--json", action="store_true", help="Print folder and scores as JSON.")
    parser.add_argument("--quiet", action="store_true", help="Show no progress.")


def run(args: argparse.Namespace) -> int:
    if args.held_out < 1:
        raise UsageError(f"--held-out must be at least 1, got {args.held_out}.")

    from skd_lab.files import read_json
    from skd_lab.pretrain import pretrain

    folder = pretrain(
        args.family,
        args.out,
        held_out=args.held_out,
        overwrite=args.overwrite,
        progress=not args.quiet,
        say=_silent if args.quiet else _say,
    )
    pairs = {path.parent.name: read_json(path) for path in sorted(folder.glob("*/pair.json"))}
    if args.json:
        scores = {name: about["held_out"] for name, about in pairs.items()}
        print(json.dumps({"folder": str(folder), "held_out": scores}))
        return 0
    for name, about in pairs.items():
        for model, report in about["held_out"].items():
            metric, score = next(iter(report["metrics"].items()))
            print(
                f"{name:<23} {model:<10} {metric} {score['value']:.1%} of {report['n']} held-out "
                f"prompts (95% interval {score['low']:.1%} to {score['high']:.1%})"
            )
    print(f"{'pairs':<23} {folder}  (--student and --teacher take the folders in it)")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _silent(text: str) -> None:
    pass
