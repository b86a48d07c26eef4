"""A page with strips: hostile text, counts, the card, keys, two of them."""

import json
import re
import shutil
import subprocess

import pytest
import strip_pages
from strip_pages import MARKS, focused
from synthetic import HOSTILE, hostile_trace, make_trace

from skd_lab.views import render_strip
from skd_lab.views.page import Fragment
from skd_lab.views.strip import boot_script, strip_body, strip_markup

pytestmark = MARKS
chromium, host, show = strip_pages.chromium, strip_pages.host, strip_pages.show


def test_no_hostile_text_runs_or_breaks_the_page(show):
    page = show(render_strip(hostile_trace(), title="".join(HOSTILE[:21])))
    tokens = page.locator(".tok")
    assert tokens.count() == 2 * len(HOSTILE) >= 40
    cards = page.evaluate(CARDS)
    assert [card[0] for card in cards] == [f"#{place}" for place in range(tokens.count())]
    found = page.evaluate(
        """() => {
          const root = document.querySelector("[data-skd-strip]").shadowRoot;
          const bad = root.querySelectorAll("img, script, iframe, a, [onerror], [onmouseover]");
          return [window.PWNED === undefined, bad.length, root.querySelectorAll("style").length];
        }"""
    )
    assert found == [True, 0, 1]
    text = page.locator(".strip").inner_text()
    for hostile in (
        "<img src=x onerror=window.PWNED=1>",
        "{{window.PWNED=5}}",
        "\\u{zz}",
        "&lt;b&gt;",
    ):
        assert hostile in text
    assert "U+202E" in text and not re.search("[\u202e\u2066\u2028\u200b\x07]", text)


def test_hostile_text_stays_text_without_scripts(show):
    page = show(render_strip(hostile_trace()), java_script_enabled=False)
    assert page.locator("pre del").count() == len(HOSTILE)
    assert page.locator("img, pre script, pre style").count() == 0
    assert "<img src=x onerror=window.PWNED=1>" in page.locator("pre").inner_text()


def test_without_scripts_the_text_and_its_refusals_are_read(show):
    trace = make_trace([" a", " b", " c", " d"], replaced_every=4)
    page = show(render_strip(trace, title="Read me"), java_script_enabled=False)
    assert page.locator("pre").inner_text() == " a b c c d"
    assert page.locator("del").inner_text() == " c" and page.locator("ins").inner_text() == " d"
    assert page.locator("h2").inner_text() == "Read me"


def test_counts_add_up_and_are_the_records(show):
    trace = make_trace(replaced_every=5)
    page = show(render_strip(trace))
    counts = [trace.accepted, trace.replaced, trace.discarded]
    assert counts[0] + counts[1] == len(trace.tokens) and min(counts) > 0
    line = page.locator(".sum").inner_text()
    assert [int(n) for n in re.findall(r"\d+", line)[:4]] == [*counts, sum(counts)]
    assert page.locator(".tok.replaced").count() == trace.replaced
    shown = page.locator(".legend button").evaluate_all(
        "all => all.map(one => [one.dataset.only, Number(one.querySelector('b').textContent)])"
    )
    shown = dict(shown)
    assert shown.pop("replaced") == counts[1] and shown.pop("discarded") == counts[2]
    assert sum(shown.values()) == counts[0]
    ranks = [token["teacher_rank"] for token in trace.tokens if token["source"] == "student"]
    assert shown["r1"] == ranks.count(1)


CARDS = """() => {
  const root = document.querySelector("[data-skd-strip]").shadowRoot;
  return [...root.querySelectorAll(".tok")].map((token) => {
    token.dispatchEvent(new PointerEvent("pointerover", { bubbles: true, pointerType: "mouse" }));
    root.querySelectorAll(".card .spoken").forEach((node) => node.remove());
    const text = (name) => [...root.querySelectorAll(name)].map((node) => node.textContent);
    return [text(".card .number")[0], text(".card .top .word > *"),
            text(".duel td.token > span")];
  });
}"""


def test_the_card_of_token_i_names_token_i(show):
    trace = make_trace([f" word{i}" for i in range(40)], replaced_every=7)
    page = show(render_strip(trace))
    page.locator(".tok").nth(3).hover()
    assert page.locator(".card .number").inner_text() == "#3"
    for place, (number, words, rows) in enumerate(page.evaluate(CARDS)):
        token = trace.tokens[place]
        assert number == f"#{place}"
        refused = place % 7 == 6
        assert words == ([token["proposed"]] if refused else []) + [token["kept"]]
        both = token["student_top"][:5] + token["teacher_top"][:5]
        assert {text for _, text, _ in both} <= set(rows)


def test_the_card_says_why(show):
    trace = make_trace([" a", " b"], replaced_every=2)
    trace.tokens[0].update(teacher_rank=2, p_student=0.25)
    trace.tokens[1].update(teacher_rank=27, proposed_p_student=0.449, p_teacher=0.45)
    page = show(render_strip(trace))
    page.locator(".tok").nth(0).hover()
    assert page.locator(".verdict").inner_text() == (
        "Accepted. The student proposed  a (25.0%); that is the teacher’s 2nd choice (K = 3)."
    )
    page.locator(".tok").nth(1).hover()
    assert page.locator(".verdict").inner_text() == (
        "Refused. The student proposed  b (44.9%); that is the teacher’s 27th choice, beyond "
        "K = 3. The teacher wrote  b instead, which it holds to be 45.0% likely."
    ).replace("proposed  b", f"proposed {trace.tokens[1]['proposed']}")


def test_both_models_bars_have_one_scale(show):
    trace = make_trace([" a"])
    trace.tokens[0].update(
        student_top=[[0, " a", 0.4], [1, " x", 0.2]], teacher_top=[[0, " a", 0.2], [2, " y", 0.1]]
    )
    page = show(render_strip(trace))
    page.locator(".tok").hover()
    width = {
        (row, side): page.locator(f".duel tbody tr:nth-child({row}) .{side} .bar").bounding_box()[
            "width"
        ]
        for row, side in ((1, "left"), (1, "right"), (2, "right"))
    }
    assert width[1, "left"] == pytest.approx(2 * width[1, "right"], rel=0.02)
    assert width[1, "right"] == pytest.approx(2 * width[2, "right"], rel=0.02)
    unseen = page.locator(".duel tbody tr", has_text="y").locator(".left").inner_text()
    assert unseen == "<20.0%"  # below the student's last recorded token


def test_the_keyboard_walks_the_text(show):
    page = show(render_strip(make_trace(replaced_every=5)))
    page.locator(".legend button:visible").last.focus()
    page.keyboard.press("Tab")
    assert focused(page) == 0
    walk = [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("n", 4), ("n", 9), ("p", 4)]
    walk += [("]", 5), ("[", 4), ("End", 35), ("ArrowRight", 35), ("Home", 0), ("ArrowLeft", 0)]
    for key, place in walk:
        page.keyboard.press(key)
        assert focused(page) == place, key
        assert page.locator(".card .number").inner_text() == f"#{place}"
    assert page.locator(".tok[tabindex='0']").count() == 1
    assert page.locator(".tok[aria-selected='true']").count() == 1
    page.keyboard.press("ArrowDown")
    assert focused(page) > 5  # the line below
    page.keyboard.press("ArrowUp")
    assert focused(page) < 5


def test_enter_pins_and_escape_lets_go(show):
    page = show(render_strip(make_trace()))
    page.locator(".tok").nth(3).focus()
    page.keyboard.press("Enter")
    page.locator(".tok").nth(8).hover()
    assert page.locator(".card .number").inner_text() == "#3"
    page.keyboard.press("Escape")
    assert page.locator(".card .empty").is_visible()
    page.locator(".tok").nth(9).hover()
    assert page.locator(".card .number").inner_text() == "#9"


def test_right_to_left_text_turns_the_arrows(show):
    page = show(render_strip(make_trace(["שלום", " עולם", " טוב"])))
    assert page.locator(".strip").get_attribute("dir") == "rtl"
    page.locator(".tok").first.focus()
    page.keyboard.press("ArrowLeft")
    assert focused(page) == 1
    page.keyboard.press("ArrowRight")
    assert focused(page) == 0


def test_two_strips_on_a_page_do_not_interfere(show):
    first, second = make_trace([" a", " b", " c"]), make_trace([" d", " e"])
    once = Fragment("t", strip_markup([first]) + strip_markup([second]), script=boot_script())
    page = show(once)
    hosts = page.locator("[data-skd-strip]")
    hosts.nth(0).locator(".tok").nth(2).click()
    hosts.nth(1).locator(".tok").nth(1).hover()
    assert hosts.nth(0).locator(".card .number").inner_text() == "#2"
    assert hosts.nth(1).locator(".card .number").inner_text() == "#1"
    page.evaluate(boot_script())  # as a notebook does with every further output
    assert page.locator(".strip").count() == 2 and page.locator(".tok").count() == 5


def test_two_traces_share_one_card(show):
    page = show(
        render_strip([make_trace([" a", " b"]), make_trace([" c", " d"], step=9)], title="T")
    )
    assert page.locator(".name").all_inner_texts() == [
        "skd · before training",
        "skd · after step 9",
    ]
    assert page.locator(".card").count() == 1
    page.locator(".strip").nth(1).locator(".tok").nth(1).hover()
    assert page.locator(".card .word").inner_text().strip() == "d"
    assert page.locator(".tok[aria-selected='true']").count() == 1


def test_the_script_parses_in_node():
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on the path")
    source = f"new Function('element', 'props', 'trigger', 'watch', {json.dumps(strip_body())})"
    subprocess.run([node, "-e", source], check=True, timeout=60)
