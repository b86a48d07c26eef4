"""How the strip looks and sounds: characters, screen readers, phones, colours, long texts."""

import json

import pytest
import strip_pages
from strip_pages import MARKS, PHONE, WIDE, page_of
from synthetic import make_trace

from skd_lab.records import dumps_traces
from skd_lab.views import render_strip
from skd_lab.views.strip import strip_body

pytestmark = MARKS
chromium, host, show = strip_pages.chromium, strip_pages.host, strip_pages.show


def test_a_character_split_over_tokens(show):
    trace = make_trace(["x"] * 4)
    for token, raw in zip(trace.tokens, (b"a\xf0\x9f", b"\x98", b"\x80b", b"\xff"), strict=True):
        token.update(kept="\ufffd", kept_bytes=raw.hex())
    page = show(render_strip(trace))
    assert page.locator(".tok").all_inner_texts() == ["a\U0001f600", "<0x98>", "<0x80>b", "<0xFF>"]


def test_white_space_is_seen_and_kept(show):
    page = show(render_strip(make_trace(["a", " b", "\n", "\tc", "\u00a0"])))
    assert page.locator(".strip").evaluate("node => node.textContent") == "a b\n\tcU+00A0"
    signs = "node => getComputedStyle(node, '::before').content"
    assert "\u23ce" in page.locator(".strip .nl").evaluate(signs)
    assert "\u21e5" in page.locator(".strip .tab").evaluate(signs)
    dot = page.locator(".strip .sp").evaluate("node => getComputedStyle(node).backgroundImage")
    assert "radial-gradient" in dot
    first, second = (page.locator(".tok").nth(n).bounding_box()["y"] for n in (0, 3))
    assert second > first + 10  # the newline breaks the line


def test_screen_readers_hear_tokens_and_refusals(show):
    trace = make_trace([" a", "\n", "\u202e", " d"], replaced_every=4)
    page = show(render_strip(trace))
    names = page.locator("[role=listbox] [role=option]").evaluate_all(
        "all => all.map(one => one.getAttribute('aria-label'))"
    )
    assert names[0].startswith("token 0: space a, accepted, teacher rank ")
    assert names[1].startswith("token 1: newline, ") and names[2].startswith("token 2: U+202E, ")
    assert names[3].startswith("token 3: space d, in place of the refused U+202E, teacher rank ")


def test_the_legend_picks_out_and_shows_the_discarded(show):
    page = show(render_strip(make_trace(replaced_every=5)))
    button = page.locator(".legend button[data-only=replaced]")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    faint = page.locator(".tok").evaluate_all(
        "all => all.filter(o => getComputedStyle(o).opacity < 1).length"
    )
    assert faint == 36 - 7
    button.click()
    assert page.locator(".strip.filtered").count() == 0
    assert not page.locator(".ghosts").first.is_visible()
    page.locator(".legend button[data-only=discarded]").click()
    assert page.locator(".ghosts").first.is_visible()


def test_the_card_hides_no_text_on_a_wide_page(show):
    page = show(render_strip(make_trace([f" word{i}" for i in range(300)])))
    page.locator(".tok").nth(250).hover()
    card, strip = (page.locator(name).bounding_box() for name in (".card", ".strip"))
    assert card["x"] >= strip["x"] + strip["width"]
    assert 0 <= card["y"] and card["y"] + card["height"] <= WIDE["height"]


def test_a_phone_gets_a_sheet_below_the_token(show):
    page = show(
        render_strip(make_trace([f" word{i}" for i in range(300)])), viewport=PHONE, has_touch=True
    )
    assert not page.locator(".card").is_visible()
    page.locator(".tok").nth(120).tap()
    card, token = page.locator(".card").bounding_box(), page.locator(".tok").nth(120).bounding_box()
    assert card["y"] + card["height"] == pytest.approx(PHONE["height"], abs=1)
    assert 0 <= token["y"] and token["y"] + token["height"] <= card["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_role("button", name="Close the card").tap()
    assert not page.locator(".card").is_visible()


def test_a_refusal_shows_in_forced_colours_and_dark(show):
    style = """node => {
      const style = getComputedStyle(node);
      return [style.textDecorationLine, style.borderBottomStyle];
    }"""
    page = show(render_strip(make_trace()), forced_colors="active")
    assert page.locator(".tok.replaced").first.evaluate(style)[1] == "double"
    assert page.locator(".del").first.evaluate(style)[0] == "line-through"
    page = show(render_strip(make_trace()), color_scheme="dark")
    assert page.locator(".skd").get_attribute("data-theme") == "dark"
    page.evaluate("document.body.style.background = 'white'")
    page.wait_for_function(
        "document.querySelector('[data-skd-strip]').shadowRoot.querySelector('[data-theme=light]')"
    )


def test_a_damaged_line_is_named_and_the_rest_is_shown(show):
    lines = dumps_traces([make_trace([" a", " b", " c"])]).splitlines()
    page = show(page_of("\n".join([lines[0], lines[1], lines[2][:-9], lines[3]])))
    assert page.locator(".note").all_inner_texts() == ["Line 3 is damaged and left out."]
    assert [text.strip() for text in page.locator(".tok").all_inner_texts()] == ["a", "c"]
    page = show(page_of(json.dumps({"schema": "skd-trace/9"})))
    assert "schema skd-trace/9 is not skd-trace/1" in page.locator(".note").first.inner_text()
    assert "no trace to show" in show(page_of("")).locator(".note").inner_text()


def test_the_frame_shows_a_strip_too(chromium):
    page = chromium.new_page()
    page.set_content(render_strip(make_trace([" a", " b"])).iframe()._repr_html_())
    assert page.frame_locator("iframe").locator(".tok").count() == 2
    page.close()


def test_a_long_text_is_drawn_in_pages(show):
    trace = make_trace(["a"] * 5200)
    for token in trace.tokens:
        token.update(student_top=[], teacher_top=[])
    page = show(render_strip(trace))
    assert page.locator(".tok").count() == 5000
    page.locator(".more").click()
    assert page.locator(".tok").count() == 5200 and page.locator(".more").count() == 0


@pytest.mark.parametrize("work", ["build", "colour", "k"])
def test_three_hundred_tokens_are_built_and_recoloured_in_50_ms(chromium, work):
    page = chromium.new_page()
    texts = [f" word{i}" for i in range(300)]
    spent = page.evaluate(
        """([body, value, work]) => {
          const render = new Function("element", "props", "trigger", "watch", body), spent = [];
          while (spent.length < 60 && !(spent.at(-1) < 50)) { // other work on the machine only adds
            const host = document.createElement("div"), props = { value }, watchers = {};
            document.body.replaceChildren(host);
            let start = performance.now();
            render(host, props, () => {}, (name, f) => { watchers[name] = f; });
            if (work !== "build") {
              props[work] = work === "k" ? 1 : "kl";
              start = performance.now();
              watchers[work]();
            }
            spent.push(performance.now() - start);
          }
          return spent;
        }""",
        [strip_body(), dumps_traces([make_trace(texts)]), work],
    )
    page.close()
    assert min(spent) < 50, spent


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "state", ["card", "what if", "table", "stacked", "menu", "guess", "kl", "lossless", "phone"]
)
def test_axe_finds_nothing_serious(show, scheme, state):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    trace = make_trace(accept_top_k=40)
    if state == "lossless":
        trace.header["rule"] = "lossless"
    layout = state if state in ("table", "stacked") else "inline"
    view = render_strip(
        [trace, make_trace(step=9)],
        title="A strip",
        k=2 if state == "what if" else None,
        colour="kl" if state == "kl" else "rank",
        layout=layout,
    )
    page = show(view, color_scheme=scheme, viewport=PHONE if state == "phone" else WIDE)
    if state == "menu":
        page.locator(".menu summary").click()
    elif state == "guess":
        page.get_by_role("button", name="Guess first").click()
    elif state != "table":
        page.locator(".tok.replaced").first.click()
    found = axe.Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []
