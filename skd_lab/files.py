"""Files that survive a kill or a full disk: written whole or not at all, read with line numbers.

Readers name the file and the line of anything damaged. A last line that was cut off (a killed
run, a full disk) is left out and said in `notes`; everything before it is read.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skd_lab.errors import DataError, SkdError
from skd_lab.records import to_json


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one sentence."""
    try:
        yield
    except OSError as error:
        raise SkdError(
            f"Cannot write {path}: {error.strerror or error}. What was written before is kept. "
            "Free some space or choose another folder with --run-dir."
        ) from error


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all: readers see the old file or the new one.

    Raises:
        SkdError: the disk is full or read-only; an older file at `path` is left as it was.
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes 0600; a run folder is read by others like any other file
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json_atomic(path: str | Path, value: Any) -> None:
    """`write_text_atomic` of indented JSON."""
    write_text_atomic(path, to_json(value, indent=2) + "\n")


def append_jsonl(path: str | Path, record: dict[str, Any]) -> None:
    """Append one JSON line; a line cut off by an earlier kill is removed first.

    Raises:
        SkdError: the disk is full or read-only.
    """
    path = Path(path)
    line = (to_json(record) + "\n").encode()
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_cut_line(path)
        with path.open("ab") as file:
            file.write(line)


def _drop_cut_line(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def read_jsonl(
    path: str | Path, tolerate_truncated_tail: bool = True, notes: list[str] | None = None
) -> list[dict[str, Any]]:
    """Records of a JSON-lines file.

    Args:
        path: the file.
        tolerate_truncated_tail: leave out a damaged last line that has no line end (a killed
            run writes such a line) instead of refusing the file.
        notes: what was left out is said here.

    Raises:
        DataError: no such file, or a damaged line; the message names file and line.
    """
    path = Path(path)
    text = read_text(path)
    records = []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"expected an object, got {type(record).__name__}")
        except ValueError as error:
            if tolerate_truncated_tail and number == len(lines):
                if notes is not None:
                    notes.append(f"{path.name}: line {number} was cut off and is left out.")
                break
            raise DataError(
                f"{path}, line {number}: not a JSON object ({error}). "
                "Repair or remove that line; the lines before it are good."
            ) from error
        records.append(record)
    return records


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON file that holds one object; DataError names the file and the place."""
    path = Path(path)
    try:
        value = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(
            f"{path}: not JSON ({error}). Restore the file or start the run again."
        ) from error
    if not isinstance(value, dict):
        raise DataError(
            f"{path}: expected a JSON object, got {type(value).__name__}. "
            "Restore the file or start the run again."
        )
    return value


def read_text(path: Path) -> str:
    """A UTF-8 file; a last line that breaks inside a character, as a kill leaves it, ends there.

    Raises:
        DataError: if it cannot be read, or is not UTF-8; names the line.
    """
    try:
        return path.read_bytes().decode("utf-8", errors="strict")
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror or error}. Check the path."
        ) from error
    except UnicodeDecodeError as error:
        cut = path.read_bytes()
        if b"\n" not in cut[error.start :]:
            # a kill can cut inside a character: the rest of that last line is lost anyway
            return cut[: error.start].decode("utf-8")
        line = cut[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8 text. Save the file as UTF-8 or restore it."
        ) from error


def replace_folder(temporary: str | Path, target: str | Path) -> None:
    """Move a finished temporary folder to `target`, replacing an older folder there.

    The old folder is renamed away first and deleted last, so a kill between the two leaves
    either folder complete under one of the names.
    """
    temporary, target = Path(temporary), Path(target)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
        shutil.rmtree(old, ignore_errors=True)
