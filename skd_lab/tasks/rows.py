"""Rows of a JSON-lines file or of the Hub with their numbers, and which of them are held out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skd_lab.errors import DataError
from skd_lab.files import read_jsonl

HELD_OUT = 0.1
"""Share of a single file that becomes test, and again as much that becomes validation."""


def read_rows(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of every line that is not blank.

    Raises:
        DataError: the file cannot be read, a line is not a JSON object, or there are no lines.
    """
    # records come back without line numbers, so the numbers are counted here the same way
    records = read_jsonl(path, tolerate_truncated_tail=False)
    if not records:
        raise DataError(f"{path} is empty. Give a file with one JSON object a line.")
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
    return list(zip(numbers, records, strict=True))


def hub_rows(
    name: str, config: str | None, split: str, fields: str
) -> list[tuple[int, dict[str, Any]]]:
    """(number from 1, row) of a split of a data set of the Hugging Face Hub.

    Args:
        name: of the data set.
        config: its configuration; None for its only one.
        split: as the Hub calls it.
        fields: what a line of a file in its place holds, for the message.

    Raises:
        DataError: it cannot be had.
    """
    try:
        import datasets  # an optional way in: files need neither it nor a network

        rows = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # datasets, hub and network errors share no base class
        raise DataError(
            f"cannot load {name} from the Hugging Face Hub ({type(error).__name__}: {error}). "
            f"Check the connection, or give --data-path with a file of lines with {fields}."
        ) from error
    return [(number, dict(row)) for number, row in enumerate(rows, start=1)]


def held_out_split(keys: Sequence[str]) -> dict[str, list[int]]:
    """Which rows of a single file are train, validation and test; they share no key.

    The distinct keys are sorted by their SHA-256: the first 10% are test, the next 10% validation.
    So the split does not depend on the order of the lines, and rows with one key stay together.

    Args:
        keys: what makes a problem, row by row (its prompt).

    Returns:
        Row indices by split, in the order of the file. Fewer than 10 distinct keys are too few to
        hold any out: all rows are train.
    """
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    size = int(len(ranked) * HELD_OUT)
    split_of = {key: "test" for key in ranked[:size]}
    split_of |= {key: "validation" for key in ranked[size : 2 * size]}
    rows: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for index, key in enumerate(keys):
        rows[split_of.get(key, "train")].append(index)
    return rows


def shuffled(count: int, n: int | None, seed: int) -> list[int]:
    """The first n of a permutation of range(count); all of it if n is None or larger."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(count)
    return [int(index) for index in order[:n]]
