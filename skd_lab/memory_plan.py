"""A run's needs of memory as plain data, and as a table for people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """What one process will need of one device.

    Attributes:
        device: its kind.
        parts: bytes by name, in the order of the table.
        times: bytes that live together, by what the run is doing then.
        free: bytes there are; None if the device is not here.
        rows: prompts of this process in an update.
        microbatch: rows in one forward and backward.
        largest_microbatch: the most that would fit, other things equal; 0 if none, None if
            `free` is unknown.
        largest_batch: likewise of the prompts of an update, over all processes, at the largest
            microbatch that then fits.
        notes: what the figures rest on.
    """

    device: str
    parts: Mapping[str, float]
    times: Mapping[str, float]
    free: float | None
    rows: int
    microbatch: int
    largest_microbatch: int | None
    largest_batch: int | None
    notes: list[str] = field(default_factory=list)

    @property
    def peak(self) -> float:
        """Bytes at the worst time."""
        return max(self.times.values())

    @property
    def fits(self) -> bool | None:
        """Whether the peak is below what is free; None if that is not known."""
        return None if self.free is None else self.peak <= self.free

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy, in bytes."""
        return {**vars(self), "peak": self.peak, "fits": self.fits}

    def as_text(self) -> str:
        """The table, what fits, and what the figures rest on."""
        lines = [f"One process on {self.device}, {self.rows} prompts an update:", ""]
        lines += [_line(name, size) for name, size in self.parts.items()]
        lines += ["", "together, while the run does"]
        worst = max(self.times, key=self.times.__getitem__)
        for name, size in self.times.items():
            lines.append(_line(name, size) + ("   the most" if name == worst else ""))
        lines += ["", self._verdict()]
        if self.largest_microbatch is not None:
            lines.append(self._largest())
        return "\n".join([*lines, *self.notes])

    def _verdict(self) -> str:
        need = _size(self.peak)
        if self.free is None:
            return f"It needs {need}. There is no {self.device} here to compare with."
        if self.fits:
            return f"It fits: {need} of {_size(self.free)} free."
        return f"It does not fit: {need}, and {_size(self.free)} are free. {self._advice()}"

    def _advice(self) -> str:
        """What helps at the worst time."""
        worst = max(self.times, key=self.times.__getitem__)
        if worst == "rollouts":
            return "Lower --batch-size or --max-new-tokens, or load the teacher in fewer bits."
        if worst == "optimizer step":
            return "Train adapters (--lora-rank 16), or use --optimizer adamw_8bit."
        return "Lower --microbatch-size, or add --gradient-checkpointing."

    def _largest(self) -> str:
        if self.largest_microbatch == 0:
            return "Not even one row at a time fits beside the weights and the optimizer."
        return (
            f"Largest that fits: --microbatch-size {self.largest_microbatch} as it is; then "
            f"--batch-size {self.largest_batch}."
        )


def _line(name: str, size: float) -> str:
    return f"  {name:<26} {_size(size):>10}"


def _size(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"
