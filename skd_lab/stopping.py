"""Ctrl-C and SIGTERM: the first one asks a run to stop where nothing is lost, the second at once.

A signal that raises wherever the program happens to be can leave an update half applied. So the
first one is only noted; the loop looks between two updates, saves, and raises `Stopped`.
"""

import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Signals that ask a run to stop: Ctrl-C or a notebook's stop button, and what schedulers send."""


class Stopped(KeyboardInterrupt):
    """A run was stopped as asked. Its text says what was saved and how to go on.

    Attributes:
        exit_code: of a program that ends for this reason: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


_GOING: dict[int, "StopRequest"] = {}
"""Runs that go on, by their thread."""


class StopRequest:
    """While it is entered, the first signal is noted in `number` and a second one interrupts.

    A KeyboardInterrupt that leaves the block becomes `Stopped`. Until `patient` is set the first
    signal interrupts too: there is nothing to finish yet. Only the main thread has handlers, and
    they are left as they were found; a signal that is ignored (nohup) stays ignored.

    Args:
        steps: updates of the whole run.
        go_on: the command, or the call, that goes on with the run.

    Attributes:
        number: of the last signal; None before any.
        patient: set when the loop looks at `number` between its updates.
        done: updates done; None until the run folder was started.
        saved: updates that the newest checkpoint holds; None without one.
    """

    def __init__(self, steps: int, go_on: str) -> None:
        self.steps, self.go_on = steps, go_on
        self.number: int | None = None
        self.patient = False
        self.done: int | None = None
        self.saved: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        _GOING[threading.get_ident()] = self
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):  # None: not set from Python
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _GOING.pop(threading.get_ident(), None)
        for number, before in self._before.items():
            signal.signal(number, before)
        # a signal may also come when the last look at `number` is past
        noted = kind is None and self.number is not None
        if noted or (kind is not None and issubclass(kind, KeyboardInterrupt)):
            raise Stopped(self._state(), self.number or signal.SIGINT) from None

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.number is not None
        self.number = number
        if again or not self.patient:
            raise KeyboardInterrupt
        with contextlib.suppress(RuntimeError, OSError):  # stderr may be in the middle of a write
            print(
                "\nStopping after this update, then saving; interrupt again to stop at once.",
                file=sys.stderr,
                flush=True,
            )

    def _state(self) -> str:
        """What was done and saved, and how to go on."""
        if self.done is None:
            return "Stopped before the first update; start again as you did."
        if self.saved is None:
            return f"Stopped before the first checkpoint; start again with: {self.go_on}"
        if self.saved == self.done:
            return (
                f"Stopped; {self.done} of {self.steps} updates are done and saved; go on with: "
                f"{self.go_on}"
            )
        return (
            f"Stopped at once after {self.done} of {self.steps} updates, of which {self.saved} are "
            f"saved; go on from there with: {self.go_on}"
        )


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """While it is entered, SIGTERM raises `Stopped`, as Ctrl-C raises KeyboardInterrupt.

    For work that is kept part by part. Only the main thread has handlers; a signal that is ignored
    stays ignored.
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    if before in (signal.SIG_IGN, None):  # None: not set from Python
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped("Stopped; what was written is kept.", number)


def stop_run_in(thread: threading.Thread) -> bool:
    """Ask the run that goes on in a thread to stop, as the first Ctrl-C does.

    Returns:
        Whether a run goes on there. It ends, saved, after the update in hand.
    """
    stop = _GOING.get(thread.ident or -1)
    if stop is not None:
        stop.number = stop.number or signal.SIGINT
    return stop is not None


def resume_command(run_dir: str) -> str:
    """What goes on with a run on the command line."""
    return shlex.join(["skd-lab", "train", "--run-dir", run_dir, "--resume"])


RESUME_CALL = "skd_lab.train(config.replace(resume=True, overwrite=False), ...)"
"""What goes on with a run that was given models or data in Python."""
