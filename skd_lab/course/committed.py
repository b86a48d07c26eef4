"""The committed comparisons, as the notebooks read them: rows by setting, and what they say.

`records/` holds a copy of every results/NAME/results.jsonl, made by notebooks/build.py, so that a
notebook finds them where only the package is installed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skd_lab.claims import Finding, Statement, grouped, verdict
from skd_lab.results import read_results
from skd_lab.statements import STATEMENTS
from skd_lab.views.grid_table import groups, title, variant

RECORDS = Path(__file__).parent / "records"


@dataclass(frozen=True)
class Setting:
    """Runs that are compared with one another: same task, prompts and start."""

    title: str
    folder: str
    """Of results/, where their table is."""
    rows: Sequence[Mapping[str, Any]]
    """Of results.jsonl, one a run."""

    def __str__(self) -> str:
        return f"{self.title} ({self.folder})"

    @property
    def plain(self) -> list[Mapping[str, Any]]:
        """Rows of methods as they are, without the points of a sweep."""
        return [row for row in self.rows if variant(row) == row["method"]]


@dataclass(frozen=True)
class Judged:
    """A statement of the paper, with the comparisons that speak on it."""

    statement: Statement
    findings: Sequence[Finding]

    @property
    def verdict(self) -> str:
        """By the rules of skd_lab/claims.py."""
        return verdict(self.findings)

    def __str__(self) -> str:
        """The statement, its verdict, and a line a comparison, with the numbers of claims.md."""
        said = f"Statement {self.statement.number}: {self.verdict}"
        head = f"{self.statement.claim}\n{said}"
        return "\n".join([head, *map(_line, self.findings)])


def _line(finding: Finding) -> str:
    times, form = (100, "+.1f") if finding.unit == "points" else (1, "+.3f")
    value, low, high = (
        format(times * number, form) for number in (finding.value, finding.low, finding.high)
    )
    measured = f"{value} [{low} to {high}] {finding.unit}"
    return (
        f"  {finding.where}: {finding.what}\n    {measured}, {finding.runs} runs: {finding.speaks}"
    )


def committed(min_runs: int = 1) -> list[Setting]:
    """Every setting of the committed comparisons.

    Args:
        min_runs: seeds that the runs of skd must have at least.
    """
    found = []
    for path in sorted(RECORDS.glob("*.jsonl")):
        for where, members in groups(read_results(path)):
            done = [row for row in members if row["status"] == "done"]
            seeds = {row["seed"] for row in done if row["method"] == "skd"}
            if len(seeds) >= min_runs:
                found.append(Setting(title(where), path.stem, done))
    return found


def judged() -> list[Judged]:
    """The paper's ten statements, judged by every committed comparison, as in docs/claims.md."""
    every = [
        group
        for path in sorted(RECORDS.glob("*.jsonl"))
        for group in grouped(read_results(path), path.stem)
    ]
    return [Judged(statement, list(statement.find(every))) for statement in STATEMENTS]
