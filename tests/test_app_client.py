"""The app as a server: its named endpoints, its limits, and that it asks nobody for anything."""

import ipaddress
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_runs import write_demo

ASKED: list[object] = []
"""Every address this process looked up or connected to since the app's modules were imported."""


def _watch(event, arguments):
    if event == "socket.getaddrinfo":
        ASKED.append(arguments[0])
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        ASKED.append(arguments[1][0])


sys.addaudithook(_watch)

from skd_lab.app import blocks, build_app, launch  # noqa: E402
from skd_lab.app.form import pair_choice  # noqa: E402
from skd_lab.app.frame import Frame  # noqa: E402
from skd_lab.app.library import Library  # noqa: E402
from skd_lab.app.models import Models, PairChoice  # noqa: E402
from skd_lab.errors import UsageError  # noqa: E402
from skd_lab.records import loads_traces  # noqa: E402

gradio = pytest.importorskip("gradio")
gradio_client = pytest.importorskip("gradio_client")
PROMPT = (
    "Summarize the dialogue.\n Diego: Do you need a ride on Monday?\n Anna: Yes, to the airport."
)
OWN = {"recorded", "runs", "pairs", "watch", "compare", "branch", "paste", "draft"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_demo(root)
    (root / "damaged").mkdir()
    (root / "damaged" / "config.json").write_text("{}")
    (root / "damaged" / "traces.ndjson").write_text('{"schema": "skd-trace/1"}\n{"i": \n{}\n')
    return root


@pytest.fixture(scope="module")
def models():
    return Models()


@pytest.fixture(scope="module")
def url(runs, models):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "Models", lambda: models)
        app = build_app(runs)
    yield launch(app, prevent_thread_lock=True, quiet=True)[1]
    app.close()


@pytest.fixture(scope="module")
def client(url):
    return gradio_client.Client(url, verbose=False)


def ids(trace):
    return [token["kept_id"] for token in trace.tokens]


def test_every_public_endpoint_has_a_name_and_words(client):
    found = client.view_api(return_format="dict", print_info=False)
    assert {f"/{name}" for name in OWN} <= set(found["named_endpoints"])
    assert found["unnamed_endpoints"] == {}
    for name in OWN:
        assert len(found["named_endpoints"][f"/{name}"]["description"]) > 20, name


def test_what_moves_things_on_the_page_is_nobodys_endpoint(client):
    for name in ("/begin", "/guarded", "/by_run", "/work", "/at_load"):
        with pytest.raises(ValueError, match="Cannot find a function"):
            client.predict(api_name=name)


def test_recorded_gives_the_records_and_names_what_is_wrong(client, runs):
    text = client.predict("demo", api_name="/recorded")
    assert loads_traces(text) == Library(runs).open("demo").traces
    assert client.predict("", api_name="/recorded") == text
    with pytest.raises(Exception, match="no run named"):
        client.predict("../demo", api_name="/recorded")
    with pytest.raises(Exception, match="traces.ndjson, line 2"):
        client.predict("damaged", api_name="/recorded")
    assert client.predict(api_name="/runs") == Library(runs).names()


def test_a_text_is_streamed_as_it_grows_and_can_be_branched(client):
    job = client.submit(PROMPT, "tiny-qwen3", 1, 4, 24, 3, api_name="/watch")
    last = loads_traces(job.result(timeout=60))[0]
    sizes = [len(loads_traces(text)[0].tokens) for text in job.outputs()]
    assert sizes == sorted(sizes) and len(set(sizes)) > 2 and sizes[-1] == len(last.tokens)
    assert "teacher_top" in last.tokens[0] and last.replaced > 0
    at = next(i for i, token in enumerate(last.tokens) if token["source"] == "teacher")
    roads = client.predict(job.outputs()[-1], at, "tiny-qwen3", "", api_name="/branch")
    kept, student, teacher = loads_traces(roads)
    assert ids(kept) == ids(last)[at : at + 20]
    assert ids(student)[0] == last.tokens[at]["proposed_id"]
    assert ids(teacher)[0] == last.tokens[at]["kept_id"]


def test_the_other_endpoints_answer_with_traces(client):
    judged = client.predict(PROMPT, "Diego will drive Anna.", "tiny-qwen3", api_name="/paste")
    assert "".join(token["kept"] for token in loads_traces(judged)[0].tokens) == (
        "Diego will drive Anna."
    )
    drafts = client.predict(PROMPT, "tiny-qwen3", 3, 4, 16, 0, api_name="/draft")
    assert [trace.header["rule"] for trace in loads_traces(drafts)] == ["lossless", "top_k"]
    mode = "three values of K"
    texts = client.predict(mode, PROMPT, "tiny-qwen3", "", "", 3, 0, api_name="/compare")
    assert [trace.header["accept_top_k"] for trace in loads_traces(texts)] == [1, 3, 1024]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "tiny-qwen3", 3, 4, 8, 0), "The prompt is empty"),
        (("x" * 2001, "tiny-qwen3", 3, 4, 8, 0), "2,001 characters; at most 2,000"),
        ((PROMPT, "tiny-qwen3", 3, 4, 257, 0), "from 1 to 256; got 257"),
        ((PROMPT, "tiny-qwen3", 0, 4, 8, 0), "K must be a whole number, at least 1"),
        ((PROMPT, "gpt-9", 3, 4, 8, 0), "There is no pair 'gpt-9'. Choose one of"),
        ((PROMPT, "my own pair", 3, 4, 8, 0), "A pair is a student and a teacher"),
        (("\u4e2d" * 2000, "tiny-qwen3", 3, 4, 8, 0), "do not fit the context of"),
    ],
)
def test_limits_hold_on_the_server(client, arguments, message):
    with pytest.raises(Exception, match=message):
        client.predict(*arguments, api_name="/watch")


def test_a_cancelled_run_frees_the_models_and_the_next_one_runs(client, models, monkeypatch):
    real, waiting = PairChoice.load, threading.Event()

    def slow(choice):
        waiting.set()
        return real(choice)

    monkeypatch.setattr(PairChoice, "load", slow)
    models.free()
    job = client.submit(PROMPT, "tiny-qwen3", 1, 1, 256, 3, api_name="/watch")
    while not job.outputs():
        time.sleep(0.01)
        assert not job.done()
    assert waiting.is_set() and models.loaded is not None
    job.cancel()
    until = time.monotonic() + 30
    while models.loaded is not None and time.monotonic() < until:
        time.sleep(0.05)
    assert models.loaded is None
    after = client.predict(PROMPT, "tiny-qwen3", 3, 4, 8, 0, api_name="/watch")
    assert loads_traces(after)[0].tokens


def test_a_full_queue_is_said_and_those_inside_are_answered(client, models, monkeypatch):
    real, go = PairChoice.load, threading.Event()

    def held(choice):
        go.wait(60)
        return real(choice)

    monkeypatch.setattr(PairChoice, "load", held)
    models.free()

    def ask(n):
        try:
            text = client.predict("", "Anna will drive.", "tiny-qwen3", api_name="/paste")
        except Exception as error:
            return str(error)
        return loads_traces(text)[0].header["rule"]

    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask, n) for n in range(12)]
        time.sleep(2)
        go.set()
        said = [one.result(60) for one in asked]
    assert said.count("teacher_forced") >= blocks.QUEUE
    full = [text for text in said if text != "teacher_forced"]
    assert full and all("ueue is full" in text for text in full)


def test_models_are_used_by_one_at_a_time(client, monkeypatch):
    inside, most = [], []
    real = Models.use

    def counted(self, choice):
        from contextlib import contextmanager

        @contextmanager
        def use():
            with real(self, choice) as pair:
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.05)
                yield pair
                inside.pop()

        return use()

    monkeypatch.setattr(Models, "use", counted)
    jobs = [
        client.submit(PROMPT, "Yes.", "tiny-qwen3", api_name="/paste"),
        client.submit(PROMPT, "tiny-qwen3", 3, 4, 8, 0, api_name="/watch"),
        client.submit(PROMPT, "tiny-qwen3", 3, 4, 8, 0, api_name="/draft"),
    ]
    for job in jobs:
        job.result(timeout=60)
    assert len(most) == 3 and max(most) == 1


def test_visitors_from_elsewhere_name_no_models(runs, monkeypatch, capsys):
    import skd_lab.app
    from skd_lab.cli import main

    served = []

    def served_at(app, host, **_):
        served.append(app)
        return app, f"http://{host}:7860/", ""

    monkeypatch.setattr(skd_lab.app, "launch", served_at)
    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda app: None)
    for host, allowed in (("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)):
        assert main(["app", "--runs-dir", str(runs), "--host", host]) == 0
        assert ("my own pair" in str(served[-1].get_config_file())) is allowed
        assert f"Open http://{host}:7860/ in a browser" in capsys.readouterr().out
    frame = Frame(library=Library(runs), models=Models(), own_models=False, mine=None, app=None)
    with pytest.raises(UsageError, match="loads no models of visitors"):
        pair_choice(frame, "my own pair", "a", "b")


def test_the_server_asked_nobody(url):
    """Last: everything above has run, with analytics off."""

    def is_local(host):
        if host in (None, "", "localhost", b"localhost"):
            return True
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback

    assert [host for host in ASKED if not is_local(host)] == []
    assert ASKED  # the page itself was asked for, so the watch was on
