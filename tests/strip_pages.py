"""A strip in a real browser, for tests: as a saved page, and in a host that speaks its contract."""

import shutil
from typing import Any

import pytest

from skd_lab.records import Trace, dumps_traces
from skd_lab.views import Fragment, boot_script, strip_body
from skd_lab.views.page import script_json

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path"),
]
FLAGS = """--no-sandbox --disable-gpu --disable-background-networking --disable-component-update
--disable-sync --no-first-run""".split()
KEEP = "window.nodes = [...document.querySelector('div').shadowRoot.querySelectorAll('.tok')]"
KEPT = """nodes.every((node, at) =>
  node === document.querySelector('div').shadowRoot.querySelectorAll('.tok')[at])"""
"""JavaScript: hold on to the tokens' nodes, and whether they are the same ones still."""
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium, tmp_path):
    """Open a view as a saved page; fails at the end if anything was asked of the outside."""
    contexts, said, asked = [], [], []

    def open_page(view, **settings):
        context = chromium.new_context(**{"viewport": WIDE, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(view.save(tmp_path / f"{len(contexts)}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(tmp_path.as_uri())] == []


def page_of(value, title=""):
    """A page whose strip gets this NDJSON text, good or bad."""
    data = script_json({"value": value, "title": title})
    markup = f'<div data-skd-strip><script type="application/json">{data}</script></div>'
    return Fragment("test", markup, script=boot_script())


class Host:
    """A page that shows a strip as gradio does: props that change, watchers, events.

    Args:
        page: of the browser.
        traces: of the first value, or NDJSON text.
        props: the other props.
    """

    def __init__(self, page: Any, traces: Any, **props: Any) -> None:
        self.page = page
        page.evaluate(
            """([body, props]) => {
              document.body.replaceChildren();
              const host = document.body.appendChild(document.createElement("div"));
              const watchers = [], names = ["element", "props", "trigger", "watch"];
              window.events = [];
              const trigger = (name, detail) => window.events.push([name, detail]);
              const watch = (name, f) => watchers.push([name, f]);
              new Function(...names, body)(host, props, trigger, watch);
              window.give = (next) => {
                Object.assign(props, next);
                watchers.forEach(([name, f]) => { if (name in next) f(); });
              };
            }""",
            [strip_body(), {"value": ndjson(traces), **props}],
        )

    def give(self, **props: Any) -> None:
        """Change props, as `gr.update` does."""
        if "value" in props:
            props["value"] = ndjson(props["value"])
        self.page.evaluate("give", props)

    def events(self, name: str) -> list[Any]:
        """Payloads of the events with this name so far."""
        return [detail for event, detail in self.page.evaluate("events") if event == name]

    def classes(self) -> list[list[str]]:
        """Classes of every token."""
        found = self.page.locator(".tok").evaluate_all("all => all.map(one => one.className)")
        return [names.split() for names in found]


def ndjson(value: Any) -> Any:
    return dumps_traces([value]) if isinstance(value, Trace) else value


@pytest.fixture
def host(chromium):
    """Make a Host; fails at the end if the page reported an error."""
    pages, said = [], []

    def make(traces: Any, viewport: dict[str, int] = WIDE, **props: Any) -> Host:
        page = chromium.new_page(viewport=viewport)
        page.on("pageerror", lambda error: said.append(str(error)))
        pages.append(page)
        return Host(page, traces, **props)

    yield make
    for page in pages:
        page.close()
    assert said == []


def focused(page):
    return page.evaluate(
        """() => {
          let node = document.activeElement;
          while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
          return node?.dataset.place === undefined ? null : Number(node.dataset.place);
        }"""
    )
