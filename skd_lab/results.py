"""results.jsonl of a comparison: a row a cell, checked when it is read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skd_lab.errors import DataError
from skd_lab.files import read_jsonl, write_text_atomic
from skd_lab.records import to_json


def check_row(row: Mapping[str, Any]) -> None:
    """Raise ValueError for what is no row of a table."""
    wanted = ["cell", "status", "task", "method"]
    if row.get("status") == "done":
        wanted += ["metric", "metrics", "n", "scores", "seconds"]
    if missing := [name for name in wanted if name not in row]:
        raise ValueError(f"no field {', '.join(missing)}")
    if row["status"] == "done" and len(row["scores"]) != row["n"]:
        raise ValueError(f"{len(row['scores'])} scores of {row['n']} prompts")


def write_results(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """results.jsonl, whole."""
    text = "".join(to_json(dict(row)) + "\n" for row in rows)
    write_text_atomic(folder / "results.jsonl", text)


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a results.jsonl, or of the one in a grid's folder.

    Raises:
        DataError: it cannot be read; names file and line.
    """
    path = Path(path)
    path = path / "results.jsonl" if path.is_dir() else path
    rows = read_jsonl(path, tolerate_truncated_tail=False)
    for number, row in enumerate(rows, start=1):
        try:
            check_row(row)
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: no row of a comparison ({error}). Run skd-lab compare "
                "again with the same folder: it writes the file anew from the cells."
            ) from error
    return rows
