"""Where the time of a step goes, for every trainer alike: exclusive seconds by region.

Methods of classes are wrapped for the time of a measurement, never modules or instances, so that
the same clock stands around the same work whoever does it. A model's forward counts as "student
draft" or "teacher verify" inside a rollout, and as "student forward" or "teacher score" outside.
"""

import contextlib
import ctypes
import functools
import gc
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

REGIONS = (
    "student draft",
    "teacher verify",
    "bookkeeping",
    "teacher score",
    "student forward",
    "projection and loss",
    "backward",
    "optimizer",
    "rest",
)
"""In the order of a step; a part that a row does not have is 0."""

ROLLOUT = "bookkeeping"
"""What is left of a rollout when its forwards are taken out."""


class Meter:
    """Exclusive wall and CPU seconds by region, and calls of each region."""

    def __init__(self) -> None:
        self.roles: dict[int, str] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        self.wall: Counter[str] = Counter()
        self.cpu: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._stack: list[str] = []
        self._last = (0.0, 0.0)

    @contextlib.contextmanager
    def region(self, name: str) -> Iterator[None]:
        """Book what runs inside, less what inner regions book."""
        self._book()
        self.calls[name] += not (self._stack and self._stack[-1] == name)
        self._stack.append(name)
        try:
            yield
        finally:
            self._book()
            self._stack.pop()

    def follow(self, role: str, model: Any) -> None:
        """Book this model's forwards as the student's or the teacher's."""
        for part in (model, model.model):
            self.roles[id(part)] = role

    def of_forward(self, model: Any, *_: Any) -> str | None:
        """The region that a forward of this model belongs to."""
        role = self.roles.get(id(model))
        if role is None:
            return None
        if ROLLOUT in self._stack:
            return "student draft" if role == "student" else "teacher verify"
        return "student forward" if role == "student" else "teacher score"

    def _book(self) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = (time.perf_counter(), time.process_time())
        if self._stack:
            self.wall[self._stack[-1]] += now[0] - self._last[0]
            self.cpu[self._stack[-1]] += now[1] - self._last[1]
        self._last = now


Place = tuple[Any, str, "str | Callable[..., str | None]"]
"""A class (or module), the name of its method, the region (or what tells it by the arguments)."""


@contextlib.contextmanager
def wrapped(meter: Meter, places: list[Place]) -> Iterator[None]:
    """Book these methods while inside; afterwards the classes are as they were."""
    found = [(owner, name, owner.__dict__.get(name)) for owner, name, _ in places]
    for owner, name, region in places:
        setattr(owner, name, _booked(meter, getattr(owner, name), region))
    try:
        yield
    finally:
        for owner, name, own in found:
            if own is None:
                delattr(owner, name)  # it was inherited
            else:
                setattr(owner, name, own)


def _booked(meter: Meter, method: Callable[..., Any], region: Any) -> Callable[..., Any]:
    @functools.wraps(method)
    def booked(*args: Any, **kwargs: Any) -> Any:
        name = region if isinstance(region, str) else region(*args)
        if name is None:
            return method(*args, **kwargs)
        with meter.region(name):
            return method(*args, **kwargs)

    return booked


@contextlib.contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Most bytes held inside, above those held before, in the list's only place; nan if unknown.

    On a GPU what torch allocated; on Linux the resident set of the process.
    """
    found = [float("nan")]
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found[0] = float(torch.cuda.max_memory_allocated() - before)
    elif sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier steps freed goes back first
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        yield found
        found[0] = float(_status("VmHWM") - before)
    else:
        yield found


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
