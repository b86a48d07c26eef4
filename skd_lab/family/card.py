"""What is said and shown of one related system: a card as plain data, and the demo behind it.

A card says what held and what did not, the control first where it ties or wins. Its figures come
from records alone: JSON lines beside this file, one a measured arm and seed, made by the demo.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from skd_lab.errors import UsageError
from skd_lab.files import disk_errors, read_jsonl, to_json, write_text_atomic

RECORDS = Path(__file__).parent / "records"
"""Where the measured rows lie, NAME.jsonl each."""

SEEDS = (0, 1, 2, 3, 4)
"""Seeds of a demo: five, so that a difference can be told from noise."""

Row = dict[str, Any]
"""One arm under one seed: "seed", "arm", and its measured numbers."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the records say of the paper's testable statement."""

    outcome: Literal["held", "tied", "lost"]
    """Against the named control: the difference is beyond its interval, inside it, or the wrong
    way round."""
    text: str
    """One sentence with the numbers, mean +- sd over seeds."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """How a card's records are made."""

    run: Callable[[int], list[Row]]
    """Seed -> rows of all arms, control included. Deterministic: same seed, same rows."""
    judge: Callable[[Sequence[Row]], Verdict]
    """Rows of all seeds -> whether the statement held against the control."""
    figure: Callable[[Sequence[Row]], Figure]
    """Rows of all seeds -> one figure with the control in it, mean +- sd."""
    seeds: tuple[int, ...] = SEEDS
    """At least five."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One related system for a reader: what it is, what held here, what did not."""

    name: str
    """As in `skd-lab family NAME`; its records are NAME.jsonl."""
    title: str
    paper: str
    """Authors, year, arXiv id."""
    sentences: tuple[str, str]
    """What it does, and how it relates to SKD."""
    equation: str
    """LaTeX, without dollar signs."""
    statement: str
    """The testable statement."""
    control: str
    """The arm that would show the statement empty."""
    held: tuple[str, ...] = ()
    """What held here, in words; the numbers come from the verdict."""
    failed: tuple[str, ...] = ()
    """What did not."""
    choices: tuple[str, ...] = ()
    """What is reconstructed rather than read ("after <paper>"), and what we chose."""
    command: str = ""
    """How to use it: a command line, or a line of Python."""
    demo: Demo | None = None
    """None for a row that is shown by the shared comparison only."""
    elsewhere: str = ""
    """Of a card without a demo that the shared comparison does not hold either: what does."""
    group: Literal["system", "neighbour"] = "system"


CARDS: dict[str, Card] = {}
"""Cards by name, in the order they are shown."""


def register_card(card: Card) -> Card:
    """Add a card.

    Raises:
        UsageError: if the name is taken, or its demo has fewer than five seeds.
    """
    if card.name in CARDS:
        raise UsageError(f"There is already a card '{card.name}'. Choose another name.")
    if card.demo is not None and len(card.demo.seeds) < 5:
        raise UsageError(
            f"The demo of '{card.name}' has {len(card.demo.seeds)} seeds: five at least, or a "
            "difference cannot be told from noise."
        )
    CARDS[card.name] = card
    return card


def get_card(name: str) -> Card:
    """The card of that name.

    Raises:
        UsageError: for an unknown name; lists those there are.
    """
    if name not in CARDS:
        raise UsageError(f"There is no card '{name}'. Choose one of: {', '.join(CARDS)}.")
    return CARDS[name]


def rerun(
    card: Card, folder: Path = RECORDS, tell: Callable[[str], None] = lambda line: None
) -> tuple[list[Row], float]:
    """Run a card's demo again and write its records, whole or not at all.

    Args:
        folder: where NAME.jsonl goes.
        tell: called with a line after every seed.

    Returns:
        The rows, and the wall seconds they took.

    Raises:
        UsageError: if the card has no demo.
        SkdError: if the disk does not take the records.
    """
    if card.demo is None:
        raise UsageError(f"'{card.name}' has no demo of its own: it is in the shared comparison.")
    began, rows = time.perf_counter(), []
    for seed in card.demo.seeds:
        rows += card.demo.run(seed)
        tell(f"{card.name}: seed {seed} after {time.perf_counter() - began:.0f} s")
    seconds = time.perf_counter() - began
    write_rows(folder / f"{card.name}.jsonl", rows)
    return rows, seconds


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """JSON lines, whole or not at all; a number that is not finite becomes null."""
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, "".join(to_json(row) + "\n" for row in rows))


def read_rows(card: Card, folder: Path = RECORDS) -> list[Row]:
    """A card's committed rows; empty if there are none yet.

    Raises:
        DataError: for a line that is no record; names file and line.
    """
    path = folder / f"{card.name}.jsonl"
    if not path.exists():
        return []
    return read_jsonl(path)


def values(rows: Sequence[Row], arm: str, metric: str) -> list[float]:
    """One arm's numbers, in the order of the seeds; a missing one (null) is left out."""
    own = sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["seed"])
    return [float(row[metric]) for row in own if row.get(metric) is not None]


def mean_sd(numbers: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for one number).

    Raises:
        UsageError: for no numbers.
    """
    if not numbers:
        raise UsageError("There are no numbers to average. Make the records again with --rerun.")
    return statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else 0.0


def paired(
    rows: Sequence[Row], arm: str, control: str, metric: str
) -> tuple[float, float, list[float]]:
    """Mean difference arm - control over seeds, the half-width of its 95% interval, and each.

    The interval is Student's t over the seeds' paired differences.
    """
    mine = {row["seed"]: row[metric] for row in rows if row["arm"] == arm}
    theirs = {row["seed"]: row[metric] for row in rows if row["arm"] == control}
    differences = [mine[seed] - theirs[seed] for seed in sorted(mine) if seed in theirs]
    mean, sd = mean_sd(differences)
    n = len(differences)
    half = _T95.get(n - 1, 1.96) * sd / n**0.5 if n > 1 else float("inf")
    return mean, half, differences


# two-sided 95% points of Student's t, by degrees of freedom
_T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def judged(
    rows: Sequence[Row],
    arm: str,
    control: str,
    metric: str,
    *,
    at_least: float = 0.0,
    lower_is_better: bool = False,
) -> Verdict:
    """A statement "arm beats control by at_least on metric", judged over paired seeds.

    Held if the mean difference reaches at_least and its 95% interval does not hold 0; lost if the
    interval lies on the wrong side of 0; tied otherwise.
    """
    mean, half, differences = paired(rows, arm, control, metric)
    gain = -mean if lower_is_better else mean
    outcome: Literal["held", "tied", "lost"] = "tied"
    if gain >= at_least and gain - half > 0:
        outcome = "held"
    elif gain + half < 0:
        outcome = "lost"
    of = {name: mean_sd(values(rows, name, metric)) for name in (arm, control)}
    text = (
        f"{metric}: {arm} {of[arm][0]:.3f} +- {of[arm][1]:.3f}, "
        f"{control} {of[control][0]:.3f} +- {of[control][1]:.3f}; "
        f"difference {mean:+.3f} +- {half:.3f} (95%, {len(differences)} seeds)."
    )
    return Verdict(outcome=outcome, text=text)
