"""One cell of a grid: a run, its evaluation, and the row they make."""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skd_lab.axes import OWN, TRAINED_SO_FAR, UNTRAINED
from skd_lab.config import RunConfig
from skd_lab.drafts import draft_report
from skd_lab.encode import Encoded
from skd_lab.errors import SkdError
from skd_lab.evaluate import evaluate, evaluate_generator
from skd_lab.files import write_json_atomic
from skd_lab.grids import Cell, Grid
from skd_lab.models import Pair
from skd_lab.prepare import encode_for, pair_for
from skd_lab.recipes import FAMILIES, STARTS, Recipe, family_of, task_of
from skd_lab.records import EvalReport, to_json
from skd_lab.runs import Run
from skd_lab.starts import make_start, train_from_scratch
from skd_lab.tasks import get_task
from skd_lab.train import train

PHASES = ("draft", "verify", "score", "update")
TOKENS = ("completion_tokens", "student_tokens", "teacher_tokens")


def run_cell(cell: Cell, grid: Grid, folder: Path, *, progress: bool = False) -> dict[str, Any]:
    """Train and evaluate one cell; its row, with status "done", or "failed" and the error.

    An interrupted cell goes on from its last checkpoint. KeyboardInterrupt is not caught.
    """
    began = time.perf_counter()
    run_dir = folder / "cells" / cell.name
    try:
        row = _run_cell(cell, grid, folder, run_dir, progress)
    except Exception as error:  # whatever it was: the other cells go on, and the table says it
        words = " ".join(str(error).split())
        kind = "" if isinstance(error, SkdError) else f"{type(error).__name__}: "
        return {"cell": cell.name, "status": "failed", **cell.values, "error": f"{kind}{words}"}
    row["seconds"] = time.perf_counter() - began
    row = json.loads(to_json(row))  # as it will be read again: null for what is not a number
    write_json_atomic(run_dir / "cell.json", row)
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
    return row


def _run_cell(
    cell: Cell, grid: Grid, folder: Path, run_dir: Path, progress: bool
) -> dict[str, Any]:
    if cell.paces is not None and cell.setting not in grid.updates:
        own, base = (other.name for other in cell.paces)
        raise SkdError(f"Equal CPU seconds wait for finished runs of {own} and {base}.")
    config = grid.config(cell, str(run_dir)).replace(**make_models(cell, grid, folder))
    pair = pair_for(config)
    cost: dict[str, Any] = {}
    if cell["method"] not in UNTRAINED:
        cost = _train(config, pair, progress)
    task = get_task(config.task)
    examples = task.load(grid.split, grid.test_prompts, data_path=config.data_path)
    encoded = encode_for(pair, examples, config).encoded
    if cell["method"] == "teacher":
        report = evaluate_generator(
            pair.teacher, pair, task, encoded, max_new_tokens=config.max_new_tokens, batch_size=100
        )
    else:
        report = evaluate(
            pair,
            task,
            encoded,
            max_new_tokens=config.max_new_tokens,
            # one K for every row of a table: the cell's own would judge each by another measure
            accept_top_k=config.replace(accept_top_k=_judge_k(cell, grid)).top_k_at(config.steps),
            gamma=config.gamma,
            batch_size=100,
            limit_samples=grid.sample_prompts,
        )
        if grid.drafts:
            cost["draft"] = _draft(pair, encoded[: grid.sample_prompts], config)
    write_json_atomic(run_dir / "completions.json", report.completions)
    return {
        "cell": cell.name,
        "status": "done",
        **cell.values,
        "chosen_rate": grid.chosen.get(cell.tuned_as),
        **_measured(report),
        "corpus": task.corpus_scores(
            [row.example for row in encoded], [str(c["text"]) for c in report.completions]
        ),
        **cost,
    }


def _judge_k(cell: Cell, grid: Grid) -> int | str:
    plain = Cell(values={k: v for k, v in cell.values.items() if k != "accept_top_k"})
    return grid.config(plain).accept_top_k


def _measured(report: EvalReport) -> dict[str, Any]:
    return {
        "metric": next(iter(report.metrics)),
        "metrics": report.metrics,
        "n": report.n,
        "kl_references": report.kl_references,
        "kl_samples": report.kl_samples,
        "nll_samples": report.nll_samples,
        "replacement_rate": report.replacement_rate,
        "mean_length": report.mean_length,
        "scores": [completion["score"] for completion in report.completions],
    }


def _draft(pair: Pair, encoded: Sequence[Encoded], config: RunConfig) -> dict[str, Any]:
    """The student as a draft for its teacher."""
    found = draft_report(
        pair,
        encoded,
        max_new_tokens=config.max_new_tokens,
        gamma=config.gamma,
        batch_size=100,
    )
    rates = ("acceptance_rate", "expected_acceptance", "tokens_per_block", "z")
    return {"n": found.n, **{name: getattr(found, name) for name in rates}}


def _train(config: RunConfig, pair: Pair, progress: bool) -> dict[str, Any]:
    """Train the pair's student; what it cost, and how it went on the way."""
    run_dir = Path(config.run_dir)
    begun = (run_dir / "config.json").exists()
    config = config.replace(
        resume=begun,
        save_every=max(25, config.steps // 4),
        keep_checkpoints=1,
        trace_prompts=0,
    )
    result = train(config, pair=pair, progress=progress)
    spent: dict[int, float] = {0: 0.0}
    for record in result.steps:
        spent[record.step] = spent[record.step - 1] + record.metrics["cpu_seconds"]
    parts = {
        f"seconds_{phase}": sum(r.metrics[f"seconds_{phase}"] for r in result.steps)
        for phase in PHASES
    }
    return {
        "updates": len(result.steps),
        "cpu_seconds": spent[len(result.steps)],
        **parts,
        **{name: sum(r.metrics.get(name, math.nan) for r in result.steps) for name in TOKENS},
        "curve": [_point(found, spent) for found in Run(run_dir).evals],
        "replaced": _thinned(result.steps, "replacement_rate"),
        "teacher_nll": _thinned(result.steps, "teacher_nll"),
    }


def _point(found: Mapping[str, Any], spent: Mapping[int, float]) -> dict[str, Any]:
    """One evaluation on the way: on validation prompts."""
    score = next(iter(found["metrics"].values()))["value"]
    return {
        "step": found["step"],
        "cpu_seconds": spent[found["step"]],
        "score": score,
        "kl_samples": found["kl_samples"],
        "nll_samples": found["nll_samples"],
    }


def _thinned(steps: Sequence[Any], metric: str, points: int = 20) -> list[tuple[float, float]]:
    """(last step, mean) of so many stretches of a run."""
    width = max(1, -(-len(steps) // points))
    parts = [steps[first : first + width] for first in range(0, len(steps), width)]
    return [(p[-1].step, sum(r.metrics[metric] for r in p) / len(p)) for p in parts]


def make_models(cell: Cell, grid: Grid, folder: Path) -> dict[str, str]:
    """What a cell starts from, made if it is not there: `student` and `teacher` of its config
    where these are not the pair's own."""
    made: dict[str, Path] = {}
    pair, start = grid.config(cell).pair or "", cell.values.get("start", OWN)
    if TRAINED_SO_FAR.fullmatch(start):
        recipe = next(iter(STARTS[pair].values()))
        made["student"] = _made_so_far(pair, recipe, start, cell["seed"], folder / "starts")
    elif start != OWN:
        made["student"] = make_start(pair, start, cell["seed"], folder / "starts")
    if teacher := cell.values.get("teacher"):
        # one for every seed: the runs of a group share their teacher
        made["teacher"] = _made_so_far(pair, teacher_shape(pair), teacher, 0, folder / "teachers")
    return {role: str(path) for role, path in made.items()}


def models_once(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Cells that need every start and every trained teacher, in turns in which no two need the
    same one: two processes must not make it both."""
    made: set[tuple[Any, ...]] = set()
    while left := [cell for cell in cells if not _needs(cell) <= made]:
        turn: list[Cell] = []
        taken: set[tuple[Any, ...]] = set()
        for cell in left:
            new = _needs(cell) - made
            if new and not new & taken:
                turn.append(cell)
                taken |= new
        yield turn
        made |= taken


def _needs(cell: Cell) -> set[tuple[Any, ...]]:
    """The models that are made for a cell, also without its task: some serve every task."""
    found = set()
    for axes in (("start", "seed"), ("teacher",)):
        named = [(axis, cell.values.get(axis)) for axis in ("family", *axes)]
        if cell.values.get(axes[0]) not in (None, OWN):
            found |= {tuple(named), (*named, ("task", cell["task"]))}
    return found


def teacher_shape(pair: str) -> Recipe:
    """A recipe with the shape of a pair's teacher and the training of its students."""
    teacher, student = FAMILIES[family_of(pair)], next(iter(STARTS[pair].values()))
    shape = ("hidden_size", "layers", "intermediate_size", "head_dim", "heads", "key_value_heads")
    fast = ("mixed_precision", "attention")
    return replace(student, **{name: getattr(teacher, name) for name in (*shape, *fast)})


def _made_so_far(pair: str, recipe: Recipe, words: str, seed: int, folder: Path) -> Path:
    """A model trained from random weights as `PROMPTSxUPDATES@WIDTH` says."""
    found = TRAINED_SO_FAR.fullmatch(words)
    assert found is not None  # Grid has checked it
    prompts, steps, width = (int(number) if number else None for number in found.groups())
    assert prompts is not None and steps is not None
    recipe = replace(
        recipe,
        prompts={task_of(pair): prompts},
        steps=steps,
        seed=seed,
        warmup_steps=min(recipe.warmup_steps, steps // 2),
    )
    if width is not None:
        recipe = replace(
            recipe,
            hidden_size=width,
            intermediate_size=2 * width,
            head_dim=width // recipe.heads,
        )
    return train_from_scratch(recipe, f"{pair}-{words}-s{seed}", pair, folder)
