"""The strip while a text is written, with bad values, steered by a host or a link, in a browser."""

import pytest
import strip_pages
from strip_pages import KEEP, KEPT, MARKS, focused
from synthetic import hostile_trace, make_trace

from skd_lab.records import dumps_traces
from skd_lab.views import render_strip

pytestmark = MARKS
chromium, host, show = strip_pages.chromium, strip_pages.host, strip_pages.show


def lines_of(trace):
    return dumps_traces([trace]).splitlines(keepends=True)


def test_a_growing_text_keeps_nodes_focus_pin_and_card(host):
    trace = make_trace()
    lines = lines_of(trace)
    made = host("".join(lines[:12]), streaming=True)
    made.page.locator(".tok").nth(5).click()
    made.page.evaluate(KEEP)
    for end in range(13, len(lines) + 1):
        made.give(value="".join(lines[:end]))
    assert made.page.locator(".tok").count() == len(trace.tokens)
    assert made.page.evaluate(KEPT) and focused(made.page) == 5
    assert made.page.locator(".card .number").inner_text() == "#5"
    assert made.page.locator(".card .pinned").count() == 1
    made.give(streaming=False)
    counts = [trace.accepted, trace.replaced, trace.discarded]
    assert (
        made.page.locator(".sum")
        .inner_text()
        .startswith("{} accepted + {} replaced + {} discarded".format(*counts))
    )


def test_a_streamed_text_is_the_same_as_one_given_whole(host):
    trace = hostile_trace()
    read = """() => [...document.querySelector('div').shadowRoot.querySelectorAll('.tok')].map(
      (one) => [one.className, one.textContent, one.getAttribute('aria-label')])"""
    whole = host(trace).page.evaluate(read)
    text = dumps_traces([trace])
    made = host(text[:10], streaming=True)
    for end in range(10, len(text) + 700, 700):  # anywhere in a line
        made.give(value=text[:end])
    assert made.page.evaluate(read) == whole


def test_half_a_line_waits_until_it_is_whole(host):
    lines = lines_of(make_trace([" a", " b", " c"]))
    made = host("".join(lines[:2]) + lines[2][:40], streaming=True)
    assert made.page.locator(".tok").count() == 1 and made.page.locator(".note").count() == 0
    made.give(value="".join(lines[:3]))
    assert made.page.locator(".tok").count() == 2


def test_a_cut_last_line_of_a_page_is_named(show):
    lines = lines_of(make_trace([" a", " b", " c"]))
    cut = strip_pages.page_of("".join(lines[:3]) + lines[3][:-30])
    page = show(cut)
    assert page.locator(".note").inner_text() == "The last line was cut off and is left out."
    assert page.locator(".tok").count() == 2


def test_a_character_completed_by_a_later_token_appears_where_it_starts(host):
    trace = make_trace(["x"] * 4)
    for token, raw in zip(trace.tokens, (b"a\xf0\x9f", b"\x98", b"\x80b", b" c"), strict=True):
        token.update(kept="\ufffd", kept_bytes=raw.hex())
    lines = lines_of(trace)
    made = host("".join(lines[:3]), streaming=True)
    assert made.page.locator(".tok").all_inner_texts() == ["a<0xF0><0x9F>", "<0x98>"]
    made.page.evaluate(KEEP)
    made.give(value="".join(lines))
    texts = made.page.locator(".tok").all_inner_texts()
    assert texts == ["a\U0001f600", "<0x98>", "<0x80>b", " c"]
    assert made.page.evaluate(KEPT)


def test_a_second_trace_is_appended_below(host):
    first, second = make_trace([" a", " b"]), make_trace([" c"], step=9)
    made = host(dumps_traces([first]), streaming=True)
    made.page.evaluate(KEEP)
    made.give(value=dumps_traces([first, second]))
    assert made.page.locator(".strip").count() == 2 and made.page.evaluate(KEPT)
    assert made.page.locator(".main > :last-child").get_attribute("class") == "keys"


def test_a_new_run_takes_the_place_of_the_old_one_and_focus_stays_in_the_strip(host):
    made = host(make_trace())
    made.page.locator(".tok").nth(20).click()
    made.give(value=make_trace([" other"] * 30))
    assert focused(made.page) == 20
    made.give(value=make_trace([" short"]))
    assert focused(made.page) == 0 and made.page.locator(".tok").count() == 1


@pytest.mark.parametrize("bad", [{"a": 1}, 5, ["x"], True])
def test_a_value_that_is_no_text_is_a_sentence_and_the_next_is_drawn(host, bad):
    made = host(make_trace([" a"]))
    made.give(value=bad)
    assert "could not be drawn: its value must be NDJSON text" in (
        made.page.locator(".note").inner_text()
    )
    made.give(value=make_trace([" b", " c"]))
    assert made.page.locator(".tok").count() == 2 and made.page.locator(".note").count() == 0


@pytest.mark.parametrize(
    "bad",
    [
        "\\u{zz}",
        "not json\n" * 3,
        '{"schema": "skd-trace/1"}\n'
        '{"i": 0, "kept": "x", "student_top": 5, "discarded": {}}\nnull\n',
        '{"schema": "skd-trace/1", "accept_top_k": "many", "vocab_size": -1, "policies": 7}\n'
        '{"i": 0, "kept": "x", "teacher_rank": 2, "source": "student", "kept_bytes": 3}\n',
        '[1, 2]\n{"schema": null}\n',
    ],
)
def test_damaged_text_never_blanks_the_strip_for_good(host, bad):
    made = host(make_trace([" a"]))
    made.give(value=bad)
    assert made.page.locator(".note, .tok").count() > 0
    made.give(value=make_trace([" b", " c"]))
    assert made.page.locator(".tok").count() == 2


def test_what_is_said_of_an_empty_value(host):
    made = host("", streaming=True)
    assert made.page.locator(".note").inner_text() == "Waiting for the first token."
    made.give(streaming=False)
    assert "no trace to show" in made.page.locator(".note").inner_text()


def test_the_status_line_speaks_at_most_every_two_seconds(host):
    lines = lines_of(make_trace())
    made = host("".join(lines[:5]), streaming=True)
    said = made.page.locator("[role=status].spoken")
    first = said.inner_text()
    assert first == "4 tokens, 0 replaced, still writing"
    for end in range(6, len(lines) + 1):
        made.give(value="".join(lines[:end]))
    assert said.inner_text() == first
    made.give(streaming=False)
    assert said.inner_text() == "36 tokens, 6 replaced"


# --- events and props ---


def test_pins_are_events(host):
    made = host(make_trace())
    made.page.locator(".tok").nth(3).click()
    made.page.keyboard.press("Escape")
    assert made.events("pick") == [{"trace": 0, "i": 3}] and made.events("unpick") == [{}]


def test_a_host_can_select_a_token(host):
    made = host(make_trace(), selected=[0, 5])
    assert made.page.locator(".card .number").inner_text() == "#5"
    made.give(selected="0:7")
    assert made.page.locator(".card .number").inner_text() == "#7"
    made.give(selected=[4, 1])
    assert made.page.locator(".card .number").inner_text() == "#7"


def test_branching_from_a_token_of_either_model(host):
    made = host(make_trace(), actions=["branch"])
    token = make_trace().tokens[5]
    made.page.locator(".tok").nth(5).focus()
    made.page.keyboard.press("b")
    made.page.locator(".duel .refused .branch").click()
    made.page.locator(".duel .kept .branch").click()
    first, second = made.events("branch")
    assert first == {"trace": 0, "i": 5, "who": "student", "token_id": token["proposed_id"]}
    assert second == {"trace": 0, "i": 5, "who": "teacher", "token_id": token["kept_id"]}
    assert host(make_trace()).page.locator(".branch").count() == 0


def test_the_card_expands_to_twenty_and_stays_so(host):
    made = host(make_trace([f" w{i}" for i in range(30)]))
    made.page.locator(".tok").nth(2).click()
    few = made.page.locator(".duel tbody tr:not(.line)").count()
    made.page.get_by_role("button", name="Show the top 20").click()
    assert made.page.locator(".duel tbody tr:not(.line)").count() == 20 > few
    assert (
        made.page.evaluate("document.querySelector('div').shadowRoot.activeElement.className")
        == "wider"
    )
    made.page.locator(".tok").nth(4).click()
    assert made.page.locator(".duel tbody tr:not(.line)").count() == 20


def test_a_link_brings_the_view_back(show):
    view = render_strip(make_trace(), title="Link")
    page = show(view)
    page.locator(".dial input").focus()
    page.keyboard.press("Home")
    page.locator(".pick select").select_option("kl")
    page.locator(".tok").nth(8).click()
    address = page.evaluate("location.hash")
    assert address == "#k=1&colour=kl&trace=0&i=8"
    page.reload()
    assert page.locator(".knob .value").inner_text() == "K = 1"
    assert page.locator(".pick select").input_value() == "kl"
    assert page.locator(".card .number").inner_text() == "#8"


def test_the_address_of_a_host_is_left_alone(host, tmp_path):
    empty = tmp_path / "empty.html"
    empty.write_text("<!DOCTYPE html><body></body>")
    page = host(make_trace()).page
    page.goto(f"{empty.as_uri()}#watch")
    strip_pages.Host(page, make_trace(), permalink=True)
    page.locator(".tok").nth(3).click()
    assert page.evaluate("location.hash") == "#watch?trace=0&i=3"
    page.evaluate("location.hash = '#runs'")
    page.locator(".tok").nth(4).click()
    assert page.evaluate("location.hash") == "#runs"


def test_records_that_break_the_drawing_can_still_be_saved(host):
    made = host(make_trace([" a"]))
    # something that no record can do by itself: a browser without a part that the strip needs
    made.page.evaluate(
        "() => { document.createDocumentFragment = () => { throw new Error('gone'); }; }"
    )
    made.give(value=make_trace([" b"]))
    assert made.page.locator(".note").inner_text() == "The strip could not be drawn: gone"
    with made.page.expect_download() as waiting:
        made.page.get_by_role("button", name="Save the records").click()
    assert waiting.value.suggested_filename == "strip.ndjson"
