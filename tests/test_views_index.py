"""The list of runs: a row a run, a link to its page, and damage said."""

import re
from html.parser import HTMLParser

import pytest
from fake_runs import STEPS, write_demo
from synthetic import HOSTILE

from skd_lab.errors import UsageError
from skd_lab.files import append_jsonl, write_json_atomic
from skd_lab.views import render_index, run_summaries
from skd_lab.views.index import sparkline


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_demo(root)
    odd = root / "a #1 run?"
    write_json_atomic(odd / "config.json", {"method": "sft", "task": "gsm8k", "steps": 2000})
    append_jsonl(odd / "steps.jsonl", {"step": 1, "loss": 3.25, "replacement_rate": None})
    metrics = {"exact_match": {"value": 0.25, "low": 0.125, "high": 0.375}}
    append_jsonl(odd / "eval.jsonl", {"step": 1, "n": 8, "metrics": metrics})
    return root


class Rows(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows, self.links, self.tags = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        elif tag == "a":
            self.links.append(dict(attributes)["href"])

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_a_row_a_run(runs):
    rows = Rows(render_index(runs).page()).rows[1:]
    assert [row[0] for row in rows] == [
        "a #1 run?",
        "demo",
        "demo-on_policy_kd",
        "demo-supervised_kd",
    ]
    score = "25.0% 12.5\u201337.5% exact-match"
    dash = "\u2013"
    assert rows[0][1:] == ["sft", "gsm8k", "1 of 2,000", "3.250", dash, dash, score]
    assert rows[1][1:5] == ["skd", dash, f"{STEPS}", f"{1 / STEPS:.3f}"]
    assert rows[1][5] == "17.7% \u2192 2.9%" and rows[1][7].startswith("60.0% 55.0\u201365.0%")


def test_links_lead_to_the_reports_from_wherever_the_page_is(runs, tmp_path):
    assert Rows(render_index(runs).page()).links[:2] == [
        "a%20%231%20run%3F/report.html",
        "demo/report.html",
    ]
    page = tmp_path / "elsewhere" / "list.html"
    [link, *_] = Rows(render_index(runs, at=page).page()).links
    assert link.startswith("../")
    assert (
        page.parent / link.replace("%20", " ").replace("%23", "#").replace("%3F", "?")
    ).resolve() == (runs / "a #1 run?" / "report.html").resolve()


def test_summaries_are_plain_data(runs):
    demo = {one["name"]: one for one in run_summaries(runs)}["demo"]
    assert demo["steps"] == STEPS and demo["loss"] == pytest.approx(1 / STEPS)
    assert demo["replaced_first"] > demo["replaced_last"] > 0
    assert (demo["metric"], demo["value"], demo["notes"]) == ("facts_exact", 0.6, [])


def test_a_damaged_run_has_its_row_and_its_note(tmp_path):
    write_json_atomic(tmp_path / "good" / "config.json", {"method": "skd"})
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{")
    (tmp_path / "bad" / "steps.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"ste')
    page = render_index(tmp_path).page()
    assert [row[0] for row in Rows(page).rows[1:]] == ["bad", "good"]
    assert "bad/steps.jsonl: line 2 was cut off" in page and "bad/config.json: not JSON" in page
    assert Rows(page).rows[1][4] == "2.000"


def test_a_folder_without_runs_is_refused(tmp_path):
    (tmp_path / "notes").mkdir()
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="There is no run in .*Give a run folder"):
            render_index(root)


def test_a_sparkline_falls_as_the_rate_does():
    line = sparkline([0.4, 0.3, 0.2, 0.1])
    heights = [float(point.split(",")[1]) for point in re.search('points="(.*?)"', line)[1].split()]
    assert heights == sorted(heights) and len(heights) == 4
    assert 'aria-label="replacement rate from 40.0% to 10.0%, at most 40.0%"' in line
    assert len(re.search('points="(.*?)"', sparkline([0.1] * 5000))[1].split()) == 60
    assert sparkline([]) == "" and "nan" not in sparkline([0.0, 0.0]) + sparkline([0.5])


def test_names_and_values_of_a_run_cannot_add_elements(tmp_path):
    def tags(words):
        write_json_atomic(tmp_path / "run" / "config.json", {"method": words, "task": words})
        row = {"name": words, "metric": words, "value": 0.5}
        write_json_atomic(tmp_path / "run" / "table.json", {"rows": [row]})
        return Rows(render_index(tmp_path, title=words).page()).tags

    assert tags("".join(HOSTILE)) == tags("harmless")


def test_the_page_asks_nobody_for_anything(runs):
    page = render_index(runs).page()
    assert "default-src 'none'" in page and "<script>" not in page
    assert not re.search(r'(src|href)="(?!demo|a%20)', page)
    assert "://" not in page.replace("http://www.w3.org/", "")
