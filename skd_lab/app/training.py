"""A training run started from the page: the one that goes on, and how far it is.

It trains in a thread of its own, so every page can look at how far it is, and a page that is
closed or loaded again changes nothing.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from skd_lab.app.library import Library
from skd_lab.app.models import memory_errors
from skd_lab.app.train_ask import TrainAsk
from skd_lab.config import RunConfig
from skd_lab.errors import DataError, SkdError, UsageError
from skd_lab.records import StepRecord, Trace
from skd_lab.runs import Run, good_traces, list_runs
from skd_lab.stopping import Stopped, resume_command, stop_run_in
from skd_lab.views.history import by_prompt

MAX_RUNS = 100
"""Where visitors are not the owner of the machine."""


@dataclass
class Training:
    """A run that trains, or did. How far it is, its run folder says."""

    config: RunConfig
    state: str = "training"
    """"training", "stopping", "stopped", "done" or "failed"."""
    problem: str = ""
    """Why it failed, in a sentence."""
    thread: threading.Thread | None = None
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    first: tuple[int, float] | None = None
    """Updates done when somebody first saw any, and when that was: the pace is counted from it."""

    @property
    def name(self) -> str:
        """Of the run: its folder's."""
        return Path(self.config.run_dir).name

    @property
    def going(self) -> bool:
        """Whether it trains, or finishes its last update after a stop."""
        return self.state in ("training", "stopping")

    @property
    def records(self) -> list[StepRecord]:
        """Of the updates done so far."""
        try:
            found = Run(self.config.run_dir, strict=False).steps
        except SkdError:
            return []  # the models are being loaded
        if found and self.first is None:
            self.first = len(found), time.monotonic()
        return found

    def seconds_left(self, done: int) -> float | None:
        """By the pace so far; None before there is one."""
        if self.first is None or done <= self.first[0]:
            return None
        pace = (time.monotonic() - self.first[1]) / (done - self.first[0])
        return pace * (self.config.steps - done)

    def sentence(self, records: list[StepRecord]) -> str:
        """Where it is, for the line under the buttons."""
        done, steps = len(records), self.config.steps
        spent = _clock((self.ended or time.monotonic()) - self.began)
        if self.state == "failed":
            return self.problem
        where = f"{self.name}: update {done} of {steps}{_measured(records)}"
        if self.state == "stopping":
            return f"{where}. Stopping after this update, then saving."
        if self.state == "stopped":
            saved = "the checkpoint is saved, the run is in Runs" if done else "nothing was trained"
            return f"{where}. Stopped in {spent}; {saved}. {self.problem}"
        if self.state == "done":
            return f"{where}. Done in {spent}; the run is in Runs and in Time-lapse."
        if not done:
            return f"{self.name}: making ready, {spent} so far."
        left = self.seconds_left(done)
        ahead = "" if left is None else f", about {_clock(left)} to go"
        return f"{where}. {spent} so far{ahead}."

    def watched(self) -> list[Trace]:
        """Recordings so far, in step order, of the prompt with most refusals in its first."""
        try:
            traces = good_traces(Path(self.config.run_dir) / "traces.ndjson", [])
        except DataError:
            return []
        return by_prompt(traces)[0] if traces else []


class Trainer:
    """At most one run at a time, over all pages.

    Args:
        library: where runs are kept.
        most: runs that visitors may fill its folder with; None for no limit.
    """

    def __init__(self, library: Library, most: int | None = None) -> None:
        self._library, self._lock, self._most = library, threading.Lock(), most
        self.latest: Training | None = None
        """The run that goes on, or the last one that did."""

    def check_room(self) -> None:
        """Raise UsageError if no further run is to be kept here."""
        if self._most is not None and len(list_runs(self._library.runs_dir)) >= self._most:
            raise UsageError(
                f"This server keeps {self._most} runs and has no room for more. Install skd_lab "
                "and open the app on your own machine."
            )

    def start(self, ask: TrainAsk) -> Training:
        """Begin to train; returns at once.

        Raises:
            UsageError: if a run is going on, or one of that name exists, or the pair is unknown,
                or there is no room.
        """
        self.check_room()
        bundled = [key for key, pair in self._library.pairs().items() if pair.pair == key]
        if ask.pair not in bundled:
            raise UsageError(f"There is no pair {ask.pair!r}. Use one of {', '.join(bundled)}.")
        config = ask.config(self._library.runs_dir)
        with self._lock:
            if self.latest and self.latest.going:
                raise UsageError(
                    f"A run is training already: {self.latest.name}, of "
                    f"{self.latest.config.steps} updates. Wait for its end, or stop it."
                )
            if Path(config.run_dir).exists():
                raise UsageError(f"There is already a run named {ask.name}. Choose another name.")
            self.latest = training = Training(config)
        training.thread = threading.Thread(
            target=_train, args=(training,), name="skd-lab-train", daemon=True
        )
        training.thread.start()
        return training

    def stop(self) -> None:
        """Let the run end after the update in hand, saved."""
        training = self.latest
        if training and training.going:
            training.state = "stopping"
            threading.Thread(target=_ask_to_stop, args=(training,), daemon=True).start()


def _ask_to_stop(training: Training) -> None:
    """Until the run has heard: while it loads its models there is nobody to ask yet."""
    while training.going and training.thread is not None and not stop_run_in(training.thread):
        time.sleep(0.05)


def _train(training: Training) -> None:
    """The thread's work; however it ends is said in `training`."""
    state, problem = "failed", ""
    try:
        from skd_lab.train import train

        with memory_errors(str(training.config.pair)):
            train(training.config, progress=False)
        state = "done"
    except Stopped:
        state = "stopped"
        problem = f"To go on: {resume_command(training.config.run_dir)}"
    except SkdError as error:
        problem = str(error)
    except Exception as error:
        logging.getLogger("skd_lab").exception("training from the page failed")
        problem = (
            f"The training ended by a fault of the program ({type(error).__name__}: {error}). "
            "What it saved is in Runs."
        )
    finally:
        training.ended, training.problem = time.monotonic(), problem
        training.state = state


def _measured(records: list[StepRecord]) -> str:
    if not records:
        return ""
    from skd_lab.progress import measured

    shown = measured(records[-1].metrics)
    parts = [f"{name} {shown[name]}" for name in ("loss", "replaced") if name in shown]
    return f", {', '.join(parts)}" if parts else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
