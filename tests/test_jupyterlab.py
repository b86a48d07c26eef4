"""The notebooks' sliders in a real JupyterLab page: they move by key and mouse, the figure follows.

A server of its own, without token and without net; cells are run as a reader runs them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import app_pages
import pytest
from app_pages import MARKS

pytestmark = [*MARKS, pytest.mark.slow, pytest.mark.timeout(300)]
pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")

FOLDER = Path(__file__).parent.parent / "notebooks"
HATCHED = "repeating-linear-gradient"
NOWHERE = "http://127.0.0.1:9"  # nothing listens there
FLAGS = """--no-browser --ServerApp.ip=127.0.0.1 --ServerApp.port=0 --IdentityProvider.token=
--ServerApp.allow_root=True --LabApp.extension_manager=readonly""".split()
browser = app_pages.browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab over a copy of the notebooks; nothing of the user's is read."""
    home, work = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("notebooks")
    for path in FOLDER.glob("*.ipynb"):
        shutil.copy(path, work)
    news = home / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    quiet = {name: str(home / place) for name, place in places.items()}
    net = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1,localhost"}
    quiet |= net | {name.lower(): value for name, value in net.items()}
    command = [sys.executable, "-m", "jupyterlab", *FLAGS, f"--ServerApp.root_dir={work}"]
    with (home / "log").open("w") as log:
        environment = {**os.environ, **quiet, "SKD_FAST": "1"}
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield _address(server, home)
    finally:
        server.terminate()  # it ends its kernels
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def _address(server, home):
    for _ in range(600):
        assert server.poll() is None, (home / "log").read_text()
        for path in (home / "runtime").glob("jpserver-*.json"):
            if text := path.read_text():
                return json.loads(text)["url"]
        time.sleep(0.1)
    raise AssertionError((home / "log").read_text())


@pytest.fixture
def open_notebook(browser, lab):
    """Open one and run its cells up to the first slider; fails if a page asks another machine."""
    contexts, broken, asked = [], [], []

    def open_at(name):
        [path] = FOLDER.glob(f"{name}_*.ipynb")
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 1400}))
        page = contexts[-1].new_page()
        page.set_default_timeout(90_000)
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.goto(f"{lab}lab/workspaces/test-{name}/tree/{path.name}")
        cells = page.locator(".jp-Notebook .jp-Cell")
        cells.nth(1).wait_for()
        page.get_by_text("(ipykernel) | Idle").wait_for()
        cells.first.click()
        for _ in range(_cells_up_to_a_slider(path)):
            page.keyboard.press("Shift+Enter")
        page.locator(".widget-slider").first.wait_for()
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert broken == []
    own = (lab, lab.replace("http:", "ws:"), "data:", "blob:")
    assert asked and [other for other in asked if not other.startswith(own)] == []


def _cells_up_to_a_slider(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    return 1 + next(at for at, text in enumerate(sources) if re.search(r"^explore\(", text, re.M))


def figure_of(page):
    """The drawing below the sliders."""
    return page.locator(".jp-OutputArea-output:has(.widget-slider) .widget-html").first


def handle(page, name):
    """What one takes hold of in the slider of this name."""
    label = page.locator(".widget-label").get_by_text(name, exact=True)
    return page.locator(".widget-slider").filter(has=label).first.get_by_role("slider")


def follows(page, html_before):
    """Wait for another drawing; it must look different too."""
    page.wait_for_function(
        """before => [...document.querySelectorAll('.jp-OutputArea-output')]
          .find(each => each.querySelector('.widget-slider'))
          .querySelector('.widget-html-content').innerHTML !== before""",
        arg=html_before,
    )
    return content(page)


def content(page):
    return figure_of(page).locator(".widget-html-content").inner_html()


def test_the_text_is_written_again_when_k_moves(open_notebook):
    page = open_notebook("00")
    before, seen = content(page), figure_of(page).screenshot()
    teachers = before.count(">teacher</span>")
    assert f"K = 3: {teachers} of " in before and teachers > 0
    handle(page, "K").focus()
    page.keyboard.press("End")
    page.get_by_text(re.compile("K = 12: ")).wait_for()
    after = content(page)
    assert after.count(">teacher</span>") < teachers
    assert _ranks_of_refused(before, 3) and _ranks_of_refused(after, 12)
    assert figure_of(page).screenshot() != seen


def _ranks_of_refused(html, k):
    """Whether the teacher wrote exactly where the rank is beyond k."""
    cells = html.split('<span style="display:flex;flex-direction:column')[1:]
    ranks = [int(re.search(r">rank (\d+)<", cell)[1]) for cell in cells]
    return ranks and all(
        (">teacher<" in cell) == (rank > k) for cell, rank in zip(cells, ranks, strict=True)
    )


def test_more_words_stand_when_an_arrow_key_moves_k(open_notebook):
    page = open_notebook("02")
    before, seen = content(page), figure_of(page).screenshot()
    assert "kept with K = 3" in before and before.count(HATCHED) == 4
    handle(page, "K").focus()
    page.keyboard.press("ArrowRight")
    after = follows(page, before)
    assert "kept with K = 4" in after and after.count(HATCHED) == 3
    assert figure_of(page).screenshot() != seen
    page.keyboard.press("ArrowLeft")
    assert follows(page, after) == before
    for _ in range(4):  # and it stops at its end
        page.keyboard.press("ArrowLeft")
    page.get_by_text("kept with K = 1").wait_for()
    assert handle(page, "K").get_attribute("aria-valuenow") == "1.0"


def test_the_divergences_change_when_the_student_is_dragged(open_notebook):
    page = open_notebook("06")
    before, seen = content(page), figure_of(page).screenshot()
    handle(page, "cat").hover()
    at = handle(page, "cat").bounding_box()
    page.mouse.down()
    page.mouse.move(at["x"] - 60, at["y"] + at["height"] / 2, steps=5)
    page.mouse.up()
    numbers = [re.findall(r">(\d\.\d{3})", html) for html in (before, follows(page, before))]
    (teacher, student, nats), (same, moved, fewer) = (
        (row[:3], row[3:6], row[6:9]) for row in numbers
    )
    assert teacher == same and student[:2] != moved[:2]
    # nearer to the teacher by every measure
    assert len(nats) == 3 and all(a > b for a, b in zip(nats, fewer, strict=True))
    assert figure_of(page).screenshot() != seen
