"""What the strip's own menu writes: files from the page alone, read back here."""

import csv
import io
import json

import pytest
import strip_pages
from matplotlib.image import imread
from strip_pages import MARKS
from synthetic import hostile_trace, make_trace

from skd_lab.records import dumps_traces, loads_traces, read_traces
from skd_lab.views import render_strip, traces_to_csv, wdiff

pytestmark = MARKS
chromium, host, show = strip_pages.chromium, strip_pages.host, strip_pages.show


def saved(page, name, folder):
    """The file that a button of the menu writes."""
    if not page.locator(".menu .panel").is_visible():
        page.locator(".menu summary").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name, exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_the_page_that_a_page_writes_works_alone_and_reads_back(show, chromium, tmp_path):
    traces = loads_traces(dumps_traces([hostile_trace(), make_trace(step=9)]))
    page = show(render_strip(traces, title="A run</script><b>"), accept_downloads=True)
    page.locator(".dial input").focus()
    page.keyboard.press("Home")
    path = saved(page, "Page (HTML)", tmp_path)
    assert path.name == "a-run-script-b.html" and read_traces(path) == traces
    asked, said = [], []
    context = chromium.new_context(accept_downloads=True)
    copy = context.new_page()
    copy.on("request", lambda request: asked.append(request.url))
    copy.on("console", lambda message: said.append(message.text))
    copy.on("pageerror", lambda error: said.append(str(error)))
    copy.goto(path.as_uri())
    assert copy.locator(".tok").count() == page.locator(".tok").count()
    assert copy.locator(".knob .value").inner_text() == "K = 1"
    assert copy.title() == "A run</script><b>"
    copy.locator(".tok").nth(3).hover()
    assert copy.locator(".card .number").inner_text() == "#3"
    again = saved(copy, "Page (HTML)", tmp_path / "again")  # a copy of the copy
    assert read_traces(again) == traces
    assert [url for url in asked if not url.startswith(("file:", "blob:"))] == [] == said
    context.close()


def test_the_page_that_a_page_writes_reads_without_scripts(show, chromium, tmp_path):
    trace = make_trace([" a", " b", " c", " <d>"], replaced_every=4)
    path = saved(show(render_strip(trace), accept_downloads=True), "Page (HTML)", tmp_path)
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("pre").inner_text() == " a b c[- c-]{+ <d>+}"
    context.close()


def test_records_and_tables_are_pythons(show, tmp_path):
    traces = loads_traces(dumps_traces([hostile_trace(), make_trace(step=9)]))
    page = show(render_strip(traces), accept_downloads=True)
    assert read_traces(saved(page, "Records (NDJSON)", tmp_path)) == traces
    found = json.loads(saved(page, "Records (JSON)", tmp_path).read_text(encoding="utf-8"))
    assert [(one["header"], one["tokens"]) for one in found] == [
        (trace.header, trace.tokens) for trace in traces
    ]
    ours = list(csv.reader(io.StringIO(traces_to_csv(traces), newline="")))
    with saved(page, "Table (CSV)", tmp_path).open(encoding="utf-8", newline="") as file:
        theirs = list(csv.reader(file))
    assert len(theirs) == len(ours) and theirs[0] == ours[0]
    for row, own in zip(theirs[1:], ours[1:], strict=True):
        numbers = [5, *range(7, len(row))]
        assert [float(row[n]) for n in numbers] == [float(own[n]) for n in numbers]
        assert row[:4] == own[:4]
    ascii_rows = [(r, o) for r, o in zip(theirs, ours, strict=True) if "".join(o).isascii()]
    assert len(ascii_rows) > 40 and all(row[4] == own[4] for row, own in ascii_rows)


def test_the_text_of_a_page_is_pythons(show, tmp_path):
    trace = make_trace(replaced_every=4)
    path = saved(show(render_strip(trace), accept_downloads=True), "Text", tmp_path)
    assert path.read_text(encoding="utf-8") == wdiff(trace)


def test_the_picture_shows_the_strip_at_twice_the_size(show, tmp_path):
    trace = make_trace([f" word{i}" for i in range(200)])
    page = show(render_strip(trace, title="Picture"), accept_downloads=True)
    pixels = imread(saved(page, "Picture (PNG)", tmp_path))
    width = round(page.locator(".main").bounding_box()["width"])
    assert pixels.shape[1] == 2 * max(480, min(900, width)) and pixels.shape[0] > 300
    assert (pixels[:, -40:, :3] == 1).all() and (pixels[-20:, :, :3] == 1).all()  # a white margin
    shades = {
        tuple(pixel) for row in pixels[::4, ::4, :3] for pixel in (row * 255).round().astype(int)
    }
    for colour in ((217, 232, 249), (169, 203, 240), (253, 235, 200)):  # r1, r2, cream
        assert colour in shades


def test_a_frame_may_save_too(chromium, tmp_path):
    context = chromium.new_context(accept_downloads=True)
    page = context.new_page()
    page.set_content(render_strip(make_trace()).iframe()._repr_html_())
    frame = page.frame_locator("iframe")
    frame.locator(".menu summary").click()
    with page.expect_download() as waiting:
        frame.get_by_role("button", name="Records (NDJSON)").click()
    waiting.value.save_as(tmp_path / "a.ndjson")
    assert len(read_traces(tmp_path / "a.ndjson")[0].tokens) == 36
    context.close()


def test_escape_closes_the_menu(show):
    page = show(render_strip(make_trace()))
    page.locator(".menu summary").click()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert not page.locator(".menu .panel").is_visible()


@pytest.mark.parametrize("name", ["rank", "title"])
def test_a_file_is_named_by_the_title_or_the_run(host, name):
    made = host(make_trace(), title="../../etc/Größe: a=b" if name == "title" else "")
    made.page.locator(".menu summary").click()
    with made.page.expect_download() as waiting:
        made.page.get_by_role("button", name="Text", exact=True).click()
    expected = "etc-gr-e-a-b.txt" if name == "title" else "synthetic.txt"
    assert waiting.value.suggested_filename == expected
