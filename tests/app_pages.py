"""The app in a browser, for tests: one launched app a module, pages that watch what is said."""

import shutil

import pytest
from fake_runs import write_demo
from synthetic import HOSTILE, hostile_trace

from skd_lab.files import write_json_atomic
from skd_lab.records import write_traces

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path"),
]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
FLAGS = """--no-sandbox --disable-gpu --disable-background-networking --disable-component-update
--disable-sync --no-first-run""".split()


def write_runs(root):
    """runs/ with the demo, a hostile run and a damaged one."""
    write_demo(root)
    trace = hostile_trace()
    trace.header["prompt"] = " ".join(HOSTILE)
    trace.header["row"] = 0
    write_json_atomic(root / "hostile" / "config.json", {"method": HOSTILE[0]})
    (root / "hostile" / "steps.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    rows = [{"name": text, "value": 0.5} for text in HOSTILE]
    write_json_atomic(root / "hostile" / "table.json", {"rows": rows})
    write_traces(root / "hostile" / "traces.ndjson", [trace])
    write_json_atomic(root / "damaged" / "config.json", {})
    (root / "damaged" / "traces.ndjson").write_text('{"schema": "skd-trace/1"}\n{"i": \n{}\n')
    return root


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    from skd_lab.app import build_app, launch

    app = build_app(write_runs(tmp_path_factory.mktemp("runs")))
    yield launch(app, prevent_thread_lock=True, quiet=True)[1]
    app.close()


@pytest.fixture
def visit(browser, url):
    """Open a tab; fails at the end if a page said something or asked another machine."""
    contexts, said, asked = [], [], []

    def open_tab(address="watch", at=None, **settings):
        context = browser.new_context(**{"viewport": WIDE, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text) if bad(message) else None)
        page.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{at or url}#{address}")
        page.locator(f'[role="tab"][data-tab-id="{address}"][aria-selected="true"]').wait_for()
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert said == []
    own = ("http://127.0.0.1:", "data:", "blob:")
    assert [other for other in asked if not other.startswith(own)] == []


def bad(message):
    """Whether a console message tells of an error (a lost server is told as a failed load)."""
    return message.type == "error" and "Failed to load resource" not in message.text


def button(page, name):
    """The visible button of this name; every tab has a Run of its own."""
    return page.locator(f"button:visible:text-is('{name}')")


def choose(page, label, words):
    """Choose from the open tab's dropdown."""
    page.locator(f'input[aria-label="{label}"]:visible').click()
    page.get_by_role("option", name=words).first.click()


def said(page, words):
    """Wait for a sentence in the open tab's notice."""
    page.locator("[role=status]:visible, [role=alert]:visible").get_by_text(words).first.wait_for()


def focused(page):
    """Place of the token that has the focus."""
    return page.evaluate(
        """() => {
          let node = document.activeElement;
          while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
          return node?.dataset?.place === undefined ? null : Number(node.dataset.place);
        }"""
    )


def settled(page):
    """Wait until nothing fades any more: a colour on its way is no colour to judge."""
    page.wait_for_function(
        "() => document.getAnimations().every((one) => one.playState !== 'running')"
    )
