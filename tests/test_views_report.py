"""Curves and the report: every number is from the records, every text is inert."""

import json
import re
import shutil
from html.parser import HTMLParser

import matplotlib
import pytest
from fake_runs import STEPS, write_demo
from synthetic import HOSTILE, make_trace

from skd_lab.files import write_json_atomic
from skd_lab.records import write_traces
from skd_lab.runs import Run
from skd_lab.views import before_and_after, plot_training, render_report
from skd_lab.views.curves import INK_OF_PAGE, figure_svg


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("runs"))


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.cells, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("th", "td"):
            self.cells.append("")
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if any(tag in ("th", "td") for tag in self.open):
            self.cells[-1] += data


def test_a_panel_a_metric_and_a_line_a_run(demo):
    runs = [demo.parent / "demo-supervised_kd", demo.parent / "demo-on_policy_kd", demo]
    figure = plot_training(runs, smooth=1)
    loss, rate = figure.axes
    assert [len(loss.lines), len(rate.lines)] == [3, 1]  # only skd measured a replacement rate
    assert list(loss.lines[0].get_xdata()) == list(range(1, STEPS + 1))
    assert list(loss.lines[0].get_ydata()) == [1 / step for step in range(1, STEPS + 1)]
    assert {text.get_text() for text in loss.texts} == {"supervised_kd", "on_policy_kd", "skd"}
    assert len({line.get_color() for line in loss.lines}) == 3
    assert len({line.get_linestyle() + str(line._dash_pattern) for line in loss.lines}) == 3


def test_names_of_close_lines_do_not_overlap(demo):
    runs = [demo.parent / "demo-supervised_kd", demo.parent / "demo-on_policy_kd", demo]
    figure = plot_training(runs, ("loss",))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])


def test_smoothing_is_a_centred_mean(demo):
    figure = plot_training(demo, ("loss",), smooth=3)
    strong = figure.axes[0].lines[-1].get_ydata()
    assert strong[1] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_plotting_leaves_no_global_state(demo):
    before = dict(matplotlib.rcParams)
    plot_training(demo)
    assert dict(matplotlib.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_a_run_folder_with_mathtext_and_markup_in_its_name_is_drawn(tmp_path):
    folder = tmp_path / "a$x_1^{2$<b>"
    write_json_atomic(folder / "config.json", {})
    (folder / "steps.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    figure = plot_training(folder, ("loss",), ink=INK_OF_PAGE)
    svg = figure_svg(figure, 'label "<b>"')
    assert "a$x_1^{2$&lt;b&gt;" in svg and "<b>" not in svg
    assert 'aria-label="label &quot;&lt;b&gt;&quot;"' in svg
    assert "currentColor" in svg and INK_OF_PAGE not in svg
    assert not re.search(r"(https?:)?//(?!www\.w3\.org/)", svg)


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


def test_the_report_holds_the_table_both_strips_and_both_curves(demo):
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
    data = re.findall(r'<script type="application/json">(.*?)</script>', page)
    headers = [json.loads(json.loads(text)["value"].split("\n")[0]) for text in data]
    assert [header["step"] for header in headers] == [0, STEPS]
    assert page.count("<svg") == 2 and ">on_policy_kd<" in page
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
    assert "Settings of bare" in page and "<svg" not in page and "data-skd-strip=" not in page


def test_evaluations_make_the_table_where_the_run_wrote_none(tmp_path):
    folder = tmp_path / "plain"
    write_json_atomic(folder / "config.json", {"method": "skd"})
    line = {"step": 5, "n": 50, "metrics": {"rouge_l": {"value": 0.25, "low": 0.2, "high": 0.3}}}
    (folder / "eval.jsonl").write_text(json.dumps(line) + "\n")
    cells = Reader(render_report(folder).page()).cells
    assert cells[1].startswith("rouge-l") and cells[6:8] == ["step 5", "25.0% 20.0\u201330.0%"]


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


def test_damage_is_said(demo, tmp_path):
    folder = tmp_path / "cut"
    write_json_atomic(folder / "config.json", {"method": "skd"})
    (folder / "steps.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    run = Run(folder)
    assert "steps.jsonl: line 2 was cut off and is left out." in render_report(run).page()


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path")
def test_the_saved_report_lives_under_its_own_policy(demo, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = render_report(demo).save(tmp_path / "report.html")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    said, asked = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        for width in (1280, 390):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator(".strip").count() == 2
            assert page.locator("figure svg").count() == 2
            # beside each other on a wide page, below each other on a phone
            first, second = (page.locator(".strip").nth(n).bounding_box() for n in (0, 1))
            assert (first["y"] + first["height"] <= second["y"]) == (width == 390)
            assert first["width"] <= width
        browser.close()
    assert said == []
    assert asked == [path.as_uri()] * 2
