"""Training from the page: what is refused, how far a run says it is, and what a stop leaves."""

import contextlib
import importlib
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from skd_lab.app import build_app, launch, training
from skd_lab.app.frame import Frame
from skd_lab.app.library import Library
from skd_lab.app.models import Models
from skd_lab.app.tab_train import board_value, read
from skd_lab.app.train_ask import (
    MAX_PROMPTS,
    MAX_UPDATES,
    METHOD_WORDS,
    TASKS,
    TrainAsk,
    free_name,
    run_name,
)
from skd_lab.app.training import Trainer, Training
from skd_lab.checkpoints import newest_whole
from skd_lab.config import RunConfig
from skd_lab.errors import UsageError
from skd_lab.methods import CORE_METHODS
from skd_lab.records import StepRecord
from skd_lab.runs import Run
from skd_lab.stopping import Stopped, StopRequest, stop_run_in
from skd_lab.tasks import get_task

SMALL = {"pair": "tiny-qwen3", "updates": 6, "prompts": 20}


def wait(holds, seconds=60.0):
    """Until it holds; the tests' own patience, far above what is needed."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "/etc", "a\\b", "C:x", "..", ".hidden", "a b", "-x", "\u202ex", "x" * 61],
)
def test_a_name_that_is_a_path_or_no_word_is_refused(name):
    with pytest.raises(UsageError, match="path|letters"):
        run_name(name)


def test_a_name_is_one_word():
    assert run_name(" my-run_1.2 ") == "my-run_1.2"
    for nothing in ("", "  ", None, 3):
        with pytest.raises(UsageError, match="no name"):
            run_name(nothing)


def test_the_next_free_name_is_offered(tmp_path):
    assert free_name(tmp_path, "skd") == "skd-1"
    (tmp_path / "skd-1").mkdir()
    assert free_name(tmp_path, "skd") == "skd-2"
    assert free_name(tmp_path, "skd", taken="skd-2") == "skd-3"


def test_every_method_has_words_and_every_task_makes_its_own_prompts():
    assert set(METHOD_WORDS) == set(CORE_METHODS)
    for task in TASKS:
        assert len(get_task(task).load("train", 2)) == 2


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("method", "dpo", "no method 'dpo'"),
        ("task", "/etc/passwd", "no task"),
        ("accept_top_k", 0, "K must be 1 or more"),
        ("updates", MAX_UPDATES + 1, f"from 1 to {MAX_UPDATES}"),
        ("updates", 0, f"from 1 to {MAX_UPDATES}"),
        ("prompts", MAX_PROMPTS + 1, f"from 1 to {MAX_PROMPTS}"),
        ("learning_rate", 0.0, "learning rate"),
        ("learning_rate", float("nan"), "learning rate"),
        ("learning_rate", 2.0, "learning rate"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_words(field, value, words):
    with pytest.raises(UsageError, match=words):
        TrainAsk(**{"name": "x", "pair": "tiny-qwen3", field: value})


@pytest.mark.parametrize("place, value", [(4, 2.5), (5, None), (6, True), (7, "much")])
def test_what_a_control_sends_that_is_no_number_is_refused_in_words(place, value):
    values = ["x", "skd", "tiny-qwen3", "summaries", 3, 6, 20, 0.001]
    assert read(*values).updates == 6
    values[place] = value
    with pytest.raises(UsageError, match="must be a"):
        read(*values)


def test_the_page_trains_as_the_command_line_does_and_keeps_what_time_lapse_needs(tmp_path):
    config = TrainAsk(name="x", pair="tiny-qwen3", updates=120, prompts=50).config(tmp_path)
    assert (config.n_prompts, config.accept_top_k, config.gamma) == (50, 3, 4)
    assert config.run_dir == str(tmp_path / "x") and config.keep_checkpoints is None
    assert config.save_every == config.trace_every == 20 and not config.overwrite


def test_a_run_is_trained_recorded_and_cannot_be_started_twice(tmp_path):
    trainer = Trainer(Library(tmp_path))
    with pytest.raises(UsageError, match="no pair"):
        trainer.start(TrainAsk(name="one", pair="/some/folder"))
    begun = trainer.start(TrainAsk(name="one", **SMALL))
    with pytest.raises(UsageError, match="training already: one, of 6 updates"):
        trainer.start(TrainAsk(name="two", **SMALL))
    wait(lambda: not begun.going)
    records = begun.records
    assert (begun.state, begun.problem, [one.step for one in records]) == (
        "done",
        "",
        [*range(1, 7)],
    )
    sentence = begun.sentence(records)
    loss = f"{records[-1].metrics['loss']:.3f}"
    assert sentence.startswith(f"one: update 6 of 6, loss {loss}, replaced ") and "Done" in sentence
    watched = begun.watched()
    assert [trace.header["step"] for trace in watched] == [*range(7)]
    assert len({trace.header["row"] for trace in watched}) == 1
    most = [trace.replaced for trace in Run(tmp_path / "one").traces if trace.header["step"] == 0]
    assert watched[0].replaced == max(most) and len(most) == 4
    assert len(list((tmp_path / "one" / "checkpoints").glob("step-*/student"))) == 6
    with pytest.raises(UsageError, match="already a run named one"):
        trainer.start(TrainAsk(name="one", **SMALL))
    assert not (tmp_path / "two").exists()


def test_a_stop_keeps_a_checkpoint_and_says_how_to_go_on(tmp_path):
    trainer = Trainer(Library(tmp_path))
    trainer.stop()  # nothing to stop is no fault
    begun = trainer.start(TrainAsk(name="long", pair="tiny-qwen3", updates=300, prompts=20))
    wait(lambda: begun.records)
    trainer.stop()
    assert begun.state in ("stopping", "stopped")
    wait(lambda: not begun.going)
    done = len(begun.records)
    assert begun.state == "stopped" and 0 < done < 300
    assert newest_whole(tmp_path / "long" / "checkpoints")[1] == done
    words = begun.sentence(begun.records)
    assert f"update {done} of 300" in words and "the checkpoint is saved" in words
    assert f"skd-lab train --run-dir {tmp_path / 'long'} --resume" in words


def test_a_stop_while_the_models_load_is_not_lost(tmp_path):
    trainer = Trainer(Library(tmp_path))
    begun = trainer.start(TrainAsk(name="soon", **SMALL))
    trainer.stop()
    wait(lambda: not begun.going)
    assert begun.state == "stopped" and len(begun.records) <= 1


def test_a_server_for_visitors_keeps_so_many_runs_and_no_more(tmp_path):
    gr = pytest.importorskip("gradio")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    Trainer(Library(tmp_path)).check_room()
    Trainer(Library(tmp_path), most=3).check_room()
    with pytest.raises(UsageError, match="keeps 2 runs and has no room"):
        Trainer(Library(tmp_path), most=2).start(TrainAsk(name="c", **SMALL))
    for own, limit in ((True, None), (False, training.MAX_RUNS)):
        frame = Frame(
            library=Library(tmp_path),
            models=Models(),
            own_models=own,
            mine=gr.State([]),
            app=gr.Blocks(),
        )
        assert frame.trainer._most == limit


def test_a_run_that_cannot_be_written_fails_in_a_sentence(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    trainer = Trainer(Library(tmp_path / "runs"))
    begun = trainer.start(TrainAsk(name="x", **SMALL))
    wait(lambda: not begun.going)
    assert begun.state == "failed" and "is a file" in begun.sentence([])
    assert trainer.start(TrainAsk(name="y", **SMALL)) is trainer.latest  # the next one may begin
    wait(lambda: not trainer.latest.going)


def test_a_fault_of_the_program_is_said_too(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")

    importlib.import_module("skd_lab.train")  # by name: the front door has a function so called
    monkeypatch.setattr(sys.modules["skd_lab.train"], "train", broken)
    trainer = Trainer(Library(tmp_path))
    begun = trainer.start(TrainAsk(name="x", **SMALL))
    wait(lambda: not begun.going)
    assert begun.state == "failed" and "a fault of the program" in begun.sentence([])


def test_the_time_that_is_left_follows_the_pace(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    run = Training(RunConfig(pair="tiny-qwen3", steps=20), began=90.0)
    assert run.seconds_left(0) is None and "making ready, 10 s" in run.sentence([])
    run.first = 2, 100.0
    clock[0] = 108.0
    assert run.seconds_left(2) is None
    assert run.seconds_left(6) == 2.0 * 14


def test_the_curves_hold_what_was_measured_and_null_where_nothing_was(tmp_path):
    records = [StepRecord(1, {"loss": 2.0}), StepRecord(2, {"loss": 1.0, "replacement_rate": 0.5})]
    value = json.loads(board_value(Training(RunConfig(pair="tiny-qwen3", steps=9)), records))
    assert value["x"] == [1, 2] and value["loss"] == [2.0, 1.0] and value["steps"] == 9
    assert value["replaced"] == [None, 0.5]


def test_only_a_run_that_goes_on_can_be_asked_to_stop_and_each_by_its_thread():
    assert not stop_run_in(threading.current_thread())
    ready, asked, found = threading.Event(), threading.Event(), []

    def run():
        with contextlib.suppress(Stopped), StopRequest(3, "again") as stop:
            ready.set()
            asked.wait(30)
            found.append(stop.number)

    threads = [threading.Thread(target=run) for _ in range(2)]
    threads[0].start()
    ready.wait(30)
    assert stop_run_in(threads[0]) and not stop_run_in(threads[1])
    asked.set()
    threads[0].join(30)
    assert found == [2] and not stop_run_in(threads[0])


def test_the_endpoints_train_tell_and_stop(tmp_path):
    gradio_client = pytest.importorskip("gradio_client")
    app = build_app(tmp_path)
    url = launch(app, prevent_thread_lock=True, quiet=True)[1]
    try:
        client = gradio_client.Client(url, verbose=False)
        assert client.predict(api_name="/training") == {}
        for wrong, words in (
            ({"name": "../x"}, "is a path"),
            ({"name": "x", "updates": 10**6}, "from 1 to 300"),
            ({"name": "x", "pair": "/some/folder"}, "no pair"),
        ):
            with pytest.raises(Exception, match=words):
                client.predict(api_name="/train_run", **wrong)
        assert list(Path(tmp_path).iterdir()) == []
        name = client.predict(name="web", updates=300, prompts=20, api_name="/train_run")
        assert name == "web"
        with pytest.raises(Exception, match="training already"):
            client.predict(name="web2", updates=6, api_name="/train_run")
        wait(lambda: client.predict(api_name="/training")["done"] > 0)
        assert client.predict(api_name="/stop_training") == "web"
        wait(lambda: client.predict(api_name="/training")["state"] == "stopped")
        told = client.predict(api_name="/training")
        assert told["done"] == len(Run(tmp_path / "web").steps) and "Stopped" in told["sentence"]
    finally:
        app.close()
