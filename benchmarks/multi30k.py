"""Distillation on real text, from scratch: `python -m benchmarks.multi30k --data PATH`.

Stages, each of which goes on where it was interrupted: a tokenizer, a teacher trained on the 29,000
pairs of Multi30k (German to English), students fine-tuned on 1,000 and 10,000 of them, and the
same students distilled by five methods, each at a learning rate chosen on validation captions,
scored on test_2016_flickr.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe_machine
from benchmarks.multi30k_models import (
    COMPLETION_TOKENS,
    PROMPT_TOKENS,
    STUDENT,
    STUDENT_STEPS,
    TASK,
    TEACHER,
    VOCABULARY,
    Place,
    student,
    teacher,
)
from benchmarks.multi30k_table import bleu_counts, write_results
from skd_lab.compare import choose_rates, run_grid
from skd_lab.files import read_json
from skd_lab.grids import OWN, Grid
from skd_lab.recipes import Recipe
from skd_lab.studies import RIVALS

TEST_PROMPTS = 1000
DISTIL = {
    "steps": 300,
    "batch_size": 16,
    "warmup_steps": 30,
    "accept_top_k": 5,
    "gamma": 4,
    "max_prompt_tokens": PROMPT_TOKENS,
    "max_new_tokens": COMPLETION_TOKENS,
    "eval_every": 100,
    "eval_prompts": 50,
    "device": "cpu",
}
"""The same for every method."""
RATES = (5e-4, 2e-3, 5e-3, 1e-2)
"""What every method's learning rate is chosen from, on validation captions."""
TEACHER_CELL = f"{TASK}-teacher"


def grid_of(
    place: Place, made: Path, prompts: int, seed: int, methods: Sequence[str], say: Callable
) -> Grid:
    """One student, distilled by every method: each run is a cell of a grid of skd_lab's."""
    start = student(place, prompts, seed, say)
    return Grid(
        name=f"{TASK}, {prompts} pairs",
        blocks=[{"task": [TASK], "method": methods, "prompts": [prompts], "seed": [seed]}],
        fixed={
            **DISTIL,
            "student": str(start),
            "teacher": str(made),
            **({"data_path": place.data} if place.data else {}),
        },
        test_prompts=TEST_PROMPTS,
    )


def rates(place: Place, made: Path, methods: Sequence[str], **how: Any) -> dict[str, float]:
    """Each method's learning rate, from the first student of the most pairs."""
    grid = grid_of(place, made, max(STUDENT_STEPS), 0, methods, how["say"])
    wanted = {cell.tuned_as for cell in grid.cells()}
    return choose_rates(replace(grid, rates=RATES), place.out / "rates", wanted, **how)


def distil(
    place: Place,
    made: Path,
    prompts: int,
    seed: int,
    methods: Sequence[str],
    chosen: Mapping[str, float],
    **how: Any,
) -> None:
    """One student, distilled by every method at its rate."""
    grid = grid_of(place, made, prompts, seed, methods, how["say"])
    folder = place.out / "grids" / f"{prompts}-s{seed}"
    for other in (place.out / "grids").glob(f"*/cells/{TEACHER_CELL}"):
        if (other / "cell.json").exists() and not (folder / "cells" / TEACHER_CELL).exists():
            shutil.copytree(other, folder / "cells" / TEACHER_CELL)  # the same in every grid
    run_grid(replace(grid, chosen=chosen), folder, **how)


def gather(place: Place) -> list[dict[str, Any]]:
    """The rows of all grids, with the start each belongs to and what BLEU is computed from."""
    examples = place.examples("test", TEST_PROMPTS)
    references = {example.id: example.reference or "" for example in examples}
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path in sorted((place.out / "grids").glob("*/cells/*/cell.json")):
        row = read_json(path)
        prompts, seed = path.parts[-4].split("-s")
        if row["method"] != "teacher":
            row |= {"start": f"sft{prompts}", "seed": int(seed)}
        if row["status"] == "done":
            found = json.loads((path.parent / "completions.json").read_text(encoding="utf-8"))
            row["bleu_counts"] = bleu_counts(
                [completion["text"] for completion in found],
                [references[completion["id"]] for completion in found],
            )
        key = (row["method"], row.get("start", OWN), str(row.get("seed")))
        rows[key] = row
    order = ["start", *RIVALS, "teacher"]
    return sorted(
        rows.values(),
        key=lambda row: (
            row["method"] == "teacher",
            int(str(row.get("start", "sft0")).removeprefix("sft")),
            order.index(row["method"]),
            row.get("seed", 0),
        ),
    )


def about(place: Place) -> dict[str, Any]:
    """What was trained and where, for the folder of results."""
    runs = [place.out / "teacher-first-run", place.out / "teacher-run"]
    runs += sorted((place.out / "students").glob("*-run"))
    return {
        "teacher": {**_shape(TEACHER), **read_json(place.out / "teacher_choice.json")},
        "student": _shape(STUDENT),
        "runs": {run.name.removesuffix("-run"): _spent(run) for run in runs},
        "distillation": DISTIL,
        "validation_chrf_by_rate": _by_rate(place),
        "machine": describe_machine(),
    }


def _by_rate(place: Place) -> dict[str, dict[str, float]]:
    """Of every method, the scores that its learning rate was chosen by."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted((place.out / "rates" / "tuning" / "cells").glob("*/cell.json")):
        row = read_json(path)
        if row["status"] == "done" and "learning_rate" in row:
            scores = found.setdefault(row["method"], {})
            scores[f"{row['learning_rate']:g}"] = row["metrics"][row["metric"]]["value"]
    return found


def _shape(recipe: Recipe) -> dict[str, Any]:
    names = ("hidden_size", "layers", "intermediate_size", "head_dim", "heads", "key_value_heads")
    return {"vocabulary": VOCABULARY, **{name: getattr(recipe, name) for name in names}}


def _spent(run: Path) -> dict[str, Any]:
    """What a fine-tuning run was asked for, and what it did and cost."""
    config = read_json(run / "config.json")
    asked = ("n_prompts", "steps", "batch_size", "learning_rate", "lr_schedule", "warmup_steps")
    lines = (run / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = sum(json.loads(line)["cpu_seconds"] for line in lines)
    return {
        **{name: config[name] for name in asked},
        "updates_done": len(lines),
        "cpu_minutes": round(seconds / 60, 1),
    }


def build_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder with train, val and test; the Hub if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/multi30k"))
    parser.add_argument("--results", type=Path, help="write rows and tables here as well")
    parser.add_argument("--prompts", type=int, nargs="*", default=sorted(STUDENT_STEPS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--methods", nargs="*", default=list(RIVALS))
    parser.add_argument("--workers", type=int, default=1, help="runs at once")
    return parser


def main() -> None:
    """Run the stages that are asked for; without seeds only the teacher, and what is there."""
    args = build_parser().parse_args()
    torch.set_num_threads(1)
    place = Place(args.data, args.out)
    made = teacher(place)
    how = {"workers": args.workers, "progress": False, "say": print}
    chosen = rates(place, made, args.methods, **how) if args.seeds else {}
    for seed in args.seeds:
        for prompts in args.prompts:
            distil(place, made, prompts, seed, args.methods, chosen, **how)
    if args.results:
        write_results(gather(place), about(place), args.results)


if __name__ == "__main__":
    main()
