"""The report: every number is from the records, every text is inert."""

import json
import re
from html.parser import HTMLParser

import pytest
from fake_runs import STEPS, write_demo
from synthetic import HOSTILE, make_trace

from skd_lab.config import RunConfig
from skd_lab.files import write_json_atomic
from skd_lab.records import write_traces
from skd_lab.runs import Run
from skd_lab.views import before_and_after, render_report


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("runs"))


class Reader(HTMLParser):
    def __init__(self, page: str, classes: set[str] = frozenset()) -> None:
        super().__init__()
        self.tags, self.cells, self.open = [], [], []
        self.classes, self.texts = classes, []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if dict(attributes).get("class") in self.classes:
            self.texts.append("")
        if tag in ("th", "td"):
            self.cells.append("")
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if any(tag in ("th", "td") for tag in self.open):
            self.cells[-1] += data
        if self.texts and not self.texts[-1]:
            self.texts[-1] = data


def test_before_and_after_are_one_prompt():
    traces = [make_trace(step=step, replaced_every=99) for step in (0, 8)]
    for trace, step in zip((make_trace(), make_trace(), make_trace()), (8, 0, 4), strict=True):
        trace.header.update(row=1, step=step)
        traces.append(trace)
    shown = before_and_after(traces)
    # less was refused at first on prompt 0, so the other one is shown
    assert [(trace.header["row"], trace.header["step"]) for trace in shown] == [(1, 0), (1, 8)]
    assert before_and_after(traces[:1]) == traces[:1]
    assert before_and_after([]) == []


def test_the_report_holds_the_table_the_strips_of_each_prompt_and_the_curves(demo):
    page = render_report(demo).page()
    cells = Reader(page).cells
    assert cells[cells.index("start") :][:2] == ["start", "40.0% 55.0\u201365.0%"]
    assert cells[cells.index("skd") :][:6] == [
        "skd",
        "60.0% 55.0\u201365.0%",
        "0.310",
        "0.290",
        "21.0% \u2192 8.0%",
        "41",
    ]
    assert cells[cells.index("teacher") :][2:6] == ["\u2013"] * 4
    data = [
        json.loads(text)
        for text in re.findall(r'<script type="application/json">(.*?)</script>', page)
    ]
    strips = [found["value"] for found in data if "value" in found]
    headers = [
        [json.loads(line) for line in strip.split("\n") if '"schema"' in line] for strip in strips
    ]
    assert [[(h["row"], h["step"]) for h in found] for found in headers] == [
        [(row, 0), (row, STEPS)] for row in (0, 1)
    ]
    titles = re.findall(r'<figure[^>]*><svg[^>]*aria-label="([^."]*)', page)
    assert titles == ["loss (nats a token)", "tokens the teacher replaced"]
    assert ">on_policy_kd<" in page
    assert "Chosen because the methods separate here." in page


def test_the_reading_says_what_the_table_says(demo):
    reading = render_report(demo).text
    assert (
        "skd has facts-exact 60.0% on 300 held-out prompts (95% interval 55.0\u201365.0%)"
        in reading
    )
    assert "it began at 40.0%, and the teacher has 95.0%" in reading
    assert "replaced 21.0% of its tokens at the start and 8.0% at the end" in reading


def test_the_reading_of_a_run_without_scores_is_from_its_steps(tmp_path):
    write_json_atomic(tmp_path / "run" / "config.json", {"method": "skd"})
    lines = [{"step": n, "loss": 2.0 / n, "replacement_rate": 0.4 / n} for n in (1, 2, 4)]
    (tmp_path / "run" / "steps.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    reading = render_report(tmp_path / "run").text
    assert "3 updates with skd: the loss went from 2.000 to 0.500 nats a token." in reading
    assert "replaced 40.0% of its tokens at the start and 10.0% at the end" in reading


def test_a_run_without_table_traces_or_steps_still_has_a_report(tmp_path):
    write_json_atomic(tmp_path / "bare" / "config.json", {"method": "sft"})
    page = render_report(tmp_path / "bare").page()
    tags = Reader(page).tags
    assert "figure" not in {tag for tag, _ in tags}
    assert not any("data-skd-strip" in found for _, found in tags)
    for words in (
        "No update is recorded yet.",
        "No evaluation is recorded.",
        "No completion is recorded.",
        "holds no environment.json",
        "<td>sft</td><td>skd</td>",
    ):
        assert words in page


def test_evaluations_make_the_table_where_the_run_wrote_none(tmp_path):
    folder = tmp_path / "plain"
    write_json_atomic(folder / "config.json", {"method": "skd"})
    line = {"step": 5, "n": 50, "metrics": {"rouge_l": {"value": 0.25, "low": 0.2, "high": 0.3}}}
    (folder / "eval.jsonl").write_text(json.dumps(line) + "\n")
    cells = Reader(render_report(folder).page()).cells
    assert cells[1].startswith("rouge-l") and cells[2:4] == ["step 5", "25.0% 20.0\u201330.0%"]


@pytest.mark.parametrize("text", [*HOSTILE, "".join(HOSTILE)])
def test_texts_of_a_run_cannot_add_elements(tmp_path, text):
    def report(words):
        folder = tmp_path / "run"
        config = {"method": words, "student": words}
        write_json_atomic(folder / "config.json", config)
        row = {"name": words, "metric": words, "value": 0.5, "n": 3}
        write_json_atomic(folder / "table.json", {"setting": words, "rows": [row]})
        trace = make_trace([words] * 4, replaced_every=2)
        trace.header["prompt"] = trace.header["student"] = words
        write_traces(folder / "traces.ndjson", [trace])
        if len(text) > 100:  # pictures take half a second: once with everything is enough
            (folder / "steps.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
        return [tag for tag, _ in Reader(render_report(folder).page()).tags]

    assert report(text) == report("harmless")


def test_damage_is_said_and_the_rest_is_shown(tmp_path):
    folder = tmp_path / "hurt"
    (folder).mkdir()
    (folder / "config.json").write_text('{"method": "skd"')
    lines = ['{"step": 1, "loss": 2.0}', '{"step": br', '{"loss": 7}', '{"step": 3, "loss": "x"}']
    (folder / "steps.jsonl").write_text("\n".join([*lines, '{"step": 4, "loss": 1.0}', '{"st']))
    (folder / "environment.json").write_text("[1]")
    write_traces(folder / "traces.ndjson", [make_trace(step=0), make_trace(step=8)])
    text = (folder / "traces.ndjson").read_text().split("\n")
    text[5] = text[5].replace('"source"', '"sauce"')
    (folder / "traces.ndjson").write_text("\n".join(text))
    page = render_report(folder).page()
    notes = Reader(page, {"note"}).texts
    assert [re.search(r"(\w+\.\w+)[:,] (\w+ \d)?", note).group(0) for note in notes] == [
        "steps.jsonl, line 2",
        "steps.jsonl, record 2",
        "config.json: ",
        "traces.ndjson, line 6",
        "environment.json: ",
    ]
    assert "the loss went from 2.000 to 1.000" in page
    # of the trace that is damaged in its fifth token four are left, the other one is whole
    [film] = re.findall(r'<ol class="film">(.*?)</ol>', page, re.S)
    before, after = film.split("</li>")[:2]
    assert before.count('<span class="r') + before.count('<span class="replaced') == 4
    assert after.count("<span class=") == len(make_trace(step=8).tokens)
    assert "config.json that can be read" in page and "environment.json that can be read" in page


def test_a_run_that_goes_on_says_how_far_it_is(tmp_path):
    folder = tmp_path / "run"
    write_json_atomic(folder / "config.json", {"method": "skd", "steps": 1200})
    (folder / "steps.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    page = render_report(folder).page()
    assert "1 of 1200 updates are recorded: the run goes on, or it was stopped" in page
    assert "<dd>1 of 1,200</dd>" in page
    assert "steps.jsonl: line 2 was cut off and is left out." in page


def test_what_differs_from_the_defaults_comes_first(tmp_path):
    config = RunConfig(pair="tiny-qwen3", gamma=7, accept_top_k=3).to_dict()
    write_json_atomic(tmp_path / "run" / "config.json", {**config, "novel": [1]})
    cells = Reader(render_report(tmp_path / "run").page()).cells
    settings = cells[cells.index("setting") :]
    assert settings == [
        *("setting", "here", "default"),
        *("pair", "tiny-qwen3", "not set"),
        *("accept_top_k", "3", "25, preset of tiny-qwen3"),
        *("gamma", "7", "5"),
        *("novel", "[1]", "no field of this version"),
    ]
    page = render_report(tmp_path / "run").page()
    assert f"The other {len(config) - 3} settings, as by default" in page


def test_of_several_runs_the_settings_that_differ_stand_side_by_side(demo):
    runs = [demo, demo.parent / "demo-supervised_kd"]
    cells = Reader(render_report(runs).page()).cells
    assert cells[cells.index("setting") :][:6] == [
        *("setting", "demo", "demo-supervised_kd"),
        *("method", "skd", "supervised_kd"),
    ]
    page = render_report([demo, demo]).page()
    assert "Settings in which the runs differ" not in page


def test_sessions_stand_side_by_side_and_what_changed_is_bold(tmp_path):
    write_json_atomic(tmp_path / "run" / "config.json", {"method": "skd"})
    first = {"started": "2026-01-02T03:04:05+00:00", "from_step": 0, "torch": "2.5", "threads": 4}
    second = {
        **first,
        "from_step": 9,
        "threads": 8,
        "command": ["skd-lab", "train", "--title", "<b> c"],
    }
    write_json_atomic(tmp_path / "run" / "environment.json", {"sessions": [first, second]})
    page = render_report(tmp_path / "run").page()
    environment = page[page.index('<section id="environment">') :]
    cells = Reader(environment).cells
    assert cells[cells.index("threads") :][:3] == ["threads", "4", "8"]
    assert cells[cells.index("from update") :][:3] == ["from update", "0", "9"]
    assert re.findall("<td><b>(.*?)</b>", environment) == [
        "8",
        "<code>skd-lab train --title &#x27;&lt;b&gt; c&#x27;</code>",
    ]


def test_several_runs_have_one_table_of_where_they_were_made(demo, tmp_path):
    for name, torch in (("a", "2.5"), ("b", "2.6")):
        write_json_atomic(tmp_path / name / "config.json", {"method": name})
        write_json_atomic(tmp_path / name / "environment.json", {"sessions": [{"torch": torch}]})
    page = render_report([tmp_path / "a", tmp_path / "b", demo]).page()
    environment = page[page.index('<section id="environment">') :]
    assert Reader(environment).cells == ["", "a", "b", "torch", "2.5", "2.6"]


def test_the_strip_cools_from_recording_to_recording(demo):
    page = render_report(demo).page()
    first, second = re.findall(r'<section class="prompt-history">(.*?)</section>', page, re.S)
    for history in (first, second):
        rows = re.findall(
            r'<svg viewBox="0 0 (\d+) 10"[^>]*aria-label="([^"]*)">(.*?)</svg>', history
        )
        assert [label.split(":")[0] for _, label, _ in rows] == [
            "before training",
            "step 20",
            f"step {STEPS}",
        ]
        counts = [cells.count('class="replaced"') for _, _, cells in rows]
        assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
        tokens = len(Run(demo).traces[0].tokens)
        assert [(int(width), cells.count("<rect")) for width, _, cells in rows] == [
            (tokens, tokens)
        ] * 3
        film = history[history.index('<ol class="film">') : history.index("</ol>")]
        assert [row.count("<del>") for row in film.split("<li>")[1:]] == counts


def test_many_recordings_show_the_first_the_last_and_some_between(tmp_path):
    traces = [make_trace(step=step) for step in range(0, 101, 5)]
    for row in range(6):
        again = [make_trace(step=step) for step in (0, 100)]
        for trace in again:
            trace.header["row"] = row + 1
        traces += again
    write_traces(tmp_path / "run" / "traces.ndjson", traces)
    page = render_report(tmp_path / "run").page()
    films = re.findall(r'<ol class="film">(.*?)</ol>', page, re.S)
    assert len(films) == 4 and "3 more watched prompts are in traces.ndjson." in page
    shown = re.findall(r"<h4>(?:step )?(.*?)<small>", films[0])
    assert shown == ["before training", "20", "40", "60", "80", "100"]
    assert "15 more recordings lie between these." in page


def test_the_contents_lead_to_every_section(demo):
    tags = Reader(render_report(demo).page()).tags
    there = [found["id"] for tag, found in tags if tag == "section" and "id" in found]
    links = [found["href"] for tag, found in tags if tag == "a"]
    assert links == [f"#{name}" for name in there] and len(links) == 5
