"""skd-lab train: distil a student with any method and write its run folder."""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

from skd_lab.cli.flags import add_config_flags, config_from, number, read_config
from skd_lab.cli.rows import register_rows
from skd_lab.config import RunConfig
from skd_lab.real_recipes import load_recipe, recipe_names


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "train",
        help="Distil a student and write a run folder.",
        description="Distil a student: prompts, completions by the chosen method, loss, update. "
        "Writes --run-dir: records, checkpoints, and the student as a Hugging Face folder.",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--recipe",
        metavar="NAME",
        help="Start from a recipe for published models and a card of known size; flags win: "
        f"{', '.join(recipe_names())}.",
    )
    start.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="Start from a run's config.json, or from a YAML file; flags win.",
    )
    parser.add_argument("--json", action="store_true", help="Print the summary as JSON.")
    parser.add_argument("--quiet", action="store_true", help="Show no progress bar.")
    parser.add_argument(
        "--dry-run",
        nargs="?",
        type=number,
        const=0.0,
        metavar="GIB",
        help="Say what the run needs of each device's memory and the largest batch that fits, "
        "without loading weights; against so many GiB, or what is free if no number is given. "
        "Exits with 1 if it does not fit.",
    )
    add_config_flags(parser)


def run(args: argparse.Namespace) -> int:
    base = read_config(args.config) if args.config else None
    if args.recipe:
        base = load_recipe(args.recipe).config
    saved = Path(args.run_dir or "") / "config.json"
    if args.resume and args.run_dir and base is None and saved.is_file():
        # going on needs no flag but --run-dir; one that differs is refused by train
        from skd_lab.prepare import read_saved_config

        base = read_saved_config(saved)
    config = config_from(args, base)
    register_rows()

    if args.dry_run is not None:
        processes = load_recipe(args.recipe).processes if args.recipe else 1
        return _dry_run(args, config, processes)

    from skd_lab.processes import is_first, leave
    from skd_lab.train import train

    result = train(config, progress=not args.quiet)
    first = is_first()
    leave()
    if not first:
        return 0
    last = result.steps[-1] if result.steps else None
    data = result.data
    summary = {
        "run_dir": str(result.run_dir),
        "student": str(result.run_dir / "student"),
        "method": config.method,
        "steps": last.step if last else 0,
        "prompts": {
            "total": data.total,
            "kept": data.kept,
            "cut": data.cut,
            "dropped": data.dropped,
        },
        "last": {k: v if math.isfinite(v) else None for k, v in last.metrics.items()}
        if last
        else {},
    }
    print(json.dumps(summary) if args.json else _as_text(summary))
    return 0


def _dry_run(args: argparse.Namespace, config: RunConfig, processes: int) -> int:
    from skd_lab.memory import plan

    found = plan(
        config,
        free=args.dry_run * 2**30 or None,
        processes=int(os.environ.get("WORLD_SIZE", processes)),
    )
    print(json.dumps(found.to_dict()) if args.json else found.as_text())
    return 1 if found.fits is False else 0


def _as_text(summary: dict[str, Any]) -> str:
    prompts, last = summary["prompts"], summary["last"]
    lines = [
        f"prompts   {prompts['kept']} kept ({prompts['cut']} of them cut), "
        f"{prompts['dropped']} dropped, {prompts['total']} in all",
        f"updates   {summary['steps']} of {summary['method']}",
    ]
    if last.get("loss") is not None:
        lines.append(f"loss      {last['loss']:.4f} nats per token in the last update")
    if last.get("replacement_rate") is not None:
        lines.append(f"replaced  {last['replacement_rate']:.1%} of its tokens by the teacher")
    lines.append(f"student   {summary['student']}")
    return "\n".join(lines)
