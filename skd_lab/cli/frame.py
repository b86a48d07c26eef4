"""The frame of every command: arguments in, an exit code out, errors as one paragraph.

Each command is a module with `add_parser(subparsers)` and `run(args) -> int`. What takes long to
import (torch, transformers, gradio) is imported inside `run`, so that --help answers at once.
"""

import argparse
import importlib
import logging
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from skd_lab.errors import SkdError, UsageError

COMMANDS = (
    "demo",
    "rollout",
    "train",
    "evaluate",
    "compare",
    "family",
    "view",
    "app",
    "pretrain",
)
"""Names of the commands, each a module of skd_lab.cli; the order of the help text."""

INTERRUPTED = 130  # what a shell reports for Ctrl-C: 128 + SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 asked for what cannot be.

    Args:
        argv: the words after `skd-lab`; those of the process if None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        code = _run(words)
        sys.stdout.flush()  # here, where a closed pipe is no surprise, not at the very end
        return code
    except KeyboardInterrupt as stop:
        print(f"\n{str(stop) or 'Interrupted; what was written is kept.'}", file=sys.stderr)
        return getattr(stop, "exit_code", INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        print(_paragraph(error), file=sys.stderr)
        return error.exit_code if isinstance(error, SkdError) else 1


def _run(words: Sequence[str]) -> int:
    try:
        args = build_parser().parse_args(words)
    except SystemExit as leaving:  # argparse after --help and --version
        return int(leaving.code or 0)
    _show_reports()
    return args.run(args)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="skd-lab",
        description="Learn, see and run Speculative Knowledge Distillation: the student proposes "
        "each token, the teacher keeps or replaces it (arXiv 2410.11325).",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for name in COMMANDS:
        module = importlib.import_module(f"skd_lab.cli.{name}")
        module.add_parser(commands)
        commands.choices[name].set_defaults(run=module.run)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one paragraph, and allows no shortened flags."""

    def __init__(self, **settings: Any) -> None:
        # an abbreviation would change its meaning when a flag is added
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        message = message[:1].upper() + message[1:]
        raise UsageError(f"{message}. See {self.prog} --help.")


def _paragraph(error: Exception) -> str:
    """An error for a person: what is wrong, what was got, what to do."""
    if isinstance(error, SkdError):
        text = str(error)
    elif isinstance(error, OSError):
        text = (
            f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}. "
            "What was written before is kept; free some space or choose another place."
        )
    elif "out of memory" in str(error):
        text = (
            "The device has no memory left. Use a smaller --microbatch-size, --max-new-tokens or "
            "--batch-size, or a smaller model."
        )
    else:
        text = (
            f"Something unexpected went wrong ({type(error).__name__}: {error}). Run the command "
            "again with --debug to see where, and please report it."
        )
    who = f"skd-lab, process {_process()}" if _process() else "skd-lab"
    return textwrap.fill(f"{who}: {' '.join(text.split())}", 100, break_on_hyphens=False)


def _process() -> int:
    """Number of this process among those of a run, as torchrun gives it; the first one reports."""
    return int(os.environ.get("RANK", 0))


def _show_reports() -> None:
    """What rooms have to say while they work goes to stderr; stdout is for results."""
    log = logging.getLogger("skd_lab")
    if not log.handlers:
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.WARNING if _process() else logging.INFO)
        log.propagate = False


class _StderrHandler(logging.StreamHandler):
    """Looks stderr up at every message, as print does: tests and notebooks replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:  # type: ignore[override]
        return sys.stderr


def _version() -> str:
    from skd_lab import __version__

    return f"skd-lab {__version__}"
