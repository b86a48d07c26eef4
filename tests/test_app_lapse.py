"""Time-lapse: recordings in order with their counts, and one text judged by every checkpoint."""

import re
from threading import Event

import pytest
from fake_runs import STEPS, write_demo
from synthetic import make_trace

import skd_lab as skd
from skd_lab.app import build_app, launch
from skd_lab.app.chooser import Chooser
from skd_lab.app.lapse import (
    check_text_of,
    checkpoints_of,
    in_words,
    judge,
    judge_over_time,
    limits_of,
    refusals,
)
from skd_lab.app.models import Models
from skd_lab.app.tab_lapse import _stream
from skd_lab.errors import DataError, UsageError
from skd_lab.files import write_json_atomic
from skd_lab.presets import with_preset
from skd_lab.records import Trace, loads_traces, write_traces
from skd_lab.runs import Run
from skd_lab.views import redecide
from skd_lab.views.history import by_prompt

VERDICT = ("source", "proposed_id", "teacher_rank", "kept_id")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """runs/ with the demo and a small run that was really trained."""
    root = tmp_path_factory.mktemp("runs")
    write_demo(root)
    asked = {"pair": "tiny-qwen3", "steps": 12, "n_prompts": 100}
    often = {"save_every": 1, "trace_every": 6, "trace_prompts": 2}
    config = with_preset({**asked, **often, "run_dir": str(root / "small")})
    skd.train(config.replace(keep_checkpoints=None), progress=False)
    return root


@pytest.fixture(scope="module")
def small(root):
    return Run(root / "small")


@pytest.fixture(scope="module")
def judged(small):
    """Every checkpoint's verdicts on the last text of the prompt with most refusals."""
    recordings = by_prompt(small.traces)[0]
    return recordings, list(judge_over_time(Models(), small, recordings, Event()))


def test_checkpoints_come_in_the_order_of_their_updates_behind_the_student_of_the_start(small):
    found = checkpoints_of(small)
    assert [one.step for one in found] == [*range(13)]  # step-10 behind step-9
    assert found[0].student is None and all(one.student.is_dir() for one in found[1:])


def test_every_checkpoint_judges_the_same_text_and_they_come_one_by_one(judged):
    recordings, news = judged
    assert [len(traces) for traces in news] == [*range(1, 14)]
    traces = news[-1]
    assert [trace.header["step"] for trace in traces] == [*range(13)]
    wanted = [token["kept_id"] for token in recordings[-1].tokens]
    for trace in traces:
        assert [token["kept_id"] for token in trace.tokens] == wanted
        assert trace.verified == len(wanted) == trace.accepted + trace.replaced
        assert trace.header["rule"] == "teacher_forced" and trace.header["accept_top_k"] == 3
        assert trace.header["row"] == recordings[0].header["row"]


def test_on_its_own_text_a_checkpoint_gives_the_recorded_verdicts(small, judged):
    """Exact: the recording's ids, random numbers and models give the recording's proposals."""
    recordings, news = judged
    trace, recording = news[-1][-1], recordings[-1]
    assert trace.header["step"] == recording.header["step"] == 12
    for one, other in zip(trace.tokens, recording.tokens, strict=True):
        assert [one[name] for name in VERDICT] == [other[name] for name in VERDICT]
        assert one["kl"] == pytest.approx(other["kl"], rel=1e-4, abs=1e-6)
    pair = skd.load_pair("tiny-qwen3")
    first = judge(pair, pair.student, recordings[0], 0)
    for one, other in zip(first.tokens, recordings[0].tokens, strict=True):
        assert [one[name] for name in VERDICT] == [other[name] for name in VERDICT]


def test_training_brings_the_student_nearer_on_the_same_texts(small, judged):
    other = list(judge_over_time(Models(), small, by_prompt(small.traces)[1], Event()))[-1]
    first, last = (
        sum(token["kl"] for texts in (judged[1][-1], other) for token in texts[place].tokens)
        for place in (0, -1)
    )
    assert last < first
    for texts in (judged[1][-1], other):
        assert texts[0].tokens[0]["p_teacher"] == texts[-1].tokens[0]["p_teacher"]


def test_another_k_is_decided_on_the_given_text_to_its_end(judged):
    trace = judged[1][-1][0]
    ranks = [token["teacher_rank"] for token in trace.tokens]
    for k in (1, 2, 10):
        found = redecide(trace, k)
        assert found.replaced == sum(rank > k for rank in ranks) and found.fork is None


def test_a_stop_ends_between_two_checkpoints_and_the_pair_can_be_used_again(small):
    stop, models, seen = Event(), Models(), []
    for traces in judge_over_time(models, small, by_prompt(small.traces)[0], stop):
        seen.append(len(traces))
        if len(traces) == 2:
            stop.set()
    assert seen == [1, 2] and models.loaded is not None
    assert len(next(judge_over_time(models, small, by_prompt(small.traces)[0], Event()))) == 1


def test_where_nothing_can_be_judged_it_is_said_why(root, tmp_path):
    with pytest.raises(UsageError, match="does not say which models"):
        checkpoints_of(Run(root / "demo"))
    write_json_atomic(tmp_path / "bare" / "config.json", {"pair": "tiny-qwen3"})
    with pytest.raises(UsageError, match="kept no checkpoint"):
        checkpoints_of(Run(tmp_path / "bare"))
    trace = make_trace()
    assert check_text_of([trace]) is trace
    with pytest.raises(UsageError, match="no recording"):
        check_text_of([])
    for change in ({"accept_top_k": None}, {"policies": {"variant": "released"}}):
        with pytest.raises(UsageError, match="another rule"):
            check_text_of([Trace({**trace.header, **change}, trace.tokens)])
    for header, tokens in ({"prompt_ids": []}, trace.tokens), ({}, []):
        with pytest.raises(DataError, match="no ids"):
            check_text_of([Trace({**trace.header, **header}, tokens)])


def test_a_line_of_k_gives_each_place_its_own():
    assert limits_of([25, 10, 1], 5) == [25, 10, 1, 1, 1] and limits_of(3, 2) == [3, 3]


def test_the_sentence_counts_the_first_and_the_last_recording():
    traces = [make_trace(replaced_every=every, step=step) for step, every in ((0, 4), (40, 12))]
    rows = refusals(traces)
    assert [row["refused"] for row in rows] == [9, 3] and rows[0]["judged"] == 36
    words = in_words(traces)
    assert words == (
        "2 recordings: 9 of 36 proposals refused before training, 3 of 36 after update 40."
    )
    assert "one recording" in in_words(traces[:1]) and in_words([]) == ""


def test_the_tab_says_why_a_recording_of_the_package_cannot_be_judged(tmp_path):
    from types import SimpleNamespace

    from skd_lab.app.library import Library

    library = Library(tmp_path)
    frame = SimpleNamespace(library=library, models=Models())
    chooser = SimpleNamespace(find=lambda *wanted: Chooser.find(found, *wanted))
    found = SimpleNamespace(_open=lambda name, mine: library.open(name))
    with pytest.raises(UsageError, match="no checkpoints, so there is nobody"):
        list(_stream(frame, chooser, Event(), library.names()[0], None, []))


def test_the_endpoints_give_order_and_counts(root):
    gradio_client = pytest.importorskip("gradio_client")
    app = build_app(root)
    url = launch(app, prevent_thread_lock=True, quiet=True)[1]
    try:
        client = gradio_client.Client(url, verbose=False)
        prompts = client.predict(run="demo", api_name="/prompts_of")
        assert [one["prompt"] for one in prompts] == [1, 2]
        counts = [(one["step"], one["refused"], one["judged"]) for one in prompts[0]["recordings"]]
        assert counts == [(0, 9, 36), (20, 4, 36), (STEPS, 2, 36)]
        traces = loads_traces(client.predict(run="demo", prompt=1, api_name="/time_lapse"))
        assert [(t.header["step"], t.replaced, t.verified) for t in traces] == counts
        text = client.predict(run="small", prompt=2, one_text=True, api_name="/time_lapse")
        assert [trace.header["step"] for trace in loads_traces(text)] == [*range(13)]
        for wrong, words in (
            ({"run": "demo", "prompt": 7}, "has 2 recorded prompts"),
            ({"run": "nobody"}, "no run named"),
            ({"run": "demo", "one_text": True}, "which models"),
        ):
            with pytest.raises(Exception, match=re.escape(words)):
                client.predict(api_name="/time_lapse", **wrong)
    finally:
        app.close()


def test_a_damaged_recording_is_shown_as_far_as_it_is_whole(tmp_path):
    from skd_lab.app.library import Library
    from skd_lab.app.listing import look

    write_json_atomic(tmp_path / "run" / "config.json", {})
    path = tmp_path / "run" / "traces.ndjson"
    write_traces(path, [make_trace(step=0), make_trace(step=5)])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:40], "{damage", *lines[41:]]) + "\n")
    opened = look(Library(tmp_path), "run")
    assert [trace.header["step"] for trace in opened.traces] == [0, 5]
    assert [len(trace.tokens) for trace in opened.traces] == [36, 2]
    assert "line 41" in " ".join(opened.notes)
