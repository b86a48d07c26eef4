"""skd-lab demo: three ways to distil the bundled student, side by side, in a few minutes."""

import argparse
import json
import math
import textwrap
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="Distil the bundled student three ways and show the difference.",
        description="Distil the bundled student by supervised_kd, on_policy_kd and skd at equal "
        "updates, evaluate all of them on held-out prompts, and write runs/demo/report.html.",
    )
    parser.add_argument("--pair", default="tiny-qwen3", help="Bundled pair of models.")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/demo"), help="Where to write.")
    parser.add_argument("--steps", type=int, default=200, help="Updates of each method.")
    parser.add_argument("--prompts", type=int, default=300, help="Held-out prompts.")
    parser.add_argument("--seed", type=int, default=0, help="Keys all randomness.")
    parser.add_argument("--json", action="store_true", help="Print the table as JSON.")
    parser.add_argument("--quiet", action="store_true", help="Show no progress bars.")


def run(args: argparse.Namespace) -> int:
    import torch

    from skd_lab.demo import run_demo
    from skd_lab.files import read_json
    from skd_lab.views import render_report

    # two threads are slower than one on models of this size when the machine is shared
    torch.set_num_threads(1)
    silent = args.json or args.quiet
    rows = run_demo(
        args.run_dir,
        pair_name=args.pair,
        steps=args.steps,
        prompts=args.prompts,
        seed=args.seed,
        progress=not silent,
        say=(lambda text: None) if silent else (lambda text: print(text, flush=True)),
    )
    report = args.run_dir / "report.html"
    render_report(args.run_dir).save(report)
    table = [row.to_dict() for row in rows]
    setting = read_json(args.run_dir / "table.json")["setting"]
    if args.json:
        finite = [{k: _null_if_nan(v) for k, v in row.items()} for row in table]
        print(json.dumps({"setting": setting, "rows": finite, "report": str(report)}))
        return 0
    _print_table(table)
    print(textwrap.fill(setting, 88))
    print(f"\nStudent  {args.run_dir / 'student'}  (a plain Hugging Face folder)")
    print(f"Report   {report}  (open it in a browser: token strips before and after, curves)")
    return 0


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    first = rows[0]
    title = f"{first['n']} held-out prompts, greedy; 95% intervals over prompts"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for header in (
        f"{first['metric'].replace('_', '-')}",
        "KL on\nreferences",
        "KL own\nsamples",
        "replaced\nstart \u2192 end",
        "CPU\nsecs",
    ):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['value']:.1%} [{100 * row['low']:.0f}\u2013{100 * row['high']:.0f}]",
            _number(row["kl_references"], ".3f"),
            _number(row["kl_samples"], ".3f"),
            _change(row),
            _number(row["cpu_seconds"], ".0f"),
        )
    Console().print(table)
    print("KL(teacher || student), nats per token; own samples at temperature 1, same uniforms.")
    print("replaced: share of tokens the teacher refuses on these prompts, K as in training.")


def _change(row: dict[str, Any]) -> str:
    start, end = row["replacement_rate_at_start"], row["replacement_rate"]
    if math.isnan(end):
        return ""
    if row["cpu_seconds"] is None:
        return f"{start:.1%}"
    return f"{start:.1%} \u2192 {end:.1%}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None or math.isnan(value) else format(value, form)


def _null_if_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
