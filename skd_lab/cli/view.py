"""skd-lab view: a run's report, or recorded completions, as one page that needs nothing else."""

import argparse
import json
from pathlib import Path
from typing import Any

from skd_lab.errors import UsageError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "view",
        help="Write a run's report, or a recorded completion, as an HTML page.",
        description="Make one self-contained HTML page: of a run folder its report (scores, token "
        "strips before and after, curves), of an NDJSON file of traces their token strips.",
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="Run folders (several make one report), or one NDJSON file of traces.",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="Page to write (default report.html in the run folder, or beside the file).",
    )
    parser.add_argument("--title", metavar="TEXT", help="Title of the page.")
    parser.add_argument(
        "--text", action="store_true", help="Print the strips in the terminal; write no page."
    )
    parser.add_argument("--json", action="store_true", help="Print what was shown as JSON.")


def run(args: argparse.Namespace) -> int:
    from skd_lab.records import read_traces
    from skd_lab.runs import Run
    from skd_lab.views import render_report, render_strip

    first = args.paths[0]
    files = [path for path in args.paths if not path.is_dir()]
    if files and len(args.paths) > 1:
        raise UsageError(f"{files[0]} is no run folder. Give one NDJSON file, or run folders only.")
    if files:
        runs, traces = [], read_traces(first)
        default = first.with_suffix(".html")
    else:
        runs = [Run(path) for path in args.paths]
        traces = [trace for run in runs for trace in run.traces]
        default = first / "report.html"
    if not traces and (files or args.text):
        raise UsageError(f"{first} holds no trace. Record one with skd-lab rollout -o FILE.")
    page = None
    if args.text:
        _print_strips(traces)
    else:
        made = render_report(runs, title=args.title) if runs else render_strip(traces, args.title)
        page = made.save(args.output or default)
    if args.json:
        counts = {"traces": len(traces)} | {
            name: sum(getattr(trace, name) for trace in traces)
            for name in ("accepted", "replaced", "discarded")
        }
        print(json.dumps({"page": None if page is None else str(page), **counts}))
    elif page is not None:
        print(f"Wrote {page}  (open it in a browser; it needs no other file)")
    return 0


def _print_strips(traces: list[Any]) -> None:
    from skd_lab.views.terminal import print_strip

    for trace in traces:
        facts = trace.header
        print(
            f"{facts.get('method', '')} step {facts.get('step', 0)}, prompt {facts.get('row', 0)}"
        )
        print_strip(trace)
        print()
