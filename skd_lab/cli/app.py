"""skd-lab app: recorded runs, and the models at work, in a browser."""

import argparse
import ipaddress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from skd_lab.cli.flags import whole_number
from skd_lab.errors import SkdError, UsageError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "app",
        help="Open recorded runs, and the models at work, in a browser.",
        description="Serve a page on this machine alone: recorded texts and runs, texts written by "
        "the models while you watch, step by step or side by side, and more. It opens on a "
        "recording; a model is loaded only when a tab asks for it. Stop it with Ctrl-C.",
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
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="Listen here (default 127.0.0.1). If others can reach it, visitors cannot name models "
        "of their own.",
    )
    parser.add_argument(
        "--port", type=whole_number, metavar="N", help="Port (a free one from 7860 on)."
    )
    parser.add_argument(
        "--mcp",
        action="store_true",
        help="Offer the endpoints as tools to language models, too (Model Context Protocol).",
    )


def run(args: argparse.Namespace) -> int:
    if args.mcp:
        _require_mcp()
    from skd_lab.app import build_app, launch

    # a visitor from elsewhere must not make this machine read its folders or fetch from the Hub
    app = build_app(args.runs_dir, args.run_folder, own_models=_is_here(args.host))
    try:
        # quiet: gradio would offer a public link, which this app does not make
        url = launch(
            app,
            host=args.host,
            port=args.port,
            quiet=True,
            prevent_thread_lock=True,
            mcp_server=args.mcp,
        )[1]
    except OSError as error:
        raise SkdError(
            f"Cannot listen on {args.host}, port {args.port or 'any from 7860 on'}: {error}. "
            "Choose another --port."
        ) from error
    print(f"Open {url} in a browser. Ctrl-C stops the app.", flush=True)
    if args.mcp:
        print(f"Tools for language models: {url}gradio_api/mcp/", flush=True)
    app.block_thread()
    return 0


def _require_mcp() -> None:
    """Refuse --mcp without the package; with its version 2 gradio would serve nothing, silently."""
    try:
        found = version("mcp")
    except PackageNotFoundError:
        found = "not installed"
    if not found.startswith("1."):
        raise UsageError(
            f"--mcp needs version 1 of the package mcp, which is {found}. Run "
            "`pip install 'skd-lab[mcp]'`, or leave --mcp out."
        )


def _is_here(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
