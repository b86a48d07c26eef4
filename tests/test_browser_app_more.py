"""Train, Time-lapse, Runs and Learn in a browser: by mouse, by keys, on a phone, in the dark."""

import re

import app_pages
import pytest
from app_pages import MARKS, PHONE, WIDE, button, choose, said, settled, write_runs
from fake_runs import STEPS
from synthetic import HOSTILE, hostile_trace, make_trace

from skd_lab.app import importing
from skd_lab.app.lessons import CARDS, question, recordings
from skd_lab.checkpoints import newest_whole
from skd_lab.records import dumps_traces
from skd_lab.runs import Run
from skd_lab.views import redecide

pytestmark = MARKS
browser, visit = app_pages.browser, app_pages.visit


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def url(root):
    from skd_lab.app import build_app, launch

    app = build_app(root)
    yield launch(app, prevent_thread_lock=True, quiet=True)[1]
    app.close()


def fill(page, label, value):
    page.get_by_label(label, exact=False).locator("visible=true").first.fill(str(value))


def give(page, name, text):
    """Choose a file for the import."""
    content = {"name": name, "mimeType": "text/plain", "buffer": text.encode("utf-8", "replace")}
    if not button(page, "Choose a file").count():
        page.get_by_text("Import a file of traces").click()
        button(page, "Choose a file").wait_for()
    page.locator("input[type=file]").last.set_input_files(content)


def test_a_run_is_trained_watched_and_then_in_the_list(visit, root):
    page = visit("train")
    fill(page, "Name of the run", "first")
    fill(page, "Updates", 6)
    fill(page, "Prompts", 20)
    button(page, "Start training").click()
    said(page, "Done in")
    records = Run(root / "first").steps
    loss = f"{records[-1].metrics['loss']:.3f}"
    said(page, f"first: update 6 of 6, loss {loss}")
    bar = page.get_by_role("progressbar", name="Updates done")
    assert bar.get_attribute("aria-valuetext") == "6 of 6 updates"
    label = page.locator(".both .chart svg").first.get_attribute("aria-label")
    assert f"{records[0].metrics['loss']:.3g}" in label.replace("0 at update 1,", " at update 1,")
    rows = page.locator(".map button:visible")
    assert rows.count() == 7 and rows.last.get_attribute("aria-current") == "true"
    assert page.locator(".tok:visible").count() > 0
    button(page, "Start training").click()  # the name offered now is free
    said(page, re.compile("skd-1: .*Done in"))
    page.locator('[data-tab-id="runs"]').first.click()
    page.get_by_role("button", name="first", exact=True).wait_for()


def test_a_stop_keeps_what_was_trained_and_a_page_loaded_meanwhile_sees_it(visit, root):
    page = visit("train")
    fill(page, "Name of the run", "long")
    fill(page, "Updates", 300)
    button(page, "Start training").click()
    said(page, re.compile(r"long: update \d+ of 300"))
    other = visit("train")
    said(other, re.compile(r"long: update \d+ of 300"))
    fill(other, "Name of the run", "another")
    button(other, "Start training").wait_for()
    assert button(other, "Start training").is_disabled()
    button(other, "Stop").click()
    said(page, "Stopped in")
    said(other, "the checkpoint is saved")
    done = len(Run(root / "long").steps)
    assert 0 < done < 300 and newest_whole(root / "long" / "checkpoints")[1] == done


def test_what_cannot_be_trained_is_said_beside_the_button(visit, root):
    page = visit("train")
    for name, updates, words in (
        ("../x", 6, "is a path"),
        ("demo", 6, "already a run named demo"),
        ("x", 301, "from 1 to 300"),
        ("", 6, "no name"),
    ):
        fill(page, "Name of the run", name)
        fill(page, "Updates", updates)
        button(page, "Start training").click()
        page.get_by_role("alert").get_by_text(words).wait_for()
    assert not (root / "x").exists()


def test_time_lapse_goes_through_the_recordings_in_order_with_their_counts(visit, root):
    page = visit("lapse")
    wanted = ["before training: 9 of 36 refused", "update 20: 4 of 36", f"update {STEPS}: 2 of 36"]
    rows = page.locator(".map button:visible")
    labels = [rows.nth(n).get_attribute("aria-label") for n in range(rows.count())]
    assert [label.startswith(words) for label, words in zip(labels, wanted, strict=True)] == [
        True
    ] * 3
    assert page.locator(".tok.replaced:visible").count() == 9
    slider = page.get_by_role("slider", name="Recording")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "update 20, 4 of 36 refused"
    assert page.locator(".tok.replaced:visible").count() == 4
    page.keyboard.press("End")
    assert page.locator(".tok.replaced:visible").count() == 2
    assert page.get_by_role("button", name="Next recording").is_disabled()
    rows.first.click()
    button(page, "Play").click()
    page.locator(f'.map button[aria-current="true"][aria-label^="update {STEPS}"]').wait_for()
    button(page, "Play").wait_for()  # it ends by itself
    assert page.locator(".tok.replaced:visible").count() == 2
    choose(page, "Prompt", "2: ")
    page.locator('.map button[aria-current="true"][aria-label^="before"]').wait_for()


def test_one_text_is_judged_by_every_checkpoint_or_it_is_said_why_not(visit, root):
    page = visit("lapse")
    button(page, "One text for all checkpoints").click()
    page.get_by_role("alert").get_by_text("does not say which models").wait_for()
    choose(page, "Run", "first")
    page.locator(".map button:visible").nth(6).wait_for()
    button(page, "One text for all checkpoints").click()
    said(page, "The text is that of the last recording")
    rows = page.locator(".map button:visible")
    assert rows.count() == 7
    texts = set()
    for n in range(rows.count()):
        rows.nth(n).click()
        kept = page.locator(".tok:visible").evaluate_all(
            "all => all.map(one => (one.querySelector('ins') ?? one).textContent).join('')"
        )
        texts.add(kept)
    assert len(texts) == 1
    button(page, "As recorded").click()
    said(page, "7 recordings")


def test_the_list_is_filtered_sorted_and_opened_by_keys(visit):
    page = visit("runs")
    names = page.locator("tbody th button:visible")
    names.first.wait_for()
    page.get_by_label("Filter").fill("demo on_pol")
    assert names.all_inner_texts() == ["demo-on_policy_kd"]
    counted = re.search(r"1 of (\d+) runs", page.locator(".count:visible").inner_text())
    page.get_by_label("Filter").fill("nothing like it")
    assert page.get_by_text("No run matches the filter.").is_visible()
    page.get_by_label("Filter").fill("")
    assert counted and names.count() == int(counted[1]) > 1
    header = page.get_by_role("columnheader", name="replaced, first")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert names.first.inner_text() == "demo"
    page.get_by_role("button", name="demo", exact=True).focus()
    page.keyboard.press("Enter")
    page.locator(".skd-report h1").wait_for()
    assert page.locator(".skd-report section").count() >= 5
    assert page.locator('tr[aria-current="true"]').inner_text().startswith("demo")
    assert page.locator(".skd-report figure.panel svg").count() >= 2
    page.locator(".skd-report nav a").last.click()
    assert page.url.endswith("#runs")  # a link inside the page leaves the tab's address alone
    figure = page.locator(".skd-report figure.panel").first
    figure.focus()
    page.keyboard.press("Home")
    assert figure.locator("figcaption").inner_text().startswith("step 1:")
    assert page.locator(".skd-report .tok").count() > 0


def test_a_hostile_run_opens_and_nothing_of_it_runs(visit):
    page = visit("runs")
    page.get_by_role("button", name="hostile", exact=True).click()
    page.locator(".skd-report .tok").first.wait_for()
    assert page.evaluate("window.PWNED === undefined")
    assert "<img src=x onerror=window.PWNED=1>" in page.locator(".skd-report").inner_text()
    assert page.locator(".skd-report :is(img, script:not([type]), iframe)").count() == 0


def test_what_is_saved_opens_by_itself_and_comes_back_the_same(visit, browser, root, tmp_path):
    page = visit("runs")
    page.get_by_role("button", name="demo", exact=True).click()
    with page.expect_download() as saved:
        button(page, "Export strips (HTML)").click()
    assert saved.value.suggested_filename == "demo.html"
    file = tmp_path / "demo.html"
    saved.value.save_as(file)
    traces = Run(root / "demo").traces
    alone, asked = browser.new_page(), []
    alone.on("request", lambda request: asked.append(request.url))
    alone.goto(file.as_uri())
    assert alone.locator(".tok").count() == sum(len(trace.tokens) for trace in traces)
    assert alone.locator(".tok.replaced").count() == sum(trace.replaced for trace in traces)
    alone.goto(f"{file.as_uri()}#k=1")
    alone.reload()
    assert alone.locator(".tok.replaced").count() == sum(redecide(t, 1).replaced for t in traces)
    alone.close()
    assert [one for one in asked if not one.startswith("file:")] == []
    give(page, "demo.html", file.read_text(encoding="utf-8"))
    page.get_by_role("status").get_by_text("already a run named demo").or_(
        page.get_by_role("alert").get_by_text("already a run named demo")
    ).first.wait_for()
    fill(page, "Name of the imported run", "back")
    give(page, "demo.html", file.read_text(encoding="utf-8"))
    said(page, "back: 6 completions, 216 tokens.")
    page.locator('tr[aria-current="true"]').get_by_text("back", exact=True).wait_for()
    assert dumps_traces(Run(root / "back").traces) == dumps_traces(traces)


def test_files_that_are_hostile_damaged_too_large_or_newer(visit, root, monkeypatch):
    monkeypatch.setattr(importing, "MAX_BYTES", 200_000)
    page = visit("runs")
    good = dumps_traces([make_trace()])
    lines = good.splitlines()
    for name, text, words in (
        ("newer.ndjson", good.replace("skd-trace/1", "skd-trace/7"), "newer skd_lab"),
        ("big.ndjson", "x" * 200_001, "at most"),
        ("none.ndjson", "what is this\nnot that\n", "none.ndjson, line 1"),
        ("lines.ndjson", "\n".join([*lines[:9], "{", *lines[10:]]) + "\n", "line 10"),
        ("hostile.ndjson", dumps_traces([hostile_trace()]), "already a run named hostile"),
    ):
        give(page, name, text)
        said(page, words)
    assert len(Run(root / "lines").traces[0].tokens) == 8  # the part before the damage
    assert not any((root / name).exists() for name in ("newer", "big", "none"))
    fill(page, "Name of the imported run", "../../out")
    give(page, "any.ndjson", good)
    said(page, "is a path")
    fill(page, "Name of the imported run", "theirs")
    give(page, "theirs.ndjson", dumps_traces([hostile_trace()]))
    said(page, f"theirs: 1 completion, {2 * len(HOSTILE)} tokens.")
    page.locator(".skd-report .tok").first.wait_for()
    assert page.evaluate("window.PWNED === undefined")


def test_cards_are_answered_by_keys_and_the_records_tell_the_truth(visit):
    page = visit("learn")
    answers = page.locator(".skd-answers input")
    for place, card in enumerate(CARDS):
        page.get_by_role("heading", name=card.title).wait_for()
        asked = question(card)
        page.get_by_text(asked.words).first.wait_for()
        assert page.locator(".tok.replaced:visible").count() == (
            0 if card.hides else recordings()[card.shows[0]].replaced
        )
        if place == 0:
            button(page, "Show the answer").click()
            page.get_by_role("alert").get_by_text("Choose an answer first").wait_for()
        answers.nth(asked.truth if place % 2 else (asked.truth + 1) % len(asked.choices)).focus()
        page.keyboard.press("Space")
        button(page, "Show the answer").focus()
        page.keyboard.press("Enter")
        said(page, ("Right. " if place % 2 else "Not quite. ") + asked.why)
        k = card.after.get("k")
        shown = [redecide(recordings()[name], k).replaced for name in card.shows]
        page.wait_for_function(
            """wanted => {
              const hosts = [...document.querySelectorAll('div')].filter((one) => one.shadowRoot);
              const counts = hosts.filter((one) => one.offsetParent)
                .map((one) => one.shadowRoot.querySelectorAll('.tok.replaced').length);
              return counts.reduce((sum, one) => sum + one, 0) === wanted;
            }""",
            arg=sum(shown),
        )
        if place < len(CARDS) - 1:
            button(page, "Next card").focus()
            page.keyboard.press("Enter")
    said(page, "4 of 8 guessed right at first.")
    assert button(page, "Next card").is_disabled()


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)])
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(visit, scheme, size):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    page = visit("train", color_scheme=scheme, viewport=size)
    for tab in ("train", "lapse", "runs", "learn"):
        page.evaluate("tab => { location.hash = tab; }", tab)
        page.locator(f'[role="tab"][data-tab-id="{tab}"][aria-selected="true"]').wait_for()
        if tab == "runs":
            page.get_by_role("button", name="demo", exact=True).click()
            page.locator(".skd-report .tok").first.wait_for()
        elif tab == "learn":
            page.locator(".skd-answers input").first.check()
            button(page, "Show the answer").click()
            page.locator(".tok.replaced:visible").first.wait_for()
        elif tab == "lapse":
            page.locator(".map button:visible").first.wait_for()
        page.wait_for_function("() => !document.querySelector('.pending')")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), tab
        settled(page)
        found = axe.Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in serious] == []
