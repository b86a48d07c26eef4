"""The paper's testable statements, each with what a comparison's rows say of it.

A statement is judged by comparisons of runs that differ in one thing and share the rest: task,
start, prompts, seeds. A comparison has a 95% interval: of scores over seeds and prompts (crossed
bootstrap), of what a run has one number of over seeds (Student's t). The rules, set down before
the runs:

- a comparison with fewer than MIN_RUNS seeds is not looked at;
- it speaks for a statement if its interval lies wholly on the claimed side of 0, against it if
  wholly on the other side, else it is open;
- not run: no comparison; does not hold here: one or more speak against; holds: none speaks
  against and at least half speak for it; cannot be told at this size: the rest.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skd_lab.metrics import crossed_bootstrap
from skd_lab.views.grid_table import groups, title, variant

MIN_RUNS = 3
FOR, OPEN, AGAINST = "for", "open", "against"
HOLDS, REFUTED, UNCLEAR, NOT_RUN = (
    "holds",
    "does not hold here",
    "cannot be told at this size",
    "not run",
)
VOCABULARY = 1024
"""Ids of the bundled pairs: K from here on refuses nothing."""
_T = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t, 97.5%, by degrees of freedom."""
Runs = Mapping[Any, Mapping[str, Any]]
"""Finished rows by seed."""


@dataclass(frozen=True)
class Group:
    """Runs that are compared with one another."""

    where: Mapping[str, Any]
    runs: Mapping[str, Runs]
    """By variant ("skd", "skd K=5", "start")."""
    folder: str = ""

    @property
    def title(self) -> str:
        """What its runs share, for people: task, prompts, start."""
        return title(self.where)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One comparison. `value` and its interval are positive where the statement is right."""

    where: str
    what: str
    value: float
    low: float
    high: float
    runs: int
    unit: str = "points"
    """"points" of a score in per cent, or a unit that `value` is written in."""
    folder: str = ""

    @property
    def speaks(self) -> str:
        """For the statement, against it, or neither."""
        return FOR if self.low > 0 else AGAINST if self.high < 0 else OPEN


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A claim of the paper that can be tested."""

    number: int
    claim: str
    measured: str
    figure: str
    """Name of the picture in a results folder."""
    find: Callable[[Sequence[Group]], Iterator[Finding]]
    note: str = ""
    """What to know when its verdict is read."""


def verdict(findings: Sequence[Finding]) -> str:
    """By the rules above."""
    said = [finding.speaks for finding in findings]
    if not said:
        return NOT_RUN
    if AGAINST in said:
        return REFUTED
    return HOLDS if 2 * said.count(FOR) >= len(said) else UNCLEAR


def grouped(rows: Sequence[Mapping[str, Any]], folder: str = "") -> list[Group]:
    """The groups of one results.jsonl, finished runs only."""
    found = []
    for where, members in groups(rows):
        runs: dict[str, dict[Any, Mapping[str, Any]]] = {}
        for row in members:
            if row["status"] == "done":
                runs.setdefault(variant(row), {})[row.get("seed")] = row
        found.append(Group(where, runs, folder))
    return found


def of_scores(group: Group, better: str, worse: str, what: str = "") -> Iterator[Finding]:
    """Headline score of one variant minus that of another."""
    both = shared(group, better, worse)
    if both:
        matrix = [np.subtract(a["scores"], b["scores"]) for a, b in both]
        yield from_matrix(group, what or f"{better} minus {worse}", matrix)


def of_numbers(
    group: Group,
    larger: str,
    smaller: str,
    read: Callable[[Mapping[str, Any]], float | None],
    unit: str,
    what: str = "",
) -> Iterator[Finding]:
    """What a run has one number of: one variant's minus another's, seed by seed."""
    pairs = [(read(a), read(b)) for a, b in shared(group, larger, smaller)]
    found = [a - b for a, b in pairs if a is not None and b is not None]
    yield from over_seeds(group, what or f"{larger} minus {smaller}", found, unit)


def over_seeds(group: Group, what: str, values: Sequence[float], unit: str) -> Iterator[Finding]:
    """Mean of a number a run, with Student's interval."""
    if len(values) >= MIN_RUNS:
        mean = float(np.mean(values))
        t = _T[min(len(values) - 1, max(_T))]
        half = t * float(np.std(values, ddof=1)) / math.sqrt(len(values))
        yield Finding(
            where=group.title,
            what=what,
            value=mean,
            low=mean - half,
            high=mean + half,
            runs=len(values),
            unit=unit,
            folder=group.folder,
        )


def from_matrix(group: Group, what: str, matrix: Sequence[Any]) -> Finding:
    """A comparison of scores, with its interval over runs and prompts, both drawn anew.

    Args:
        matrix: differences, [runs, prompts], positive where the statement is right.
    """
    mean, low, high, _ = crossed_bootstrap(np.array(matrix), seed=0)
    return Finding(
        where=group.title,
        what=what,
        value=mean,
        low=low,
        high=high,
        runs=len(matrix),
        folder=group.folder,
    )


def shared(group: Group, first: str, second: str) -> list[tuple[Any, Any]]:
    """Rows of both on the seeds that both have; nothing if these are too few. The student before
    training has one row for all seeds where it is the pair's own."""
    a, b = group.runs.get(first, {}), group.runs.get(second, {})
    if set(b) == {None}:
        b = dict.fromkeys(a, b[None])
    seeds = [seed for seed in a if seed in b]
    return [(a[seed], b[seed]) for seed in seeds] if len(seeds) >= MIN_RUNS else []
