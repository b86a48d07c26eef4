"""The app: opens recorded runs with no model, lets no text run, and asks nobody for anything."""

import ipaddress
import shutil
import sys
from pathlib import Path

import pytest
from fake_runs import STEPS, write_demo
from synthetic import HOSTILE, hostile_trace, make_trace

ASKED: list[object] = []
"""Every address this process looked up or connected to since the app's modules were imported."""


def _watch(event, arguments):
    if event == "socket.getaddrinfo":
        ASKED.append(arguments[0])
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        ASKED.append(arguments[1][0])


sys.addaudithook(_watch)

from skd_lab.app import build_app, launch  # noqa: E402
from skd_lab.app.library import Library  # noqa: E402
from skd_lab.errors import UsageError  # noqa: E402
from skd_lab.files import write_json_atomic  # noqa: E402
from skd_lab.records import loads_traces, write_traces  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium or google-chrome on the path"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """runs/ with the demo, a hostile run, a damaged one and one without traces."""
    root = tmp_path_factory.mktemp("runs")
    write_demo(root)
    trace = hostile_trace()
    trace.header["prompt"] = " ".join(HOSTILE)
    write_json_atomic(root / "hostile" / "config.json", {"method": HOSTILE[0]})
    (root / "hostile" / "steps.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    rows = [{"name": text, "value": 0.5} for text in HOSTILE]
    write_json_atomic(root / "hostile" / "table.json", {"rows": rows})
    write_traces(root / "hostile" / "traces.ndjson", [trace])
    write_json_atomic(root / "damaged" / "config.json", {})
    (root / "damaged" / "traces.ndjson").write_text('{"schema": "skd-trace/1"}\n{"i": \n{}\n')
    return root


@pytest.fixture(scope="module")
def url(runs):
    app = build_app(runs)
    yield launch(app, prevent_thread_lock=True, quiet=True)[1]
    app.close()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, url):
    """The opened app; fails at the end if the page said something or asked another machine."""
    said, asked = [], []
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(url)
    opened.locator(".tok").first.wait_for(timeout=20_000)
    yield opened
    opened.close()
    assert said == []
    assert [other for other in asked if not other.startswith((url, "data:", "blob:"))] == []


def choose(page, label, words):
    page.get_by_label(label).click()
    page.get_by_role("option", name=words).first.click()


def test_the_demo_comes_first_then_other_runs_then_recordings(runs, tmp_path):
    names = Library(runs).names()
    assert names[0] == "demo" and {"hostile", "damaged", "demo-on_policy_kd"} <= set(names)
    assert Library(runs, run=runs / "hostile").names()[0] == "hostile"
    recordings = Library(tmp_path / "none").names()
    assert all(name.startswith("recorded: ") for name in recordings)
    with pytest.raises(UsageError, match="no run folder|No run folder"):
        Library(runs, run=tmp_path / "none")


def test_a_new_run_appears_and_a_name_is_never_a_path(runs, tmp_path):
    library = Library(tmp_path)
    before = library.names()
    write_demo(tmp_path)
    assert library.names() == ["demo", "demo-on_policy_kd", "demo-supervised_kd", *before]
    for name in ("../x", str(runs / "demo"), "", "demo/../demo"):
        with pytest.raises(UsageError, match="no run named"):
            library.open(name)


def test_prompts_are_numbered_and_their_recordings_in_step_order(runs):
    prompts = Library(runs).open("demo").prompts()
    assert [key[:3] for key in prompts] == ["1: ", "2: "]
    for traces in prompts.values():
        assert [trace.header["step"] for trace in traces] == [0, 20, STEPS]


def test_importing_the_app_writes_no_file():
    import skd_lab

    assert list(Path(skd_lab.__file__).parent.rglob("*.pyi")) == []


def test_the_one_public_endpoint_gives_the_records(url, runs):
    client = pytest.importorskip("gradio_client").Client(url, verbose=False)
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/recorded"]
    text = client.predict("demo", api_name="/recorded")
    assert loads_traces(text) == Library(runs).open("demo").traces
    with pytest.raises(Exception, match="no run named"):
        client.predict("../demo", api_name="/recorded")
    with pytest.raises(Exception, match="traces.ndjson, line 2"):
        client.predict("damaged", api_name="/recorded")


@needs_browser
@pytest.mark.browser
def test_it_opens_on_the_demo_before_and_after(page):
    names = page.locator(".name").all_inner_texts()
    assert names == ["skd \u00b7 before training", f"skd \u00b7 after step {STEPS}"]
    assert page.get_by_label("Run").input_value() == "demo"
    assert page.locator("svg[role=img]").count() == 2
    page.locator(".tok.replaced").first.hover()
    assert page.locator(".card .verdict").inner_text().startswith("Refused. The student proposed")
    assert page.get_by_text("60.0%").first.is_visible()


@needs_browser
@pytest.mark.browser
def test_every_recording_of_another_prompt(page):
    choose(page, "Prompt", "2: ")
    page.get_by_label("every one").check()
    page.wait_for_function(
        """() => [...document.querySelectorAll('*')].some(
          (node) => node.shadowRoot?.querySelectorAll('.name').length === 3)"""
    )
    wanted = [
        "skd \u00b7 before training",
        "skd \u00b7 after step 20",
        f"skd \u00b7 after step {STEPS}",
    ]
    assert page.locator(".name").all_inner_texts() == wanted


@needs_browser
@pytest.mark.browser
def test_no_hostile_text_runs_in_the_app_and_a_good_run_opens_after_a_bad_one(page):
    choose(page, "Run", "hostile")
    page.get_by_text("28 of 56").wait_for()
    assert page.locator(".tok").count() == 2 * len(HOSTILE)
    for place in range(0, len(HOSTILE), 3):
        page.locator(".tok").nth(place).hover()
    assert page.evaluate("window.PWNED") is None
    choose(page, "Run", "damaged")
    page.get_by_text("traces.ndjson, line 2: not a trace record").wait_for()
    assert page.locator(".tok").count() == 0
    choose(page, "Run", "demo-supervised_kd")
    page.get_by_text("demo-supervised_kd has no recorded completion").wait_for()
    page.get_by_label("Run").fill("demo")
    page.get_by_role("option", name="demo", exact=True).click()
    page.locator(".tok").first.wait_for()
    assert page.evaluate("window.PWNED") is None


@needs_browser
@pytest.mark.browser
def test_it_reads_on_a_phone_and_in_the_dark(browser, url):
    phone = {"width": 390, "height": 844}
    page = browser.new_page(viewport=phone, color_scheme="dark")
    page.goto(url)
    page.locator(".tok").first.wait_for(timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.wait_for_function(
        """() => [...document.querySelectorAll('*')].some(
          (node) => node.shadowRoot?.querySelector('.skd[data-theme=dark]'))"""
    )
    page.close()


def test_nothing_recorded_says_what_to_do(tmp_path, monkeypatch):
    from skd_lab.app import blocks

    monkeypatch.setattr(Library, "_recordings", lambda self: {})
    library = Library(tmp_path)
    assert library.names() == []
    note = blocks._show_run(library, None, blocks.WHEN[0])[1]
    assert note["visible"] and "make demo" in note["value"]


def test_one_recording_is_shown_once(tmp_path):
    from skd_lab.app import blocks

    write_json_atomic(tmp_path / "one" / "config.json", {})
    write_traces(tmp_path / "one" / "traces.ndjson", [make_trace()])
    library = Library(tmp_path)
    [prompt] = library.open("one").prompts()
    for which in blocks.WHEN:
        assert loads_traces(blocks._show_prompt(library, "one", prompt, which)[1]) == [make_trace()]


def test_the_server_asked_nobody(url):
    """Last: everything above has run, with analytics off."""

    def is_local(host):
        if host in (None, "", "localhost", b"localhost"):
            return True
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback

    assert [host for host in ASKED if not is_local(host)] == []
    assert ASKED  # the page itself was asked for, so the watch was on
