"""skd-lab compare: a grid of runs made into one table with intervals and figures."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from skd_lab.cli.flags import whole_number
from skd_lab.cli.rows import register_rows
from skd_lab.errors import UsageError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "compare",
        help="Run a grid of methods, tasks, starts and seeds, and compare.",
        description="Run a grid of runs cell by cell and write one table: scores with 95% "
        "intervals over seeds and prompts, paired differences against skd, distances to the "
        "teacher, cost; and figures. A call that is stopped goes on when it is given again.",
    )
    parser.add_argument(
        "--preset",
        choices=("quick", "paper", "regimes"),
        help="A grid that is ready: quick (minutes), paper, that of the committed results, or "
        "regimes, a search for settings in which skd should be ahead.",
    )
    parser.add_argument(
        "--regime",
        action="append",
        default=[],
        metavar="NAME",
        help="Part of --preset regimes; may be given several times (default all).",
    )
    parser.add_argument(
        "--tier",
        type=whole_number,
        action="append",
        metavar="N",
        help="Tier of --preset paper; may be given several times (default all).",
    )
    parser.add_argument(
        "--axis",
        action="append",
        default=[],
        metavar="NAME=V1,V2",
        help="Values of an axis, in place of the preset's: family, task, method, prompts (a number "
        "or full), start (own, barely, sft100, sft1k, multitask, or PROMPTSxUPDATES), teacher "
        "(PROMPTSxUPDATES), seed, accept_top_k, replacement, objective, beta, "
        "on_policy_fraction, learning_rate, loss_temperature, steps, budget (cpu: as many updates "
        "as fit in skd's CPU seconds). `none` stands for an axis that is not set.",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="A setting of every run, such as steps=500, student=FOLDER or data_path=FILE.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/compare"),
        metavar="FOLDER",
        help="The grid's folder (default runs/compare).",
    )
    parser.add_argument(
        "--test-prompts",
        type=whole_number,
        metavar="N",
        help="Held-out prompts of every evaluation (default 300, or the preset's).",
    )
    parser.add_argument(
        "--split", metavar="NAME", help="Split they come from (default test; validation to tune)."
    )
    parser.add_argument(
        "--tune",
        type=_rates,
        metavar="R1,R2",
        help="Choose every method's learning rate on each task from these, on validation prompts, "
        "with a seed that the table has not; `none` takes the pair's own (default: that, but for "
        "--preset paper, which has a list).",
    )
    parser.add_argument(
        "--workers",
        type=whole_number,
        default=1,
        metavar="N",
        help="Runs at once, each in a process of its own with one thread (default 1).",
    )
    parser.add_argument(
        "--plan", action="store_true", help="Say which cells there are, and run nothing."
    )
    parser.add_argument(
        "--report-only",
        action="store_true",
        help="Run nothing; write table and figures anew from results.jsonl.",
    )
    parser.add_argument("--json", action="store_true", help="Print the table as JSON.")
    parser.add_argument("--quiet", action="store_true", help="Show no progress.")


def run(args: argparse.Namespace) -> int:
    from skd_lab.results import read_results

    if args.report_only:
        rows = read_results(args.out)
    else:
        register_rows()
        grid = grid_from(args)
        if args.plan:
            print("\n".join(cell.name for cell in grid.cells()))
            return 0

        import torch

        from skd_lab.compare import run_grid

        # two threads are slower than one on models of this size when the machine is shared
        torch.set_num_threads(1)
        silent = args.json or args.quiet
        say = (lambda text: None) if silent else _say
        how = {"workers": args.workers, "progress": not silent, "say": say}
        rows = run_grid(grid, args.out, **how, prepare=register_rows)

    from skd_lab.records import to_json
    from skd_lab.views import grid_table, save_grid, to_markdown

    files = save_grid(rows, args.out)
    table = grid_table(rows)
    failed = [row for row in rows if row["status"] == "failed"]
    if args.json:
        print(to_json({"rows": table, "files": [str(path) for path in files]}))
    else:
        print(to_markdown(table))
        print(f"{len(rows) - len(failed)} cells done, {len(failed)} failed.")
        for row in failed:
            print(f"  {row['cell']}: {row['error']}")
        print(f"Table and figures: {', '.join(path.name for path in files)} in {args.out}")
    return 1 if failed else 0


def grid_from(args: argparse.Namespace) -> Any:
    """The grid that the words of a command ask for."""
    from skd_lab.grids import Grid
    from skd_lab.regimes import regime_grid
    from skd_lab.studies import QUICK, paper_grid

    axes = {}
    for word in args.axis:
        name, text = _parts(word, "--axis")
        values = [None if v == "none" else _value(v) for v in text.split(",") if v]
        axes[name] = values
    changes: dict[str, Any] = {
        name: _value(v) for name, v in (_parts(w, "--set") for w in args.settings)
    }
    if args.tier and args.preset != "paper":
        raise UsageError("--tier belongs to --preset paper. Give that too, or leave --tier out.")
    if args.regime and args.preset != "regimes":
        raise UsageError("--regime belongs to --preset regimes. Give that too, or leave it out.")
    if args.preset == "paper":
        base = paper_grid(args.tier) if args.tier else paper_grid()
    elif args.preset == "regimes":
        base = regime_grid(args.regime)
    else:
        base = QUICK if args.preset == "quick" else Grid()
    return Grid(
        name=base.name,
        blocks=[{**block, **axes} for block in base.blocks],
        fixed={**base.fixed, **changes},
        test_prompts=args.test_prompts or base.test_prompts,
        split=args.split or base.split,
        rates=base.rates if args.tune is None else args.tune,
    )


def _parts(word: str, flag: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise UsageError(f"{flag} takes NAME=VALUE, got {word!r}.")
    return name, value


def _rates(text: str) -> tuple[float, ...]:
    try:
        return () if text == "none" else tuple(float(word) for word in text.split(",") if word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"takes numbers with commas, got {text!r}") from None


def _value(text: str) -> Any:
    """A number, true or false where it is one; else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
