"""A grid of runs made into one table: cell by cell, resumable, with a forecast.

A grid's folder holds `grid.json` (its definition), `starts/` (students to start from), a run
folder a cell in `cells/`, each with `cell.json` once it is finished, and `results.jsonl`, a line a
cell. A cell that is there is not run again; one that failed is in the table with its error, and is
tried again by the next call.
"""

import functools
from collections.abc import Callable, Container, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from skd_lab.axes import FULL, UNTRAINED
from skd_lab.budgets import Forecast, equal_updates
from skd_lab.cells import make_models, models_once, run_cell
from skd_lab.errors import DataError, SkdError, UsageError
from skd_lab.files import read_json, write_json_atomic
from skd_lab.grids import Cell, Grid
from skd_lab.methods import METHODS, get_method
from skd_lab.metrics import require_packages
from skd_lab.results import check_row, write_results
from skd_lab.stopping import Stopped, sigterm_interrupts
from skd_lab.tasks import Example, get_task
from skd_lab.workers import process_pool

TUNING_SEED = 1000
"""Of the runs that choose a learning rate; no run of a table has it."""
TUNING_PROMPTS = 100
SWEPT = (
    "accept_top_k",
    "replacement",
    "objective",
    "beta",
    "on_policy_fraction",
    "steps",
    "budget",
)
"""Axes that a method is swept over at one learning rate."""
Say = Callable[[str], None]


def run_grid(
    grid: Grid,
    folder: str | Path,
    *,
    workers: int = 1,
    progress: bool = True,
    say: Say = print,
    prepare: Callable[[], None] | None = None,
) -> list[dict[str, Any]]:
    """Run what is missing of a grid, and write its results.

    Args:
        grid: what to run.
        folder: of the grid; one that holds a part of it is gone on with.
        workers: cells at once, each in a process of its own with one thread.
        progress: show each run's own bar (with one worker).
        say: told in a sentence what is done and how much time is left.
        prepare: called by each of several workers before its first cell, to register methods that
            are not the core's; a function of a module, since another process must find it.

    Returns:
        The rows of results.jsonl: a finished or failed cell each, this call's and those that
        earlier calls made in the folder.

    Raises:
        UsageError: another grid's settings in the folder, references that a method needs and a
            task does not have, a metric whose package is not installed.
        DataError: a file of the folder that is damaged.
        Stopped: a KeyboardInterrupt that says how far the grid is.
    """
    folder = Path(folder)
    cells = grid.cells()
    if workers < 1:
        raise UsageError(f"--workers must be at least 1, got {workers}.")
    everything = _with_folder(grid, folder)
    _require_data(grid, cells)
    if grid.rates:
        how = {"workers": workers, "progress": progress, "say": say, "prepare": prepare}
        wanted = {cell.tuned_as for cell in cells}
        grid = replace(grid, chosen=choose_rates(everything, folder, wanted, **how))
    rows = {c.name: row for c in everything.cells() if (row := _finished(folder, c))}
    write_json_atomic(folder / "grid.json", everything.to_dict())
    missing = [cell for cell in cells if cell.name not in rows]
    finished = len(cells) - len(missing)
    say(f"{len(cells)} cells, {finished} of them finished before; {workers} at once")
    forecast = Forecast(rows.values(), workers)
    try:
        for later in (False, True):
            part = [cell for cell in missing if (cell.paces is not None) is later]
            if later and part:
                grid = replace(grid, updates=equal_updates(grid, rows, folder))
            ran = _run_cells(grid, part, folder, workers, progress, prepare)
            with sigterm_interrupts(), closing(ran):
                for cell, row in ran:
                    rows[cell.name] = row
                    finished += 1
                    forecast.add(row)
                    write_results(folder, _in_order(everything, rows))
                    left = [c for c in missing if c.name not in rows]
                    done = f"[{finished}/{len(cells)}] {cell.name}: {_outcome(row)}"
                    say(f"{done}; {forecast.words(left)}" if left else done)
    except KeyboardInterrupt as stop:
        number = getattr(stop, "exit_code", 130) - 128
        raise Stopped(
            f"Stopped; {finished} of {len(cells)} cells are finished and in {folder}. The same "
            "command goes on with the others, and with the one that was going on.",
            number,
        ) from None
    write_results(folder, _in_order(everything, rows))
    return _in_order(everything, rows)


def choose_rates(grid: Grid, folder: Path, wanted: Container[str], **how: Any) -> dict[str, float]:
    """The learning rate of each method on each task, chosen on validation prompts.

    One run a rate, on the grid's first start and number of prompts, with a seed that no run of the
    grid has, in `folder/tuning`; the best headline score wins, of equal ones the lower KL on own
    samples. What a method is swept over (K, the divergence, the start, the prompts, the number of
    updates) shares the rate of the method as it is.

    Args:
        grid: all that its folder holds, so that cells which are added to it have the rates of
            those that are there.
        folder: of the grid.
        wanted: whose rates are asked for, by a cell's `tuned_as`.
        how: for `run_grid`.

    Returns:
        By a cell's `tuned_as`. A method whose runs all failed has none.
    """
    first: dict[str, Cell] = {}
    for cell in grid.cells():
        trained = cell["method"] not in UNTRAINED and cell.tuned_as in wanted
        if trained and "learning_rate" not in cell.values:
            first.setdefault(cell.tuned_as, cell.without(*SWEPT))
    tuning = replace(
        grid,
        name="tuning",
        blocks=[
            {
                **{axis: [value] for axis, value in cell.values.items()},
                "seed": [TUNING_SEED],
                "learning_rate": list(grid.rates),
            }
            for cell in first.values()
        ],
        test_prompts=TUNING_PROMPTS,
        drafts=False,
        split="validation",
        rates=(),
    )
    rows = run_grid(tuning, folder / "tuning", **how)
    done = {row["cell"]: row for row in rows if row["status"] == "done"}
    best: dict[str, tuple[float, float, float]] = {}
    for cell in tuning.cells():
        if "learning_rate" not in cell.values or cell.name not in done:
            continue
        row, rate = done[cell.name], cell["learning_rate"]
        score = (row["metrics"][row["metric"]]["value"], -(row["kl_samples"] or 0.0), rate)
        best[cell.tuned_as] = max(best.get(cell.tuned_as, score), score)
    chosen = {method: score[-1] for method, score in best.items()}
    for method, rate in chosen.items():
        how.get("say", print)(
            f"{method}: learning rate {rate:g}, of {', '.join(f'{r:g}' for r in grid.rates)}"
        )
    return chosen


def _in_order(grid: Grid, rows: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [rows[cell.name] for cell in grid.cells() if cell.name in rows]


def _run_cells(
    grid: Grid,
    cells: Sequence[Cell],
    folder: Path,
    workers: int,
    progress: bool,
    prepare: Callable[[], None] | None,
) -> Generator[tuple[Cell, dict[str, Any]]]:
    """Each cell with its row, as they finish."""
    if workers == 1:
        for cell in cells:
            yield cell, run_cell(cell, grid, folder, progress=progress)
        return
    with process_pool(workers, prepare) as pool:
        for needed in models_once(cells):
            list(pool.map(functools.partial(_try_models, grid=grid, folder=folder), needed))
        running = {
            pool.submit(run_cell, cell, grid, folder, progress=False): cell for cell in cells
        }
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()


def _try_models(cell: Cell, grid: Grid, folder: Path) -> None:
    try:
        make_models(cell, grid, folder)
    except SkdError:
        pass  # the cell itself will fail by it, and say so


def _finished(folder: Path, cell: Cell) -> dict[str, Any] | None:
    path = folder / "cells" / cell.name / "cell.json"
    if not path.exists():
        return None
    try:
        row = read_json(path)
        check_row(row)
    except (DataError, ValueError) as error:
        raise DataError(
            f"{path} is damaged ({error}). Delete it, and the cell is run again."
        ) from error
    return row


def _with_folder(grid: Grid, folder: Path) -> Grid:
    """The grid with the blocks that were run in its folder before.

    Raises:
        UsageError: if those were run with other settings.
    """
    path = folder / "grid.json"
    if not path.exists():
        return grid
    saved, now = read_json(path), grid.to_dict()
    for name in ("fixed", "test_prompts", "sample_prompts", "drafts", "split", "rates"):
        if saved.get(name) != now[name]:
            raise UsageError(
                f"The grid in {folder} was made with {name} {saved.get(name)}, and is now asked "
                f"for {now[name]}: its cells could not be compared. Choose another --out."
            )
    blocks = saved.get("blocks", [])
    return replace(grid, blocks=blocks + [block for block in now["blocks"] if block not in blocks])


def _require_data(grid: Grid, cells: Sequence[Cell]) -> None:
    """Every task's data can be had, and its references where a method trains on them."""
    loaded: dict[tuple[str, Any], Sequence[Example]] = {}
    for cell in cells:
        if cell["method"] in UNTRAINED:
            continue
        task, method = get_task(cell["task"]), get_method(cell["method"])
        require_packages(task.packages, f"task {task.name}")
        config = grid.config(cell)
        key = (task.name, config.n_prompts)
        if key not in loaded:
            loaded[key] = task.load("train", config.n_prompts, data_path=config.data_path)
            wanted = config.n_prompts if cell["prompts"] != FULL else 1
            if len(loaded[key]) < (wanted or 1):
                raise UsageError(
                    f"task {task.name} has {len(loaded[key])} training prompts here, and the grid "
                    f"asks for {wanted}. Ask for fewer (--axis prompts=...)."
                )
        without = sum(example.reference is None for example in loaded[key])
        if method.needs_reference and without:
            sampled = [row.name for row in METHODS.values() if not row.needs_reference]
            raise UsageError(
                f"method {method.name} trains on references, and {without} of {len(loaded[key])} "
                f"prompts of task {task.name} have none. Compare methods whose text is sampled "
                f"({', '.join(sampled)}), or add the references."
            )


def _outcome(row: Mapping[str, Any]) -> str:
    if row["status"] == "failed":
        return f"failed: {row['error']}"
    score = row["metrics"][row["metric"]]["value"]
    return f"{row['metric'].replace('_', '-')} {score:.1%} in {row['seconds']:.0f} s"
