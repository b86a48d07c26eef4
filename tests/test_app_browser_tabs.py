"""The app's other tabs in a browser: stepping, comparing, branching, judging, drafting."""

import re

import app_pages
import pytest
from app_pages import MARKS, PHONE, button, choose, said, settled

from skd_lab.app import blocks
from skd_lab.app.comparing import MODES

pytestmark = MARKS
browser, url, visit = app_pages.browser, app_pages.url, app_pages.visit
ADDRESSES = ["watch", "step", "compare", "branch", "paste", "draft"]


def step_line(page):
    return page.locator(".said:visible").inner_text()


def test_stepping_shows_proposal_verdict_and_what_is_kept(visit):
    page = visit("step")
    assert step_line(page).startswith("The student proposes")
    seen = []
    for _ in range(8):
        page.get_by_label("One step on").click()
        seen.append(step_line(page).split(".")[0].split(" ")[0])
    assert seen[:5] == ["Kept", "Kept", "Kept", "Refused", "The"]  # the fourth is refused
    page.get_by_label("First step").click()
    assert page.get_by_label("First step").is_disabled()
    page.locator("input[type=range]:visible").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert step_line(page).startswith("Refused.")
    assert page.locator(".draft.refused:visible").count() == 1
    assert page.locator(".draft:visible").count() == 5  # three kept, one refused, one behind it
    page.keyboard.press("ArrowRight")
    assert step_line(page).startswith("The teacher writes")
    assert page.locator(".draft.gone:visible").count() == 1
    page.keyboard.press("End")
    counts = [int(text) for text in page.locator(".tally dd:visible").all_inner_texts()]
    assert counts[0] == counts[1] + counts[2] == 36 and counts[2] == counts[3] == counts[4] == 9


def test_it_plays_by_itself_and_pauses(visit):
    page = visit("step")
    page.locator("select:visible").select_option("5")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(
        """() => [...document.querySelectorAll('div')].some((node) =>
          Number(node.shadowRoot?.querySelector('.count')?.textContent.match(/\\d+/)?.[0]) >= 3)"""
    )
    page.get_by_role("button", name="Pause").click()
    now = page.locator(".count:visible").inner_text()
    page.wait_for_timeout(700)
    assert page.locator(".count:visible").inner_text() == now


def test_a_recording_is_chosen_and_hostile_text_stays_text(visit):
    page = visit("step")
    choose(page, "Recording", "after training step 40")
    page.get_by_text(re.compile("Step 1 of (3|4)")).wait_for()
    choose(page, "Run", "hostile")
    page.get_by_text("Step 1 of 1").wait_for()
    page.locator("input[type=range]:visible").focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("window.PWNED") is None
    assert "<img src=x onerror=window.PWNED=1>" in page.locator(".sofar:visible").inner_text()


def test_compared_texts_are_marked_where_they_part(visit):
    page = visit("compare")
    button(page, "Run").click()
    page.get_by_text(re.compile(r"^Text 2 (parts|is the same)")).wait_for()
    names = page.locator(".name:visible").all_inner_texts()
    assert names[0].startswith("K = 1:") and names[1] == "K = 3"
    page.get_by_label(MODES[1]).check()
    page.get_by_label("Reference answer").fill("")
    button(page, "Run").click()
    said(page, "a reference answer, and that box is empty")
    button(page, "New example").click()
    page.wait_for_function(
        """() => [...document.querySelectorAll('textarea')].some(
          (one) => one.labels?.[0]?.textContent.includes('Reference') && one.value.length > 9)"""
    )
    button(page, "Run").click()
    page.locator(".name:visible").get_by_text("Supervised: the reference answer").wait_for()
    page.get_by_label(MODES[3]).check()
    button(page, "Run").click()
    said(page, "Choose two different students")


def test_three_roads_leave_a_refused_token(visit):
    page = visit("branch")
    said(page, "Choose a refused token in the list")
    choose(page, "Run", "recorded:")
    page.wait_for_timeout(500)
    first = page.locator(".tok.replaced:visible").first
    first.click()
    place = page.locator(".card .number:visible").first.inner_text().removeprefix("#")
    page.wait_for_function(
        """(place) => document.querySelector('input[aria-label="Refused token"]')
          .value.startsWith(place + ':')""",
        arg=place,
    )
    button(page, "Show the three roads").click()
    said(page, "Each road is judged by the teacher.")
    names = page.locator(".name:visible").all_inner_texts()
    assert names[-3:] == [
        "What was kept",
        "What the student would have said",
        "What the teacher alone would have said",
    ]
    cards = page.locator(".card:visible")
    assert cards.count() == 2  # two strips on a page, each with its own card
    before = cards.nth(0).inner_text()
    page.locator(".tok:visible").last.hover()
    assert cards.nth(0).inner_text() == before != cards.nth(1).inner_text()


def test_a_pasted_text_is_judged_and_not_changed(visit):
    page = visit("paste")
    page.get_by_label("Text to judge").fill("Anna plays golf in Paris <img src=x onerror=alert(1)>")
    button(page, "Judge").click()
    page.get_by_text(re.compile(r"\d+ of \d+ tokens would be refused with K = 3")).wait_for()
    assert page.locator(".tok.replaced:visible").count() > 0
    page.get_by_label("Text to judge").fill("")
    button(page, "Judge").click()
    said(page, "The text is empty")
    page.get_by_label("Text to judge").fill("Anna will drive.")
    button(page, "Judge").click()
    page.get_by_text(re.compile(r"\d+ of \d+ tokens would be refused with K = 3")).wait_for()


def test_a_draft_says_what_it_saved(visit):
    page = visit("draft")
    button(page, "Run").click()
    page.get_by_text(re.compile("One look of the teacher brought")).wait_for()
    assert page.locator(".name:visible").count() == 2
    page.get_by_role("gridcell", name="lossless").or_(page.get_by_text("lossless")).first.wait_for()


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_is_wider_than_a_phone(visit, address):
    page = visit(address, viewport=PHONE, color_scheme="dark")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_tab(visit, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    found = []
    page = visit("watch", color_scheme=scheme)
    for address in ADDRESSES:
        page.locator(f'[data-tab-id="{address}"]').first.click()
        page.locator(f'[data-tab-id="{address}"][aria-selected="true"]').wait_for()
        page.wait_for_timeout(400)
        settled(page)
        for one in axe.Axe().run(page).response["violations"]:
            if one["impact"] in ("serious", "critical"):
                found += [(address, one["id"], node["html"][:160]) for node in one["nodes"]]
    assert found == []


def test_the_tabs_tested_here_are_there():
    assert ADDRESSES == [address for address, _, _ in blocks.TABS][: len(ADDRESSES)]
