"""Updates that fit in equal CPU seconds, and how long the rest of a grid will take."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skd_lab.axes import UNTRAINED
from skd_lab.files import read_json, write_json_atomic
from skd_lab.grids import Cell, Grid


def equal_updates(
    grid: Grid, rows: Mapping[str, Mapping[str, Any]], folder: Path
) -> dict[str, int]:
    """How many updates each cell with equal CPU seconds is given.

    Its method's seconds an update and the seconds of the whole baseline run are means over the
    seeds that are done. What was found once stays, in `folder/updates.json`, so that a grid that
    is gone on with does not compare runs of different lengths.

    Args:
        grid: its cells are looked at.
        rows: by cell name, those that are finished.
        folder: of the grid.

    Returns:
        By a cell's `setting`. A setting is left out when no run of its own or of the baseline is
        done yet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "updates.json"
    known: dict[str, int] = read_json(path) if path.exists() else {}
    costs: dict[str, list[tuple[float, float]]] = {}
    for cell in grid.cells():
        row = rows.get(cell.name, {})
        if row.get("status") == "done" and row.get("updates"):
            costs.setdefault(cell.setting, []).append((row["cpu_seconds"], row["updates"]))
    for cell in grid.cells():
        if cell.paces is None or cell.setting in known:
            continue
        own, base = (costs.get(other.setting) for other in cell.paces)
        if own and base:
            an_update = sum(seconds for seconds, _ in own) / sum(updates for _, updates in own)
            seconds = sum(seconds for seconds, _ in base) / len(base)
            known[cell.setting] = max(1, round(seconds / an_update))
    write_json_atomic(path, known)
    return known


class Forecast:
    """Seconds a cell takes, by method, from those that are done.

    Args:
        rows: finished cells of earlier calls.
        workers: cells at once.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], workers: int) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.workers = workers
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """A cell that was finished."""
        if row["status"] == "done":
            self.seconds.setdefault(row["method"], []).append(row["seconds"])

    def left(self, cells: Sequence[Cell]) -> float | None:
        """Seconds that these cells will take; None if nothing is known yet."""
        every = [
            s for method, found in self.seconds.items() if method not in UNTRAINED for s in found
        ]
        known = {method: sum(found) / len(found) for method, found in self.seconds.items()}
        if not known:
            return None
        usual = sum(every) / len(every) if every else max(known.values())
        return sum(known.get(cell["method"], usual) for cell in cells) / self.workers

    def words(self, cells: Sequence[Cell]) -> str:
        """For people."""
        seconds = self.left(cells)
        if seconds is None:
            return f"{len(cells)} cells left"
        return f"{len(cells)} cells left, about {max(1, round(seconds / 60))} min"
