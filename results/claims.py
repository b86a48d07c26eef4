"""Write docs/claims.md from the rows in results/: `python results/claims.py`.

No number in that page is typed by hand; tests/test_results.py makes it again.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from skd_lab.claims import AGAINST, FOR, Finding, Group, grouped, of_scores, verdict
from skd_lab.cli.compare import grid_from
from skd_lab.cli.frame import build_parser
from skd_lab.cli.rows import register_rows
from skd_lab.errors import UsageError
from skd_lab.grids import Grid
from skd_lab.results import read_results
from skd_lab.statements import STATEMENTS

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "claims.md"
HEAD = """\
# What the paper claims, and what was measured here
Ten testable statements of Speculative Knowledge Distillation (arXiv 2410.11325), judged by the runs
in [results/](../results/README.md): models of 0.3 million weights taught by ones of 2 million, on
texts that the tasks generate. It says what holds there, and nothing about large models.

This page is written by `python results/claims.py` from `results/*/results.jsonl`; the rules were in
the code (`skd_lab/claims.py`) before the runs were made:

- A comparison is of runs that share task, start, prompts, seeds and uniforms, and differ in one
  thing. It has a 95% interval: of scores over seeds and prompts (crossed bootstrap), of what a run
  has one number of over seeds (Student's t). Fewer than three seeds are not looked at.
- It speaks **for** a statement if its interval lies wholly on the claimed side of 0, **against** it
  if wholly on the other side; else it is open. One in forty speaks for, and one against, by chance.
- **not run**: no comparison. **does not hold here**: one or more speak against. **holds**: none
  speaks against and at least half speak for it. **cannot be told at this size**: the rest.
"""


def page() -> str:
    """docs/claims.md."""
    every = [
        group
        for path in sorted(HERE.glob("*/results.jsonl"))
        for group in grouped(read_results(path), path.parent.name)
    ]
    found = [(statement, list(statement.find(every))) for statement in STATEMENTS]
    lines = [
        HEAD,
        "| | statement | verdict | for | open | against |",
        "|---:|---|---|---:|---:|---:|",
    ]
    for statement, findings in found:
        said = [finding.speaks for finding in findings]
        counts = [said.count(FOR), len(said) - said.count(FOR) - said.count(AGAINST)]
        cells = [f"[{statement.number}](#statement-{statement.number})", statement.claim]
        cells += [f"**{verdict(findings)}**", *map(str, [*counts, said.count(AGAINST)])]
        lines.append(f"| {' | '.join(cells)} |")
    for statement, findings in found:
        lines += ["", f"## Statement {statement.number}", statement.claim]
        lines += [f"Measured: {statement.measured}. Verdict: **{verdict(findings)}**.", ""]
        lines += [statement.note, ""] if statement.note else []
        lines += _table(findings)
        folders = dict.fromkeys(finding.folder for finding in findings)
        lines += [
            f"\n![Statement {statement.number}, {name}](../results/{name}/{statement.figure})"
            for name in folders
            if (HERE / name / statement.figure).exists()
        ]
    lines += ["", "## Where skd is ahead, and where it is not", _REGIMES, ""]
    lines += _table(list(_against_rivals(every)))
    lines += ["", "## Commands", "The runs of each folder are made again by:", "```sh"]
    for path in sorted(HERE.glob("*/results.jsonl")):
        lines += commands_of(path.parent.name)
    return "\n".join([*lines, "```"]) + "\n"


_REGIMES = """\
Every setting in which skd was run beside supervised KD or on-policy KD with three seeds or more,
at equal updates and, where it says so, at equal CPU seconds: skd's headline score minus the
rival's. What was searched for is in results/README.md."""


def _against_rivals(groups: Sequence[Group]) -> list[Finding]:
    return [
        finding
        for group in groups
        for rival in ("supervised_kd", "on_policy_kd")
        for finding in of_scores(group, "skd", rival)
    ]


def _table(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return ["No run has looked at it yet."]
    lines = ["| setting | compared | measured, 95% interval | runs | speaks | rows |"]
    lines.append("|---|---|---:|---:|---|---|")
    for finding in findings:
        times = 100 if finding.unit == "points" else 1
        form = "+.1f" if finding.unit == "points" else "+.3f"
        value, low, high = (
            format(times * number, form) for number in (finding.value, finding.low, finding.high)
        )
        cells = [finding.where, finding.what, f"{value} [{low} to {high}] {finding.unit}"]
        cells += [str(finding.runs), finding.speaks]
        cells.append(f"[{finding.folder}](../results/{finding.folder}/table.md)")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def commands_of(folder: str) -> list[str]:
    """The commands beside a folder in results/README.md; later ones go on in its run folder."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    section = text.split(f"## {folder}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("skd-lab compare ")]


def grid_of(folder: str) -> Grid:
    """What those commands run, all together.

    Raises:
        UsageError: they have not the same settings.
    """
    register_rows()
    parser = build_parser()
    grids = [grid_from(parser.parse_args(command.split()[1:])) for command in commands_of(folder)]
    if any(grid != replace(grids[0], blocks=grid.blocks) for grid in grids):
        raise UsageError(
            f"the commands of {folder} differ in more than their cells: make two folders."
        )
    return replace(grids[0], blocks=[block for grid in grids for block in grid.blocks])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written: {PAGE}")
