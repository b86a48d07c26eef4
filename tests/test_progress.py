"""What a run says of itself: counts at the start, numbers on the way, the student at the end."""

import io
import math
import sys
import types
from pathlib import Path

import pytest

from skd_lab import progress
from skd_lab.config import RunConfig
from skd_lab.encode import Encoded, EncodeReport
from skd_lab.progress import Progress, measured
from skd_lab.tasks import Example

METRICS = {"loss": 0.1234, "replacement_rate": 0.25, "tokens_per_second": 1234.5}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stderr(monkeypatch):
    """stderr("file") or stderr("terminal"): what is written there."""

    def use(kind):
        stream = Terminal() if kind == "terminal" else io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return use


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def rows(history=()):
    """Eight prompts, of which the first is a chat with earlier turns."""
    chats = [
        [*history, {"role": "user", "content": "Hi"}],
        *([{"role": "user", "content": "Hi"}],) * 7,
    ]
    return [
        Encoded(example=Example(id=str(i), messages=chat), prompt_ids=[1], reference_ids=None)
        for i, chat in enumerate(chats)
    ]


def shown(done=0, steps=4, shown=True, **counts):
    config = RunConfig(pair="tiny-qwen3", steps=steps, batch_size=2)
    data = EncodeReport(
        **{"cut": 0, "dropped": 0, "references_cut": 0, "encoded": rows(), **counts}
    )
    return Progress(config, data, done, shown)


def test_the_start_counts_prompts_and_updates(stderr):
    said = stderr("file")
    shown(cut=3, dropped=2).close()
    expected = "skd: 8 of 10 prompts (3 of them cut at the start), 2 too long and left out; "
    assert said.getvalue() == expected + "4 updates of 2\n"
    said = stderr("file")
    earlier = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    shown(references_cut=2, encoded=rows(earlier)).close()
    expected = "references cut at the end: 2, chats of which only the last answer is trained: 1"
    assert expected in said.getvalue()
    said = stderr("file")
    shown(done=3).close()
    assert said.getvalue() == "skd: 8 of 8 prompts; 4 updates of 2, going on after update 3\n"


def test_a_log_file_gets_a_line_now_and_then_and_no_carriage_return(stderr, clock):
    said = stderr("file")
    lines = shown(done=10, steps=1010)
    for _ in range(1000):
        clock[0] += 1
        lines.update(METRICS)
    lines.finish(Path("runs/skd/student"))
    text = said.getvalue().splitlines()
    assert "\r" not in said.getvalue()
    assert 50 < len(text) < 102  # rarer as the run grows longer
    assert text[1].startswith("skd 20/1010  loss 0.123  replaced 25.0%  tokens/s 1,234")
    assert text[1].endswith("00:10 so far, 16:30 to go")  # a second each, 990 of them
    assert text[-2].startswith("skd 1010/1010")
    assert text[-1] == "skd: 1010 updates done, 16:40; the student is in runs/skd/student"


def test_a_terminal_gets_a_bar_with_the_numbers(stderr):
    said = stderr("terminal")
    bar = shown()
    for _ in range(4):
        bar.update(METRICS)
    bar.finish(Path("student"))
    text = said.getvalue()
    assert "\r" in text and "4/4" in text
    assert "loss=0.123, replaced=25.0%, tokens/s=1,234" in text
    assert text.endswith("the student is in student\n")


def test_a_notebook_gets_a_bar_whatever_its_stderr_is(stderr, monkeypatch):
    stderr("file")
    shell = types.SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert not shown().lines
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert shown().lines


@pytest.mark.parametrize("kind", ["file", "terminal"])
def test_nothing_is_said_when_not_asked(kind, stderr):
    said = stderr(kind)
    quiet = shown(shown=False)
    quiet.update(METRICS)
    quiet.finish(Path("student"))
    assert said.getvalue() == ""


def test_what_was_not_measured_is_not_shown():
    assert measured({**METRICS, "replacement_rate": math.nan}) == {
        "loss": "0.123",
        "tokens/s": "1,234",
    }
    assert measured({}) == {}
