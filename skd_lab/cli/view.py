"""skd-lab view: a run, a folder of runs or recorded completions as one page that needs no other."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from skd_lab.errors import UsageError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "view",
        help="Write a run's report, a list of runs, or a recorded completion as an HTML page.",
        description="Make one self-contained HTML page: of a run folder its report (scores, "
        "watched prompts over time, curves, settings), of a folder of runs a list of them and "
        "every run's report, of an NDJSON file of traces their token strips.",
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="Run folders (several make one report), a folder of runs, or an NDJSON file of "
        "traces (a page that holds strips will do, too).",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="Page to write (default report.html in the run folder, index.html in a folder of "
        "runs, or beside the file).",
    )
    parser.add_argument("--title", metavar="TEXT", help="Title of the page.")
    parser.add_argument(
        "--text", action="store_true", help="Print the strips in the terminal; write no page."
    )
    parser.add_argument("--json", action="store_true", help="Print what was shown as JSON.")


def run(args: argparse.Namespace) -> int:
    from skd_lab.runs import Run, good_traces, list_runs
    from skd_lab.views import render_report, render_strip

    first, several = args.paths[0], len(args.paths) > 1
    files = [path for path in args.paths if not path.is_dir()]
    if files and several:
        raise UsageError(f"{files[0]} is no run folder. Give one NDJSON file, or run folders only.")
    notes: list[str] = []
    if files:
        runs, traces = [], good_traces(first, notes)
        # an exported page is read, too; it is not what is written over
        page_already = first.suffix.lower() == ".html"
        default = first.with_name(f"{first.stem}{'-strip' if page_already else ''}.html")
    elif not several and not args.text and not _is_run(first) and list_runs(first):
        return _view_folder(first, args)
    else:
        runs = [Run(path, strict=False) for path in args.paths]
        traces = [trace for run in runs for trace in run.traces]
        default = first / "report.html"
    if not traces and (files or args.text):
        raise UsageError(f"{first} holds no trace. Record one with skd-lab rollout -o FILE.")
    page = None
    if args.text:
        _print_strips(traces)
    else:
        output = _output(args.output, default)
        made = render_report(runs, title=args.title) if runs else render_strip(traces, args.title)
        page = made.save(output)
    _warn([*notes, *(note for run in runs for note in run.notes)])
    if args.json:
        counts = {"traces": len(traces)} | {
            name: sum(getattr(trace, name) for trace in traces)
            for name in ("accepted", "replaced", "discarded")
        }
        print(json.dumps({"page": None if page is None else str(page), **counts}))
    elif page is not None:
        print(f"Wrote {page}  (open it in a browser; it needs no other file)")
    return 0


def _view_folder(root: Path, args: argparse.Namespace) -> int:
    """The list of runs, and the report of each run that has none as young as its records."""
    from skd_lab.runs import Run, list_runs
    from skd_lab.views import render_index, render_report, run_summaries
    from skd_lab.views.index import REPORT, notes_of

    output = _output(args.output, root / "index.html")
    summaries = run_summaries(root)
    page = render_index(root, title=args.title, at=output).save(output)
    written = 0
    for found, summary in zip(list_runs(root), summaries, strict=True):
        if not _is_current(found.path / REPORT):
            opened = Run(found.path, strict=False)
            render_report(opened).save(found.path / REPORT)
            summary["notes"] = notes_of(opened)
            written += 1
        _warn(summary["notes"])
    if args.json:
        from skd_lab.records import to_json

        print(to_json({"page": str(page), "runs": summaries}))
    else:
        rest = len(summaries) - written
        said = f" ({rest} had one as young as its records)" if rest else ""
        runs = "1 run" if written == 1 else f"{written} runs"
        print(f"Wrote {page} and {REPORT} of {runs}{said}. Open the first in a browser.")
    return 0


def _is_current(page: Path) -> bool:
    """Whether a run's report is as young as everything in its folder."""
    if not page.exists():
        return False
    made = page.stat().st_mtime
    return all(path.stat().st_mtime <= made for path in page.parent.iterdir() if path.is_file())


def _is_run(folder: Path) -> bool:
    from skd_lab.runs import Run

    try:
        return bool(Run(folder))
    except UsageError:
        return False


def _output(asked: Path | None, default: Path) -> Path:
    if asked is not None and asked.is_dir():
        raise UsageError(f"{asked} is a folder. Give -o a file, such as {asked / 'page.html'}.")
    return asked or default


def _warn(notes: list[str]) -> None:
    for note in notes:
        print(f"skd-lab: {note}", file=sys.stderr)


def _print_strips(traces: list[Any]) -> None:
    from skd_lab.views.terminal import print_strip

    for trace in traces:
        facts = trace.header
        print(
            f"{facts.get('method', '')} step {facts.get('step', 0)}, prompt {facts.get('row', 0)}"
        )
        print_strip(trace)
        print()
