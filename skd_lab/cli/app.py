"""skd-lab app: the recorded runs in a browser."""

import argparse
from pathlib import Path
from typing import Any

from skd_lab.cli.flags import whole_number
from skd_lab.errors import SkdError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "app",
        help="Open the recorded runs in a browser.",
        description="Serve a page on this machine alone: token strips before and after training, "
        "scores and curves of recorded runs. It loads no model. Stop it with Ctrl-C.",
    )
    parser.add_argument(
        "--runs-dir",
        type=Path,
        default=Path("runs"),
        metavar="FOLDER",
        help="Folder of run folders (default runs).",
    )
    parser.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="FOLDER",
        help="Open this run first (default demo, else a recording that came with the package).",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="Listen here (default 127.0.0.1)."
    )
    parser.add_argument(
        "--port", type=whole_number, metavar="N", help="Port (a free one from 7860 on)."
    )


def run(args: argparse.Namespace) -> int:
    from skd_lab.app import build_app, launch

    app = build_app(args.runs_dir, args.run_folder)
    try:
        launch(app, host=args.host, port=args.port)
    except OSError as error:
        raise SkdError(
            f"Cannot listen on {args.host}, port {args.port or 'any from 7860 on'}: {error}. "
            "Choose another --port."
        ) from error
    return 0
