"""The app's first tab in a browser: it opens, writes, stops, refuses in words, keeps the focus."""

import json
import re
import shutil
import threading
import time

import app_pages
import pytest
from app_pages import MARKS, button, choose, focused, said
from fake_runs import STEPS, write_demo
from synthetic import HOSTILE

from skd_lab.app import blocks, build_app, endpoints, launch, tab_watch
from skd_lab.app.models import PairChoice
from skd_lab.models import BUNDLED

pytestmark = MARKS
browser, url, visit = app_pages.browser, app_pages.url, app_pages.visit


def test_it_opens_on_the_demo_with_no_model_and_never_says_that_it_is_empty(visit, monkeypatch):
    def load(choice):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(PairChoice, "load", load)
    page = visit()
    page.add_init_script("""window.empty = 0; setInterval(() => {
      const roots = [...document.querySelectorAll('div')].map((node) => node.shadowRoot);
      if (roots.some((one) => one?.textContent.includes('Nothing'))) window.empty += 1; }, 20)""")
    page.reload()
    page.locator(".tok").first.wait_for()
    names = page.locator(".name:visible").all_inner_texts()
    assert names == ["skd \u00b7 before training", f"skd \u00b7 after step {STEPS}"]
    page.locator(".tok.replaced").first.hover()
    assert page.locator(".card .verdict").inner_text().startswith("Refused. The student proposed")
    page.wait_for_timeout(500)
    assert page.evaluate("window.empty") == 0


def test_every_recording_of_another_prompt(visit):
    page = visit()
    choose(page, "Prompt", "2: ")
    page.get_by_label("every one").check()
    page.locator(".name:visible").nth(2).wait_for()
    wanted = ["before training", "after step 20", f"after step {STEPS}"]
    assert page.locator(".name:visible").all_inner_texts() == [
        f"skd \u00b7 {one}" for one in wanted
    ]


def test_every_tab_has_an_address_and_the_way_back_works(visit):
    visit("compare").close()  # opened by its address alone
    page = visit("learn")
    for address, label, _ in blocks.TABS:
        page.evaluate("(address) => { location.hash = address; }", address)
        page.locator(f'[data-tab-id="{address}"][aria-selected="true"]').wait_for()
        assert page.locator("[role=tab][aria-selected=true]").inner_text() == label
    for address in ("watch", "step"):
        page.locator(f'[data-tab-id="{address}"]').first.click()
        page.wait_for_url(f"**#{address}")
    page.go_back()
    page.locator('[data-tab-id="watch"][aria-selected="true"]').wait_for()


def test_a_text_is_written_and_its_counters_add_up(visit):
    page = visit()
    button(page, "Run").click()
    said(page, "Done: ")
    line = page.locator(".sum:visible").inner_text()
    accepted, replaced, discarded, proposed = map(int, re.findall(r"\d+", line)[:4])
    assert accepted + replaced + discarded == proposed
    assert page.locator(".tok").count() == accepted + replaced
    assert page.locator(".tok.replaced").count() == replaced
    assert page.locator('input[aria-label="Run"]:visible').input_value().startswith("your own")
    page.locator(".tok").nth(1).hover()
    assert page.locator(".duel tbody tr").count() >= 5  # both models' distributions came too
    other = visit()
    other.locator('input[aria-label="Run"]:visible').click()
    options = other.get_by_role("option").all_inner_texts()
    assert options and not any("your own" in text for text in options)


def test_the_strip_asks_for_another_k_and_for_another_road(visit):
    page = visit()
    button(page, "Run").click()
    said(page, "Done: ")
    page.locator("input[type=range]:visible").first.focus()
    page.keyboard.press("Home")
    page.get_by_text(re.compile(r"^Re-run from token \d+ with K = 1$")).first.click()
    page.wait_for_function(
        """() => [...document.querySelectorAll('div')].some((node) =>
          /top K.=.1 /.test(node.shadowRoot?.querySelector('.facts')?.textContent ?? ''))"""
    )
    assert page.get_by_label("K", exact=True).first.input_value() == "1"
    page.locator(".tok.replaced:visible").first.click()
    kept = page.locator(".card button.branch:visible").first
    text = kept.inner_text().split("\n")[0]
    kept.click()
    page.locator('[data-tab-id="branch"][aria-selected="true"]').wait_for()
    assert page.url.endswith("#branch")
    fork = page.locator('input[aria-label="Refused token"]').input_value()
    assert text.strip() in fork
    button(page, "Show the three roads").click()
    said(page, "Each road is judged by the teacher.")


@pytest.fixture
def slowly(monkeypatch):
    """Blocks come one at a time, when they are let."""
    real, gate = tab_watch.write, threading.Semaphore(0)
    gate.stops = []

    def write(pair, ask, stop):
        gate.stops.append(stop)
        for progress in real(pair, ask, stop):
            gate.acquire(timeout=30)
            yield progress

    monkeypatch.setattr(tab_watch, "write", write)
    return gate


def test_the_focus_and_the_page_stay_while_a_text_grows(visit, slowly):
    page = visit()
    button(page, "Run").click()
    slowly.release()
    said(page, "Writing: token")
    page.locator(".tok").first.focus()
    page.evaluate("window.node = document.activeElement.shadowRoot.activeElement")
    before = page.locator(".tok").count()
    slowly.release()
    page.wait_for_function(
        """(n) => [...document.querySelectorAll('div')].some(
          (node) => node.shadowRoot?.querySelectorAll('.tok').length > n)""",
        arg=before,
    )
    assert focused(page) == 0 and page.evaluate("node.isConnected")
    assert button(page, "Run").is_disabled() and button(page, "Stop").is_enabled()
    slowly.release(200)
    said(page, "Done: ")
    assert focused(page) == 0
    button(page, "Run").wait_for()


def test_a_stopped_text_is_kept_and_the_next_one_is_whole(visit, slowly):
    page = visit()
    button(page, "Run").click()
    slowly.release()
    said(page, "Writing: token")
    button(page, "Stop").click()
    page.wait_for_timeout(300)
    slowly.release(200)
    said(page, "Stopped at ")
    told = " ".join(page.locator("[role=status]:visible").all_text_contents())
    n = int(re.search(r"Stopped at (\d+):", told)[1])
    assert page.locator(".tok").count() == n
    assert page.locator('input[aria-label="Run"]:visible').input_value().startswith("your own")
    button(page, "Run").click()
    said(page, "Done: ")
    assert page.locator(".tok").count() > n


def test_a_closed_page_stops_its_run(visit, slowly):
    page = visit()
    button(page, "Run").click()
    slowly.release()
    said(page, "Writing: token")
    [stop] = slowly.stops
    assert not stop.is_set()
    page.close()
    assert stop.wait(30)
    slowly.release(200)
    next_page = visit()
    button(next_page, "Run").click()
    said(next_page, "Done: ")


def test_bad_input_is_said_beside_the_button_and_the_next_run_is_good(visit):
    page = visit()
    prompt = page.get_by_label("Prompt").first
    good = prompt.input_value()
    tokens = page.locator(".tok").count()
    for fill, words in (
        (lambda: prompt.fill("  "), "The prompt is empty"),
        (lambda: page.get_by_label("K", exact=True).first.fill("0"), "K must be a whole number"),
        (lambda: page.get_by_label("New tokens").fill("999"), "from 1 to 256; got 999"),
    ):
        fill()
        button(page, "Run").click()
        said(page, words)
        prompt.fill(good)
        assert page.locator(".tok").count() == tokens  # what was there is still there
        button(page, "Run").wait_for()
        page.get_by_label("K", exact=True).first.fill("3")
    page.get_by_label("New tokens").fill("16")
    page.wait_for_timeout(300)
    button(page, "Run").click()
    said(page, "Done: ")
    assert page.locator("[role=alert]:visible").all_inner_texts() in ([], [""])


def test_own_models_that_are_not_there_are_said(visit, tmp_path):
    page = visit()
    choose(page, "Models", "my own pair")
    button(page, "Run").click()
    said(page, "A pair is a student and a teacher: name both")
    page.get_by_label("Student: folder or Hub id").fill(str(tmp_path))
    page.get_by_label("Teacher: folder or Hub id").fill("nobody/nothing-at-all")
    button(page, "Run").click()
    said(page, "Cannot load a tokenizer from")
    for role, folder in (("Student", "student"), ("Teacher", "teacher")):
        copy = shutil.copytree(BUNDLED / "tiny-qwen3" / folder, tmp_path / folder)
        page.get_by_label(f"{role}: folder or Hub id").fill(str(copy))
    tokenizer = tmp_path / "teacher" / "tokenizer.json"
    text = tokenizer.read_text(encoding="utf-8")
    parts = json.loads(text)
    vocab = parts["model"]["vocab"]
    vocab["Diego"], vocab["Fatima"] = vocab["Fatima"], vocab["Diego"]
    tokenizer.write_text(json.dumps(parts), encoding="utf-8")
    page.wait_for_timeout(300)
    button(page, "Run").click()
    said(page, "is 'Diego' to the student and 'Fatima' to the teacher. The teacher could not")
    tokenizer.write_text(text, encoding="utf-8")
    button(page, "Run").click()
    said(page, "Done: ")


def test_no_hostile_text_runs_and_a_good_run_opens_after_a_bad_one(visit):
    page = visit()
    choose(page, "Run", "hostile")
    page.get_by_text("28 replaced").first.wait_for()
    assert page.locator(".tok").count() == 2 * len(HOSTILE)
    for place in range(0, len(HOSTILE), 3):
        page.locator(".tok").nth(place).hover()
    choose(page, "Run", "damaged")
    said(page, "traces.ndjson, line 2: not a trace record")
    assert page.locator(".tok").count() == 0
    choose(page, "Run", "demo-supervised_kd")
    said(page, "demo-supervised_kd has no recorded completion")
    page.locator('input[aria-label="Run"]:visible').fill("demo")
    page.get_by_role("option", name="demo", exact=True).click()
    page.locator(".tok").first.wait_for()
    for address in ("step", "branch"):
        other = visit(address)
        choose(other, "Run", "hostile")
        other.wait_for_timeout(700)
        assert other.evaluate("window.PWNED") is None
    assert page.evaluate("window.PWNED") is None


def test_a_full_queue_is_said_beside_the_button(visit, url, monkeypatch):
    client = pytest.importorskip("gradio_client").Client(url, verbose=False)
    real, go = endpoints.judge_text, threading.Event()

    def held(*arguments):
        go.wait(60)
        return real(*arguments)

    page = visit()
    monkeypatch.setattr(endpoints, "judge_text", held)
    jobs = []
    for _ in range(blocks.QUEUE + 2):
        jobs.append(client.submit("", "Anna will drive.", "tiny-qwen3", api_name="/paste"))
        time.sleep(0.05)
    time.sleep(0.5)
    button(page, "Run").click()
    said(page, "too many others wait for the model")
    go.set()
    for job in jobs:
        job.exception(timeout=60)
    button(page, "Run").click()
    said(page, "Done: ")


def test_the_keyboard_alone_runs_a_text_and_walks_it(visit):
    page = visit()
    page.get_by_label("Prompt").first.focus()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "Run":
            break
    page.keyboard.press("Enter")
    said(page, "Done: ")
    for _ in range(60):
        page.keyboard.press("Tab")
        if focused(page) is not None:
            break
    assert focused(page) == 0
    page.keyboard.press("ArrowRight")
    assert focused(page) == 1
    page.keyboard.press("End")
    assert focused(page) == page.locator(".tok").count() - 1


def test_the_strip_goes_on_working_when_the_server_is_gone(visit, tmp_path):
    write_demo(tmp_path)
    app = build_app(tmp_path)
    at = launch(app, prevent_thread_lock=True, quiet=True)[1]
    page = visit("watch", at=at)
    page.locator(".tok").first.wait_for()
    app.close()
    before = page.locator(".tok.replaced").count()
    page.locator("input[type=range]:visible").first.focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(300)
    assert page.locator(".tok.replaced").count() > before  # K = 1 refuses more
    page.locator(".tok").nth(2).hover()
    assert page.locator(".card .number").inner_text() == "#2"
    with page.expect_download() as download:
        page.get_by_text("Save").first.click()
        page.get_by_text(re.compile("NDJSON|JSON", re.I)).first.click()
    assert download.value.path()
    page.locator('[data-tab-id="step"]').first.click()
    page.get_by_label("One step on").click()
    page.get_by_text("Step 2 of").wait_for()
    page.locator('[data-tab-id="watch"]').first.click()
    button(page, "Run").click()
    page.get_by_text("Connection to the server was lost").wait_for()
