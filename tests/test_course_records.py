"""The committed comparisons in the course: copied as they are, told as docs/claims.md does."""

import json
import re
from pathlib import Path

import pytest
import torch

from skd_lab.claims import AGAINST, FOR
from skd_lab.course import committed, judged
from skd_lab.course.committed import RECORDS
from skd_lab.course.exercises import EXERCISES, judge

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
TOLD = {"07": {1}, "08": {2, 3, 4}, "09": set(range(1, 11))}
"""Statements that a notebook speaks of."""


def printed(chapter):
    [path] = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")


def verdicts(page):
    """Number to verdict and counts, from the table at the head of the page."""
    rows = re.findall(
        r"^\| \[(\d+)\]\(.+?\) \| .+? \| \*\*(.+?)\*\* \| (\d+) \| (\d+) \| (\d+) \|$", page, re.M
    )
    return {int(number): (said, *map(int, counts)) for number, said, *counts in rows}


def differences(text, page):
    """What a notebook's output says and the page does not; and the statements it speaks of."""
    there, odd, numbers = verdicts(page), [], set()
    for number, said in re.findall(r"^Statement (\d+): (.+)$", text, re.M):
        numbers.add(int(number))
        if there[int(number)][0] != said:
            odd.append(f"{number}: {said}")
    for number, *counts, said in re.findall(
        r"^Statement (\d+) +(\d+) +(\d+) +(\d+)   (.+)$", text, re.M
    ):
        numbers.add(int(number))
        if there[int(number)] != (said, *map(int, counts)):
            odd.append(f"{number}: {said} {counts}")
    lines = re.findall(r"^  (\S.+?): (.+)\n    (.+), (\d+) runs: (\w+)$", text, re.M)
    for where, what, measured, runs, speaks in lines:
        if f"| {where} | {what} | {measured} | {runs} | {speaks} |" not in page:
            odd.append(f"{where}: {what}: {measured}")
    return odd, numbers


def test_the_package_carries_the_committed_rows_as_they_are():
    rows = {path.parent.name: path for path in ROOT.glob("results/*/results.jsonl")}
    assert {path.stem for path in RECORDS.glob("*.jsonl")} == set(rows), "run make notebooks"
    for name, path in rows.items():
        copy = RECORDS / f"{name}.jsonl"
        assert copy.read_bytes() == path.read_bytes(), f"{name}: run make notebooks"


@pytest.mark.parametrize("chapter", TOLD)
def test_a_notebook_says_of_the_statements_what_the_claims_page_says(chapter):
    odd, numbers = differences(printed(chapter), PAGE)
    assert odd == [], "run make notebooks"
    assert numbers == TOLD[chapter]


def test_a_notebook_that_says_something_else_is_found():
    number, (said, *_) = next(iter(verdicts(PAGE).items()))
    other = PAGE.replace(f"**{said}**", "**so it is**")
    assert differences(printed("07"), other)[0] and differences(printed("09"), other)[0]
    findings = judged()[0].findings
    assert findings, "statement 1 has no comparison to be changed"
    moved = re.sub(r"([-+]\d+\.\d) \[", r"\g<1>9 [", PAGE)
    assert len(differences(printed("07"), moved)[0]) == len(findings)


def test_the_statements_are_judged_as_on_the_page():
    for each in judged():
        speaks = [finding.speaks for finding in each.findings]
        counts = speaks.count(FOR), speaks.count(AGAINST)
        said, for_it, _, against = verdicts(PAGE)[each.statement.number]
        assert (each.verdict, *counts) == (said, for_it, against)


def test_settings_hold_finished_rows_of_one_group_each():
    settings = committed(min_runs=3)
    assert settings and len({str(each) for each in settings}) == len(settings)
    assert len(settings) < len(committed())
    for setting in settings:
        assert len({row["task"] for row in setting.rows}) == 1
        assert {row["status"] for row in setting.rows} == {"done"}
        assert all(row.get("accept_top_k") is None for row in setting.plain)


def test_a_loss_that_trains_the_teacher_or_nobody_is_refused_with_its_hint():
    exercise = EXERCISES["07.1"]

    def both(student, teacher, ids, prompt_length):
        theirs, mine = (torch.log_softmax(model(ids), -1) for model in (teacher, student))
        return (theirs.exp() * (theirs - mine)).sum(-1)[prompt_length - 1 : -1].mean()

    assert "the teacher would be trained too" in judge(exercise, both)
    assert "no gradient reaches the student" in judge(exercise, torch.no_grad()(both))
    assert "no gradient reaches the student" in judge(exercise, lambda *a: both(*a).item())


@pytest.mark.parametrize("chapter", ["07", "09"])
def test_what_a_notebook_expects_of_its_runs_came_true(chapter):
    said = re.findall(r"^(.+): (True|False)$", printed(chapter), re.M)
    assert len(said) >= 5
    assert [what for what, came in said if came == "False"] == []
