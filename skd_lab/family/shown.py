"""A card together with what its records say, as text for a terminal and as plain data."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skd_lab.errors import DataError, UsageError
from skd_lab.family.card import RECORDS, Card, Row, Verdict, mean_sd, read_rows, values
from skd_lab.family.made import read_made

OUTCOMES = {
    "held": "Held against its control.",
    "tied": "The control ties.",
    "lost": "The control wins.",
}
"""Outcome of a verdict -> what is said first."""

NO_DEMO = (
    "No demonstration of its own. It stands beside SKD in one comparison on a bundled task, with "
    "skd-lab compare: results/README.md, neighbours."
)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A card, its rows, and what they say."""

    card: Card
    rows: Sequence[Row]
    verdict: Verdict | None
    """None for a card without records."""
    made: Row
    """What made.jsonl says of the card; empty if nothing."""

    @property
    def first_words(self) -> str:
        """How the control did, or why that is not known."""
        if self.verdict is not None:
            return OUTCOMES[self.verdict.outcome]
        if self.card.demo is None:
            return self.card.elsewhere or NO_DEMO
        return f"No records yet. Make them: skd-lab family --rerun {self.card.name}."

    def table(self) -> tuple[list[str], dict[str, list[tuple[float, float] | None]]]:
        """Names of what was measured, and an arm's mean and sd of each (None: not measured)."""
        metrics = [
            key
            for key in dict.fromkeys(key for row in self.rows for key in row)
            if key not in ("seed", "arm")
        ]
        arms = dict.fromkeys(str(row["arm"]) for row in self.rows)
        found = {}
        for arm in arms:
            numbers = [values(self.rows, arm, metric) for metric in metrics]
            found[arm] = [mean_sd(each) if each else None for each in numbers]
        return metrics, found


def show(cards: Iterable[Card], folder: Path = RECORDS) -> list[Shown]:
    """Cards with what the records in a folder say of them.

    Raises:
        DataError: for records that are damaged or are not those of the card's demo.
    """
    made = read_made(folder)
    shown = []
    for card in cards:
        rows = read_rows(card, folder)
        verdict = _judged(card, rows, folder) if rows and card.demo is not None else None
        shown.append(Shown(card=card, rows=rows, verdict=verdict, made=made.get(card.name, {})))
    return shown


def _judged(card: Card, rows: Sequence[Row], folder: Path) -> Verdict:
    assert card.demo is not None
    try:
        return card.demo.judge(rows)
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise DataError(
            f"{folder / card.name}.jsonl does not hold what the demo of '{card.name}' measures "
            f"({str(error).rstrip('.')}). Make it again: skd-lab family --rerun {card.name}."
        ) from error


def made_words(made: Row) -> str:
    """When and by what records were made, as one line; "" if nothing is known."""
    if not made:
        return ""
    parts = [f"{name} {made[name]}" for name in ("skd_lab", "python", "torch") if made.get(name)]
    said = f"Records of {made.get('date', 'an unknown date')}"
    said += f", {', '.join(parts)}" if parts else ""
    if made.get("cpu_seconds"):
        said += f"; they took {made['cpu_seconds']:.0f} s of one core"
    elif made.get("seconds"):
        said += f"; they took {made['seconds']:.0f} s on a machine that did other work, too"
    return f"{said}."


def as_text(shown: Shown, width: int = 88) -> str:
    """The card for a terminal, the control first."""
    card = shown.card
    blocks = [f"{card.title}\n{card.paper}"]
    says = shown.first_words + (f" {shown.verdict.text}" if shown.verdict else "")
    ahead = shown.verdict is not None and shown.verdict.outcome != "held"
    blocks += [_fill(says, width)] if ahead else []
    blocks += [_fill(" ".join(card.sentences), width), f"    {card.equation}"]
    blocks.append(
        _fill(f"Claim: {card.statement}", width) + "\n" + _fill(f"Control: {card.control}.", width)
    )
    blocks += [] if ahead else [_fill(says, width)]
    lists = [("What held", card.held), ("What did not", card.failed)]
    for head, lines in reversed(lists) if ahead else lists:
        blocks += [_list(head, lines, width)] if lines else []
    blocks.append(_list("Reconstructed or chosen here", card.choices, width))
    blocks.append(f"Run it:\n    {card.command}")
    blocks += [_fill(made_words(shown.made), width)] if shown.made and shown.rows else []
    return "\n\n".join(blocks)


def as_data(shown: Shown) -> dict[str, Any]:
    """The card as plain data for JSON."""
    card, verdict = shown.card, shown.verdict
    names = ("name", "title", "paper", "sentences", "equation", "statement", "control")
    more = ("held", "failed", "choices", "command", "group")
    metrics, arms = shown.table()
    return {
        **{name: getattr(card, name) for name in (*names, *more)},
        "outcome": None if verdict is None else verdict.outcome,
        "verdict": None if verdict is None else verdict.text,
        "arms": {
            arm: {
                metric: {"mean": pair[0], "sd": pair[1]}
                for metric, pair in zip(metrics, pairs, strict=True)
                if pair is not None
            }
            for arm, pairs in arms.items()
        },
        "made": shown.made or None,
    }


def _fill(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_on_hyphens=False, break_long_words=False)


def _list(head: str, lines: Sequence[str], width: int) -> str:
    own = [
        textwrap.fill(
            line,
            width,
            initial_indent="  - ",
            subsequent_indent="    ",
            break_on_hyphens=False,
            break_long_words=False,
        )
        for line in lines
    ]
    return "\n".join([f"{head}:", *own])
