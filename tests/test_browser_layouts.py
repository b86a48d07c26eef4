"""The strip in other layouts, in guessing mode, by keys alone and on a phone, in a browser."""

import json
import re

import pytest
import strip_pages
from strip_pages import KEEP, KEPT, MARKS, PHONE, focused
from synthetic import HOSTILE, make_trace

from skd_lab.records import dumps_traces

pytestmark = MARKS
chromium, host, show = strip_pages.chromium, strip_pages.host, strip_pages.show


def test_layouts_are_views_of_the_same_nodes(host):
    made = host(make_trace([" a", " b", " c", " d"], replaced_every=4))
    made.page.evaluate(KEEP)
    token = made.page.locator(".tok.replaced")
    inline = token.bounding_box()["height"]
    made.page.get_by_role("radio", name="Stacked").check(force=True)
    kept, refused = token.locator(".ins").bounding_box(), token.locator(".del").bounding_box()
    assert refused["y"] + refused["height"] <= kept["y"] + 1
    assert token.bounding_box()["height"] > inline
    made.page.get_by_role("radio", name="Plain").check(force=True)
    assert made.page.locator(".strip").inner_text() == " a b c d"
    assert made.page.evaluate(KEPT)
    assert made.events("view_change")[-1] == {"colour": "rank", "layout": "plain"}


def test_the_table_says_everything_in_words(host):
    trace = make_trace(replaced_every=5)
    made = host(trace, layout="table")
    assert not made.page.locator(".strip").is_visible()
    rows = made.page.locator(".sheet tbody tr")
    assert rows.count() == len(trace.tokens)
    token = trace.tokens[4]
    cells = [text.strip() for text in rows.nth(4).locator("td").all_inner_texts()]
    assert cells[:4] == [
        token["kept"].strip(),
        token["proposed"].strip(),
        "replaced",
        str(token["teacher_rank"]),
    ]
    assert cells[-1] == str(token["block"])
    made.give(k=4000)
    assert {*rows.locator("td:nth-child(4)").all_inner_texts()} == {
        "accepted",
        "accepted, uncertain",
    }


def test_one_line_strips_for_many_under_each_other(host):
    made = host(make_trace(), compact=True, controls=False)
    assert made.page.locator(".controls").count() == 0
    assert not made.page.locator(".legend").is_visible()
    boxes = made.page.locator(".tok").evaluate_all("all => all.map(o => o.getClientRects()[0].top)")
    assert len({round(top) for top in boxes}) == 1


def test_where_two_texts_part_is_marked_and_spoken(host):
    trace = make_trace()
    trace.header.update(diverges_at=4, label="K = 1")
    page = host(trace).page
    assert page.locator(".name").inner_text() == "K = 1"
    assert page.locator(".tok.parting").get_attribute("data-place") == "4"
    assert page.locator(".tok").nth(4).get_attribute("aria-label").startswith("here the texts part")


# --- guessing ---


def test_guessing_hides_verdicts_until_they_are_revealed(host):
    trace = make_trace(replaced_every=6)
    made = host(trace)
    made.page.get_by_role("button", name="Guess first").click()
    assert made.page.locator(".del, .ins, .tok.replaced, .tok.r1").count() == 0
    assert not made.page.locator(".legend").is_visible()
    names = made.page.locator(".tok").evaluate_all("a => a.map(o => o.getAttribute('aria-label'))")
    assert not any("refused" in name or "rank" in name for name in names)
    shown = made.page.locator(".tok").all_inner_texts()
    assert [text.strip() for text in shown] == [token["proposed"].strip() for token in trace.tokens]
    for place in (5, 7, 11):
        made.page.locator(".tok").nth(place).click()
    made.page.locator(".tok").nth(8).focus()
    made.page.keyboard.press("Enter")
    made.page.keyboard.press("Enter")  # marked and taken back
    assert made.page.locator(".card .number").count() == 0
    made.page.get_by_role("button", name="Reveal").click()
    assert made.events("guess") == [{"trace": 0, "found": 2, "missed": 4, "wrong": 1}]
    result = made.page.locator(".result").inner_text()
    assert result.startswith("You found 2 of 6 refusals, and marked 1 that stood.")
    assert made.page.locator(".tok.marked").count() == 3
    assert made.page.locator(".tok.replaced").count() == trace.replaced


# --- what a screen reader and a keyboard meet ---


def test_three_hundred_tokens_are_three_hundred_named_options(host):
    trace = make_trace([f" word{i}" for i in range(300)])
    page = host(trace).page
    options = page.locator(".strip").get_by_role("option")
    assert options.count() == 300
    name = re.compile("^token 7: space word7, accepted, teacher rank [0-9]+, student [0-9.]+%$")
    assert page.get_by_role("option", name=name).count() == 1
    assert page.get_by_role("listbox", name="Tokens of skd · before training").count() == 1
    assert page.get_by_role("slider", name=re.compile("^K: the teacher keeps")).count() == 1
    assert page.locator("[tabindex='0'].tok").count() == 1


def test_everything_can_be_done_by_keys_alone(host):
    made = host(make_trace(replaced_every=5), actions=["branch"])
    page = made.page
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                """() => { const one = document.querySelector('div').shadowRoot.activeElement;
                  return one && (one.type ?? one.className ?? one.tagName); }"""
            )
        )
        if focused(page) is not None:
            break
    assert "range" in seen and "select-one" in seen and "radio" in seen and "submit" not in seen
    page.keyboard.press("n")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    assert len(made.events("branch")) == 1
    page.keyboard.press("Escape")
    assert focused(page) == 4
    page.keyboard.press("?")
    assert page.locator(".keys").evaluate("one => one.open")


def test_hostile_text_in_every_field_of_a_header_stays_text(host):
    trace = make_trace([" a"])
    text = "".join(HOSTILE)
    for name in ("prompt", "method", "student", "teacher", "label", "note", "run"):
        trace.header[name] = text
    page = host(json.loads(json.dumps(dumps_traces([trace]))), title=text).page
    assert page.evaluate("window.PWNED === undefined")
    assert page.locator("img, script, iframe").count() == 0
    assert "\u202e" not in page.locator(".main").inner_text()


@pytest.mark.parametrize("layout", ["inline", "stacked", "plain", "table"])
def test_nothing_is_wider_than_a_phone(host, layout):
    page = host(
        make_trace(["a" * 90, *[f" word{i}" for i in range(80)]]), PHONE, layout=layout
    ).page
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_arabic_letters_join_across_tokens(host):
    joined = host(make_trace(["مرحبا"]), PHONE).page.locator(".tok")
    alone = joined.bounding_box()["width"]
    parts = host(make_trace(["مر", "حب", "ا"]), PHONE).page.locator(".tok")
    together = sum(parts.nth(n).bounding_box()["width"] for n in range(3))
    assert together == pytest.approx(alone, abs=0.6)
