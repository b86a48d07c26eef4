"""The pairs that come with the package: which there are, and where their models lie.

A family has one teacher for all its pairs; a pair has a student for each start of STARTS. Nothing
here loads a model, so it costs a page of the app or a command line nothing to ask.
"""

import json
from pathlib import Path
from typing import Any

from skd_lab.errors import UsageError

BUNDLED = Path(__file__).parent / "bundled"
"""Where the package keeps its own pairs."""
_FIRST = "tiny-qwen3"


def bundled_pairs() -> list[str]:
    """Names of the pairs that come with the package, the default one first."""
    found = (path.parent.name for path in BUNDLED.glob("*/pair.json"))
    return sorted(found, key=lambda name: (not name.startswith(_FIRST), name))


def bundled_starts(pair: str) -> list[str]:
    """Students that a bundled pair has: fine-tuned little, on 100 or 1,000 prompts, or otherwise.

    Raises:
        UsageError: if there is no such pair.
    """
    return list(_about(pair)["starts"])


def bundled_folders(pair: str, start: str | None = None) -> tuple[Path, Path]:
    """Student and teacher of a bundled pair.

    Args:
        pair: one of bundled_pairs().
        start: one of bundled_starts(pair); None for the pair's own student, which is one of them.

    Raises:
        UsageError: if there is no such pair or start.
    """
    about = _about(pair)
    if start is not None and start not in about["starts"]:
        raise UsageError(
            f"There is no start {start!r} of pair {pair!r}. Choose one of: "
            f"{', '.join(about['starts'])}."
        )
    student = about["student"] if start is None else about["starts"][start]
    return (BUNDLED / pair / student).resolve(), (BUNDLED / pair / about["teacher"]).resolve()


def _about(pair: str) -> dict[str, Any]:
    if pair not in bundled_pairs():
        raise UsageError(
            f"There is no bundled pair '{pair}'. Choose one of: {', '.join(bundled_pairs())}; "
            "or give a student and a teacher by folder or Hub id."
        )
    found: dict[str, Any] = json.loads((BUNDLED / pair / "pair.json").read_text(encoding="utf-8"))
    return found
