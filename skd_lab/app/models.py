"""The models of the app: one pair in memory at a time, loaded on demand, freed when not finished.

And one thread for each use of it, so that a page can be told what goes on, and can leave, at any
time: gradio resumes a generator in whatever thread is free, and torch's grad mode is a thread's.
"""

import gc
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from skd_lab.errors import SkdError

if TYPE_CHECKING:
    from skd_lab.models import Pair

T = TypeVar("T")
TICK = 1.0
"""Seconds after which a page that waits hears that it still waits."""


@dataclass(frozen=True)
class PairChoice:
    """What load_pair takes, and a name to choose it by."""

    name: str
    pair: str | None = None
    student: str | None = None
    teacher: str | None = None
    swapped: bool = False
    """Whether the two then change their roles."""

    def load(self) -> "Pair":
        """The pair as chosen, its two models exchanged if they are swapped.

        Raises:
            SkdError: as `load_pair`.
        """
        from skd_lab.models import load_pair

        pair = load_pair(self.pair, student=self.student, teacher=self.teacher)
        if not self.swapped:
            return pair
        names = {"student": pair.names["teacher"], "teacher": pair.names["student"]}
        return replace(pair, student=pair.teacher, teacher=pair.student, names=names)


class Models:
    """Holds at most one pair."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._pair: Pair | None = None
        self.loaded: PairChoice | None = None
        """What is in memory now."""

    @contextmanager
    def use(self, choice: PairChoice) -> "Iterator[Pair]":
        """The pair, until the block ends; nobody else uses a model meanwhile.

        The pair stays in memory for the next use, unless the block did not end well.

        Raises:
            SkdError: if it cannot be loaded or memory runs out; says what to do.
        """
        with self._turn:
            try:
                with memory_errors(choice.name):
                    if self._pair is None or self.loaded != choice:
                        self._drop()
                        self._pair = choice.load()
                        self.loaded = choice
                    yield self._pair
            except BaseException:
                self._drop()
                raise

    def free(self) -> None:
        """Forget the pair, and give its memory back."""
        with self._turn:
            self._drop()

    def _drop(self) -> None:
        if self._pair is None:
            return
        self._pair = self.loaded = None
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def memory_errors(name: str) -> Iterator[None]:
    """Running out of memory as one sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        texts = ("out of memory", "not enough memory", "can't allocate memory")
        told = str(error).lower()
        if not isinstance(error, MemoryError) and not any(text in told for text in texts):
            raise
        raise SkdError(
            f"There is not enough memory for {name} with a text of this length. Choose smaller "
            "models, fewer new tokens or a shorter prompt."
        ) from error


def in_one_thread(
    work: Callable[[threading.Event], Generator[T, None, None]], stop: threading.Event
) -> Generator[T | None, None, None]:
    """Run a generator in a thread of its own and pass on what it yields.

    Args:
        work: called in the thread with a flag; it ends soon after the flag is set.
        stop: the page's wish to stop; handed to `work`, and set when the caller leaves.

    Yields:
        What `work` yields, and None whenever nothing came for TICK seconds.
    """
    items: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=1)
    gone = threading.Event()

    def put(kind: str, item: object) -> None:
        while not gone.is_set():
            try:
                return items.put((kind, item), timeout=0.1)
            except queue.Full:
                continue

    def run() -> None:
        try:
            source = work(stop)
            for item in source:
                if gone.is_set():
                    source.close()  # as if the caller had closed it: models are freed
                    return
                put("item", item)
            put("end", None)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            put("error", error)

    thread = threading.Thread(target=run, name="skd-lab-model", daemon=True)
    thread.start()
    try:
        while True:
            try:
                kind, item = items.get(timeout=TICK)
            except queue.Empty:
                yield None
                continue
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(item, BaseException)
                raise item
            yield item  # type: ignore[misc]
    finally:
        gone.set()
        stop.set()
        thread.join(timeout=60)
