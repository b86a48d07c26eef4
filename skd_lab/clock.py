"""Wall-clock seconds by named phase: where a training step or a rollout spends its time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class PhaseClock:
    """Adds up wall seconds under names such as "draft", "verify", "update"."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what runs inside; a name used again is added to.

        CUDA work is asynchronous, so both ends wait for the device: otherwise the
        time would be booked to whichever phase happens to synchronise next.
        """
        started = self._now()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - started

    def reset(self) -> None:
        """Forget everything counted so far."""
        self.seconds.clear()

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return time.perf_counter()
