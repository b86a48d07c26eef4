"""environment.json of a run: which software on which machine did it, session by session.

A run that is stopped and resumed has one session for every start. No figure depends on this file:
it is there for the reader who gets other numbers.
"""

import logging
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from skd_lab.errors import DataError
from skd_lab.files import read_json, write_json_atomic

_LOG = logging.getLogger(__name__)

NAME = "environment.json"
"""The file's name in the run folder."""

_PACKAGES = {name: name for name in ("torch", "transformers", "accelerate")} | {
    "skd_lab": "skd-lab"
}


def describe_session(from_step: int, device: torch.device) -> dict[str, Any]:
    """This process as a session of a run: versions, device, threads, command line.

    Args:
        from_step: updates done before it.
        device: that the student is on.

    Returns:
        What one entry of `sessions` holds. A version or a commit that is not known is None.
    """
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "from_step": from_step,
        "python": ".".join(map(str, sys.version_info[:3])),
        **{key: _version(package) for key, package in _PACKAGES.items()},
        "commit": _commit(),
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "command": _command(),
    }


def add_session(run_dir: Path, session: dict[str, Any], resumed: bool) -> None:
    """Write the session into environment.json, behind the earlier ones if the run was resumed.

    Raises:
        SkdError: the disk is full or read-only.
    """
    earlier = read_sessions(run_dir) if resumed else []
    write_json_atomic(run_dir / NAME, {"sessions": [*earlier, session]})


def read_sessions(run_dir: Path) -> list[dict[str, Any]]:
    """Sessions of a run, first one first; none where the file is missing, or damaged (said)."""
    if not (run_dir / NAME).exists():
        return []
    try:
        sessions = read_json(run_dir / NAME).get("sessions")
    except DataError as error:
        _LOG.warning("%s Earlier sessions of this run are not known.", error)
        return []
    return [one for one in sessions if isinstance(one, dict)] if isinstance(sessions, list) else []


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of skd_lab's own source, with -dirty behind it if files were changed since."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # an installed copy may lie inside a folder that belongs to another project
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*")
    except (OSError, subprocess.SubprocessError):
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


def _command() -> list[str]:
    """The words of the command line; of a notebook's kernel they say nothing."""
    if "ipykernel" in sys.modules:
        return ["notebook"]
    start = Path(sys.argv[0])
    name = (
        "skd-lab" if (start.name, start.parent.name) == ("__main__.py", "skd_lab") else start.name
    )
    return [name, *sys.argv[1:]]
