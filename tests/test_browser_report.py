"""The saved report in a real page: its own policy, its keys, nothing for axe to find."""

import shutil

import pytest
from fake_runs import STEPS, write_demo

from skd_lab.views import render_index, render_report


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("runs"))


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
        for width, scheme in ((1280, "light"), (390, "dark")):
            page = browser.new_page(
                viewport={"width": width, "height": 800},
                color_scheme=scheme,
                reduced_motion="reduce",
            )
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("#prompts [data-skd-strip]").count() == 2
            # the first prompt's strips stand open, the other's are folded
            assert page.locator("details.strips[open]").count() == 1
            boxes = [page.locator("figure svg").nth(n).bounding_box() for n in (0, 1)]
            # beside each other on a wide page, below each other on a phone
            assert (boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]) == (width == 390)
            _walk(page)
        browser.close()
    assert said == []
    assert asked == [path.as_uri()] * 2


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path")
def test_axe_finds_nothing_to_mend(demo, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not there")
    pages = [
        render_report(demo).save(tmp_path / "report.html"),
        render_index(demo.parent).save(tmp_path / "index.html"),
    ]
    found = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for path in pages:
                page = browser.new_page(
                    viewport={"width": 1000, "height": 800}, color_scheme=scheme
                )
                page.goto(path.as_uri())
                report = axe.Axe().run(page).response["violations"]
                found += [(path.name, scheme, one["id"], one["nodes"]) for one in report]
        browser.close()
    assert found == []


def _walk(page) -> None:
    """Arrow keys move through the steps of every picture at once; Escape lets go."""
    captions = page.locator("figure.panel figcaption")
    assert captions.all_text_contents() == ["", ""]
    page.locator("figure.panel").first.focus()
    for key, step in (("Home", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", STEPS)):
        page.keyboard.press(key)
        loss, rate = captions.all_text_contents()
        assert loss.startswith(f"step {step}: ") and rate.startswith(f"step {step}: ")
    page.keyboard.press("Home")
    assert captions.all_text_contents() == [
        "step 1: on_policy_kd 1, skd 1",
        "step 1: skd 19.0%",  # the other one measured no rate
    ]
    assert page.locator("figure.panel line.cursor").count() == 2
    page.keyboard.press("Escape")
    assert captions.all_text_contents() == ["", ""]
    assert page.locator("figure.panel line.cursor").count() == 0
