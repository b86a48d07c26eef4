"""When a card's records were made, by which versions, and how long that took."""

import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from skd_lab.family.card import RECORDS, Card, Row, rerun, write_rows
from skd_lab.files import read_jsonl

NAME = "made.jsonl"
"""Beside the records: a line a card, with "card", "date", "seconds" (of the clock), "cpu_seconds"
(of the processor; null if not known) and the versions."""

PACKAGES = {"skd_lab": "skd-lab", "torch": "torch", "matplotlib": "matplotlib"}


def versions() -> dict[str, str]:
    """Versions of what makes records and figures; "unknown" for a package that is not installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name, package in PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def read_made(folder: Path = RECORDS) -> dict[str, Row]:
    """Card's name -> when and how its records were made; empty if nothing is known.

    Raises:
        DataError: for a line that is no record; names file and line.
    """
    path = folder / NAME
    return {str(row.get("card")): row for row in read_jsonl(path)} if path.exists() else {}


def remake(
    card: Card, folder: Path = RECORDS, tell: Callable[[str], None] = lambda line: None
) -> Row:
    """Run a card's demo again, write its records, and note how long it took.

    Returns:
        What made.jsonl says of the card now.

    Raises:
        UsageError: if the card has no demo.
        SkdError: if the disk does not take the records.
    """
    began = time.process_time()
    _, seconds = rerun(card, folder, tell)
    made: Row = {
        "card": card.name,
        "date": today(),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time() - began, 1),
        **versions(),
    }
    write_rows(folder / NAME, (read_made(folder) | {card.name: made}).values())
    return made


def expected_seconds(cards: Sequence[Card], folder: Path = RECORDS) -> tuple[float, list[str]]:
    """How long the cards' demos took the last time, and the names of those nobody has timed.

    Seconds of the processor where they are known: a demo runs in one thread, and those of the
    clock depend on what else the machine did.
    """
    made, total, untimed = read_made(folder), 0.0, []
    for card in cards:
        known = made.get(card.name, {})
        seconds = known.get("cpu_seconds") or known.get("seconds")
        total += seconds or 0.0
        if not seconds:
            untimed.append(card.name)
    return total, untimed


def today() -> str:
    """The date, in universal time, as 2026-11-21."""
    return datetime.now(timezone.utc).date().isoformat()
