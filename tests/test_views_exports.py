"""Traces as files: each format is read back, hostile text included."""

import csv
import io
import json
import re

import pytest
from html_reader import Reader
from matplotlib.backends.backend_agg import FigureCanvasAgg
from synthetic import HOSTILE, hostile_trace, make_trace

import skd_lab as skd
from skd_lab.errors import DataError, UsageError
from skd_lab.records import dumps_traces, loads_traces, read_traces
from skd_lab.views import (
    plot_strip,
    render_strip,
    save_traces,
    traces_to_csv,
    traces_to_json,
    traces_to_text,
)
from skd_lab.views.exports import CSV_FIELDS
from skd_lab.views.page import visible


def whole(traces):
    """The traces as their records are after a trip through JSON."""
    return loads_traces(dumps_traces(traces))


def test_an_exported_page_reads_back(tmp_path):
    traces = [hostile_trace(), make_trace(step=9)]
    path = save_traces(traces, tmp_path / "deep" / "strip.html", title="</script>")
    assert path == tmp_path / "deep" / "strip.html"
    assert read_traces(path) == whole(traces)


@pytest.mark.parametrize("content", ["[]", "{", '"x"'])
def test_a_page_that_holds_no_records_is_a_data_error(tmp_path, content):
    path = tmp_path / "page.html"
    path.write_text(f'<!DOCTYPE html><script type="application/json">{content}</script>')
    with pytest.raises(DataError, match="Cannot read .*page.html"):
        read_traces(path)


def test_records_read_back(tmp_path):
    traces = [hostile_trace(), make_trace(step=9)]
    assert read_traces(save_traces(traces, tmp_path / "a.ndjson")) == whole(traces)
    found = json.loads(save_traces(traces, tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [one["header"] for one in found] == [trace.header for trace in whole(traces)]
    assert [one["tokens"] for one in found] == [trace.tokens for trace in whole(traces)]
    assert json.loads(traces_to_json([])) == []


def test_the_csv_has_a_row_a_token_and_reads_back(tmp_path):
    traces = [hostile_trace(), make_trace(step=9)]
    rows = list(csv.DictReader(io.StringIO(traces_to_csv(traces), newline="")))
    tokens = [(n, token) for n, trace in enumerate(traces) for token in trace.tokens]
    assert list(rows[0]) == CSV_FIELDS and len(rows) == len(tokens)
    for row, (n, token) in zip(rows, tokens, strict=True):
        assert (int(row["trace"]), int(row["i"])) == (n, token["i"])
        assert float(row["p_teacher"]) == token["p_teacher"]
        assert int(row["teacher_rank"]) == token["teacher_rank"]
        assert row["kept"].removeprefix("'") == visible(token["kept"]) or "\ud83d" in token["kept"]
    path = save_traces(traces, tmp_path / "a.csv")
    assert path.read_bytes().decode("utf-8") == traces_to_csv(traces)


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@SUM(A1)", "\tx", "=cmd|' /C calc'!A0"])
def test_no_cell_of_the_csv_is_a_formula(text):
    trace = make_trace([text, " b"])
    cells = list(csv.reader(io.StringIO(traces_to_csv([trace]), newline="")))
    assert all(cell[:1] not in ("=", "+", "-", "@", "\t") for row in cells for cell in row)


def test_the_text_has_marks_and_counts():
    trace = make_trace([" a", " b", " c", " d"], replaced_every=4)
    assert traces_to_text([trace]) == (
        " a b c[- c-]{+ d+}\n"
        "3 accepted + 1 replaced + 1 discarded = 5 proposed; 1 of 4 refused (25.0%) at K = 3\n"
    )


def test_an_unknown_suffix_names_those_that_work(tmp_path):
    with pytest.raises(UsageError, match=r"saved as \.docx\. Use one of \.html.*\.svg, \.pdf\."):
        save_traces(make_trace(), tmp_path / "a.docx")
    with pytest.raises(UsageError, match="a file without a suffix"):
        render_strip(make_trace()).save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"colour": "red"}, "colour is 'red'"), ({"layout": "x"}, "layout is"), ({"k": 0}, "k is 0")],
)
def test_what_a_strip_cannot_show_is_refused_with_what_it_can(settings, words):
    with pytest.raises(UsageError, match=f"{words}.*Use "):
        render_strip(make_trace(), **settings)


# --- pictures ---


def words_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_picture_holds_every_token_and_strikes_the_refused():
    trace = make_trace([f" w{i}" for i in range(40)], replaced_every=8)
    (figure,) = plot_strip(trace, title="A title")
    words = words_of(figure)
    assert words[0] == "A title"
    for token in trace.tokens:
        assert any(word.strip() == token["kept"].strip() for word in words)
    bold = [text.get_text().strip() for text in figure.axes[0].texts if text.get_weight() == "bold"]
    refused = [token for token in trace.tokens if token["source"] == "teacher"]
    assert {token["kept"].strip() for token in refused} <= set(bold)
    # of a refusal a strike and, under three pieces, two lines; the legend has one, too
    assert len(figure.axes[0].lines) == 7 * (len(refused) + 1)


def test_nothing_in_a_picture_lies_outside_of_it():
    trace = make_trace(["a" * 300, " b", "\n", "\tc", *[f" word{i}" for i in range(300)]])
    for figure in plot_strip(trace, lines=12):
        right = figure.axes[0].get_xlim()[1]
        high = figure.axes[0].get_ylim()[0]
        canvas = FigureCanvasAgg(figure).get_renderer()
        for text in figure.axes[0].texts:
            box = text.get_window_extent(canvas).transformed(figure.axes[0].transData.inverted())
            assert box.x0 >= 0 and box.x1 <= right and 0 <= box.y1 and box.y0 <= high


def test_a_long_text_has_several_pages_and_each_line_stands_on_one():
    trace = make_trace([f" w{i}" for i in range(400)])
    figures = plot_strip(trace, lines=10)
    assert len(figures) > 3
    shown = [word.strip() for figure in figures for word in words_of(figure)]
    kept = [token["kept"].strip() for token in trace.tokens]
    assert [word for word in shown if re.fullmatch(r"w\d+", word) and word in kept].count("w7") == 1
    assert {word for word in kept} <= set(shown)


def test_pictures_are_files_of_their_kind(tmp_path):
    trace = make_trace([f" w{i}" for i in range(700)])
    assert save_traces(trace, tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(path.name for path in tmp_path.glob("a*.png"))[:2] == ["a-2.png", "a.png"]
    svg = save_traces(make_trace(), tmp_path / "a.svg").read_text()
    assert "<svg" in svg and not re.search(r'(?:href|src)="(?!#)', svg)
    assert save_traces(make_trace(), tmp_path / "b.svg").read_text() == svg
    assert save_traces(trace, tmp_path / "a.pdf").read_bytes()[:5] == b"%PDF-"
    assert len(list(tmp_path.glob("*.pdf"))) == 1


def test_hostile_text_is_drawn_as_text(tmp_path):
    figures = plot_strip(hostile_trace(), title="$x_1^{2$")
    words = "".join(words_of(figures[0]))
    assert "$x_1^{2$" in words and "<img src=x onerror=window.PWNED=1>" in words
    assert "[U+202E]evil" in words and "\u202e" not in words
    svg = save_traces(hostile_trace(), tmp_path / "a.svg").read_text(encoding="utf-8")
    elements = {tag for tag, _ in Reader(svg).elements}
    assert not elements & {"script", "img", "image", "a", "foreignobject"}
    assert len(HOSTILE) > 20


def test_right_to_left_text_starts_at_the_right():
    (figure,) = plot_strip(make_trace(["שלום", " עולם", " טוב"], replaced_every=9))
    places = {text.get_text().strip(): text.get_position()[0] for text in figure.axes[0].texts}
    assert places["שלום"] > places["עולם"] > places["טוב"]


def test_a_what_if_picture_says_what_is_not_certain():
    trace = make_trace([f" w{i}" for i in range(12)], replaced_every=4)
    found = skd.redecide(trace, 4000)
    (figure,) = plot_strip(trace, k=4000)
    words = " ".join(words_of(figure))
    assert f"What if K = 4000: 0 of 12 refused; not certain behind token {found.fork}" in words
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert len(hatched) == 12 - found.fork - 1 + 1  # and the legend's
