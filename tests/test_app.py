"""The app without a browser: what it opens, what it refuses, and whose run is whose."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_runs import STEPS, write_demo
from synthetic import make_trace

import skd_lab
from skd_lab.app.asks import MAX_NEW_TOKENS, MAX_PROMPT_CHARACTERS, Ask, policy, whole
from skd_lab.app.blocks import TABS, build_app
from skd_lab.app.chooser import HOW_TO_RECORD
from skd_lab.app.form import examples, task_of
from skd_lab.app.library import Library
from skd_lab.app.models import Models, PairChoice, in_one_thread
from skd_lab.app.session import KEPT_RUNS, Sessions, keep
from skd_lab.errors import SkdError, UsageError
from skd_lab.files import write_json_atomic
from skd_lab.records import loads_traces, write_traces
from skd_lab.tasks import get_task


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_demo(root)
    return root


def test_the_demo_comes_first_then_other_runs_then_recordings(runs, tmp_path):
    names = Library(runs).names()
    assert names[0] == "demo" and {"demo-supervised_kd", "demo-on_policy_kd"} < set(names)
    assert Library(runs, run=runs / "demo-supervised_kd").names()[0] == "demo-supervised_kd"
    recordings = Library(tmp_path / "none").names()
    assert recordings and all(name.startswith("recorded: ") for name in recordings)
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


def test_students_of_runs_and_their_checkpoints_can_be_chosen(tmp_path):
    folder = tmp_path / "mine"
    write_json_atomic(folder / "config.json", {"pair": "tiny-qwen3", "teacher": None})
    for student in ("student", "checkpoints/step-000020/student"):
        (folder / student).mkdir(parents=True)
    write_json_atomic(tmp_path / "bare" / "config.json", {"pair": "tiny-qwen3"})
    library = Library(tmp_path)
    own = [name for name in library.pairs() if "mine" in name]
    assert own == ["student after mine"] and not any("bare" in name for name in library.pairs())
    assert list(skd_lab.bundled_pairs())[0] == next(iter(library.pairs()))
    step = library.pairs(checkpoints=True)["mine at step 20"]
    assert (step.pair, step.teacher) == ("tiny-qwen3", None)
    assert step.student == str(folder / "checkpoints/step-000020/student")


def test_example_prompts_are_of_the_task_that_the_pair_is_made_for(tmp_path):
    library = Library(tmp_path)
    frame = SimpleNamespace(library=library)
    for name in skd_lab.bundled_pairs():
        task = get_task(task_of(frame, name))
        prompt, reference = examples(task.name)[0]
        [example] = task.load("test", 1)
        assert example.messages[-1]["content"] == prompt
        assert max(task.score(example, reference).values()) == pytest.approx(1)
    assert task_of(frame, "my own pair") == "summaries"


def test_importing_the_app_writes_no_file():
    assert list(Path(skd_lab.__file__).parent.rglob("*.pyi")) == []


def test_the_page_holds_its_first_text_before_any_event(runs, tmp_path, monkeypatch):
    def watched(app):
        parts = [one["props"] for one in app.get_config_file()["components"]]
        [strip] = [props for props in parts if props.get("props", {}).get("permalink")]
        return strip["value"]

    [before, after] = loads_traces(watched(build_app(runs)))
    assert (before.header["step"], after.header["step"]) == (0, STEPS)
    monkeypatch.setattr(Library, "_recordings", lambda self: {})
    empty = build_app(tmp_path)
    assert watched(empty) == "" and HOW_TO_RECORD in str(empty.get_config_file())


def test_every_tab_has_its_own_address_and_label():
    addresses, labels = [tab[0] for tab in TABS], [tab[1] for tab in TABS]
    assert addresses[:3] == ["watch", "step", "compare"]
    assert len(set(addresses)) == len(set(labels)) == len(TABS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": " \n"}, "The prompt is empty"),
        ({"prompt": None}, "The prompt is empty"),
        ({"prompt": "x" * (MAX_PROMPT_CHARACTERS + 1)}, "2,001 characters; at most 2,000"),
        ({"accept_top_k": 0}, "K must be a whole number, at least 1; got 0"),
        ({"gamma": 33}, "The draft length must be a whole number, from 1 to 32; got 33"),
        ({"max_new_tokens": MAX_NEW_TOKENS + 1}, "new tokens must be .* 256; got 257"),
        ({"seed": -1}, "The seed must be"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(change, message):
    with pytest.raises(UsageError, match=message):
        Ask(**{"prompt": "A", **change})


def test_controls_that_sent_no_number_are_refused_in_a_sentence():
    for value in (None, "3", 2.5, True, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="K must be a whole number"):
            whole("K", value)
    assert whole("K", 3.0) == 3
    with pytest.raises(UsageError, match="The student's temperature must be a positive"):
        policy("student", 0, 1, False)
    with pytest.raises(UsageError, match="The teacher's top_p must be in"):
        policy("teacher", 1, 2, False)
    with pytest.raises(UsageError, match="The teacher's top-p must be a number, got None"):
        policy("teacher", 1, None, False)
    assert policy("student", 1, 1, False).top_p is None


def test_one_pages_wish_to_stop_reaches_no_other():
    sessions = Sessions()
    for page in ("a", "b"):
        sessions.begin(page, "watch")
    flags = [sessions.flag(page, tab) for page, tab in (("a", "watch"), ("b", "watch"))]
    other = sessions.flag("a", "draft")
    sessions.stop("a", "watch")
    assert [flag.is_set() for flag in (*flags, other)] == [True, False, False]
    sessions.begin("a", "watch")
    assert not sessions.flag("a", "watch").is_set()  # a new run does not start as stopped
    sessions.leave("a")
    assert other.is_set() and not flags[1].is_set()


def test_a_page_keeps_its_newest_runs_apart_by_row():
    mine = []
    for step in range(KEPT_RUNS + 3):
        mine = keep(mine, [make_trace(step=step)])
    assert [trace.header["step"] for trace in mine] == list(range(3, KEPT_RUNS + 3))
    assert len({trace.header["row"] for trace in mine}) == KEPT_RUNS


class FakePair:
    alive = 0

    def __init__(self):
        FakePair.alive += 1

    def __del__(self):
        FakePair.alive -= 1


@pytest.fixture
def loads(monkeypatch):
    """Names of the pairs in the order they were loaded."""
    names = []

    def load(choice):
        names.append(choice.name)
        if choice.name == "big":
            raise MemoryError
        return FakePair()

    monkeypatch.setattr(PairChoice, "load", load)
    return names


def test_one_pair_is_in_memory_and_stays_while_it_is_asked_for(loads):
    models = Models()
    for name in ("a", "a", "b", "a"):
        with models.use(PairChoice(name)):
            assert FakePair.alive == 1 and models.loaded.name == name
    assert loads == ["a", "b", "a"]
    models.free()
    assert FakePair.alive == 0 and models.loaded is None


def test_a_use_that_does_not_end_well_frees_the_pair(loads):
    models = Models()

    def job():
        with models.use(PairChoice("a")):
            yield 1
            yield 2

    going = job()
    assert next(going) == 1 and FakePair.alive == 1
    going.close()
    assert FakePair.alive == 0 and models.loaded is None
    with pytest.raises(SkdError, match="not enough memory for big.*Choose smaller models"):
        with models.use(PairChoice("big")):
            pass
    with pytest.raises(SkdError, match="not enough memory for a "), models.use(PairChoice("a")):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
    with pytest.raises(RuntimeError, match="shape"), models.use(PairChoice("a")):
        raise RuntimeError("shape")
    assert models.loaded is None
    with models.use(PairChoice("a")):
        assert models.loaded.name == "a"


def test_work_runs_in_one_thread_whoever_reads_it():
    seen = []

    def work(stop):
        for n in range(3):
            seen.append(threading.current_thread().name)
            yield n

    found = []
    source = in_one_thread(work, threading.Event())
    for _ in range(3):  # as gradio does it: every next in another thread
        reader = threading.Thread(target=lambda: found.append(next(source)))
        reader.start()
        reader.join()
    assert found == [0, 1, 2] and list(source) == []
    assert set(seen) == {"skd-lab-model"}


def test_leaving_ends_the_work_and_an_error_reaches_the_reader():
    ended = threading.Event()

    def endless(stop):
        try:
            while True:
                yield 1
        finally:
            ended.set()

    source = in_one_thread(endless, threading.Event())
    assert next(source) == 1
    source.close()
    assert ended.wait(10)

    def broken(stop):
        yield 1
        raise UsageError("no such pair")

    with pytest.raises(UsageError, match="no such pair"):
        list(in_one_thread(broken, threading.Event()))


def test_one_recording_is_shown_once(tmp_path):
    from skd_lab.app.tab_watch import WHEN, select

    write_json_atomic(tmp_path / "one" / "config.json", {})
    write_traces(tmp_path / "one" / "traces.ndjson", [make_trace()])
    [traces] = Library(tmp_path).open("one").prompts().values()
    three = [make_trace(step=step) for step in (0, 20, 40)]
    for which in WHEN:
        assert select(traces, which) == [make_trace()]
    assert select(three, WHEN[0]) == [three[0], three[2]] and select(three, WHEN[1]) == three
