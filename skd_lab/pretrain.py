"""How the bundled pairs are made: tokenizer, teacher, students, from generated text alone.

A family needs no download and no data: the tasks write their own examples. One teacher learns all
four tasks and sees every problem once; a student of the same family repeats the prompts of one
task, few or many of them, so that it is good at some things and wrong about others: what a student
is before distillation.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skd_lab.cards import OTHER_PROMPTS, Scores, model_card
from skd_lab.encode import encode_examples
from skd_lab.errors import RunExistsError, UsageError
from skd_lab.evaluate import evaluate_generator
from skd_lab.files import disk_errors, replace_folder, write_json_atomic, write_text_atomic
from skd_lab.loading import load_model
from skd_lab.models import make_pair
from skd_lab.recipes import (
    DEFAULT_START,
    FAMILIES,
    STARTS,
    TASKS,
    Recipe,
    make_model,
    make_tokenizer,
    pair_name,
)
from skd_lab.starts import fine_tune, save_model
from skd_lab.tasks import get_task
from skd_lab.tokenizer import CONTEXT

_SHARED = "multitask"
"""The start that all pairs of a family have in common; it lies with the first."""


def pretrain(
    family: str = "tiny-qwen3",
    out_dir: str | Path | None = None,
    *,
    teacher: Recipe | None = None,
    starts: Mapping[str, Mapping[str, Recipe]] | None = None,
    held_out: int = 1000,
    overwrite: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Path:
    """Make a family of bundled pairs from scratch: on one CPU thread about 90 minutes.

    An interrupted call goes on from its last checkpoint when it is made again; the checkpoints
    stay beside the family, in `<out_dir>-runs`, until they are deleted.

    Args:
        family: a key of FAMILIES.
        out_dir: folder of the finished pairs; `runs/pretrain/<family>` if None.
        teacher: in place of the family's own recipe.
        starts: in place of STARTS; by pair, then by name.
        held_out: prompts of each split for the scores on the model cards.
        overwrite: replace pairs that are already there, and train them anew.
        progress: show bars.
        say: told in a sentence what happens next.

    Returns:
        out_dir, with a folder for each pair: pair.json, SHA256SUMS and plain Hugging Face folders
        with the tokenizer: student/ (the start of DEFAULT_START), student-<start>/ for the other
        starts, and in the first pair's teacher/ and student-multitask/ for all of them.

    Raises:
        UsageError: there is no such family.
        RunExistsError: there are pairs in out_dir already, or files that are not ours to replace.
    """
    if family not in FAMILIES:
        raise UsageError(
            f"no recipe for a family {family!r}. Choose one of: {', '.join(FAMILIES)}."
        )
    out = Path(out_dir or Path("runs") / "pretrain" / family)
    runs = out.with_name(f"{out.name}-runs")
    _refuse_what_lies_there(out, family, overwrite)
    if overwrite:
        shutil.rmtree(runs, ignore_errors=True)
    recipes = _recipes(family, teacher or FAMILIES[family], starts or STARTS)
    say("tokenizer: training")
    tokenizer = make_tokenizer()
    models, cpu_seconds = {}, {}
    for place, recipe in recipes.items():
        models[place] = make_model(recipe, tokenizer)
        say(f"{place}: {models[place].num_parameters():,} weights, {recipe.steps} updates")
        run_dir = runs / place.replace("/", "-")
        cpu_seconds[place] = fine_tune(models[place], tokenizer, recipe, run_dir, progress)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        say(f"evaluating all on {held_out} held-out prompts a task")
        for place, model in models.items():
            save_model(model, tokenizer, temporary / place)
        scores = {}
        for place, recipe in recipes.items():
            folder = temporary / place
            scores[place] = _score(folder, tokenizer, recipe, held_out)
            others = None
            if place.endswith("/teacher"):
                others = _score(folder, tokenizer, recipe, held_out, OTHER_PROMPTS)
            card = model_card(
                family, place, recipe, models[place], cpu_seconds[place], scores[place], others
            )
            write_text_atomic(folder / "README.md", card)
        for task in TASKS:
            _describe(temporary, family, task, recipes, scores)
            _list_files(temporary / pair_name(family, task))
        temporary.chmod(0o755)
        replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _refuse_what_lies_there(out: Path, family: str, overwrite: bool) -> None:
    """Before the first update: the finished folder takes the place of all that lies at `out`."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / family / "pair.json").exists():
        raise RunExistsError(
            f"{out} holds files that are no pairs of {family}, and the pairs would take their "
            "place. Choose another folder (--out)."
        )
    if not overwrite:
        raise RunExistsError(
            f"There are already pairs in {out}. Replace them (--overwrite), or choose another "
            "folder."
        )


def places_of(family: str, task: str) -> dict[str, str]:
    """Where the models of a pair lie in their family's folder: the teacher, and every start."""
    pair, starts = pair_name(family, task), {}
    for start in STARTS[pair]:
        folder = "student" if start == DEFAULT_START[task] else f"student-{start}"
        starts[start] = f"{family if start == _SHARED else pair}/{folder}"
    return {"teacher": f"{family}/teacher", **starts}


def _recipes(
    family: str, teacher: Recipe, starts: Mapping[str, Mapping[str, Recipe]]
) -> dict[str, Recipe]:
    """Every model of a family once, by the folder where it will lie."""
    found = {f"{family}/teacher": teacher}
    for task in TASKS:
        for start, place in places_of(family, task).items():
            if start != "teacher":
                found[place] = starts[pair_name(family, task)][start]
    return found


def _score(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    held_out: int,
    data_seed: int = 0,
) -> Scores:
    """Greedy scores of a model as saved: by its tasks and held-out splits, the first prompts."""
    model: PreTrainedModel = load_model(folder, device="cpu")
    pair = make_pair(model, model, tokenizer)
    scores: Scores = {}
    for name in recipe.prompts:
        task = get_task(name)
        for split in ("test", "unseen") if "unseen" in task.splits else ("test",):
            encoded = encode_examples(
                tokenizer,
                task.load(split, held_out, seed=data_seed),
                max_prompt_tokens=CONTEXT // 2,
                over_long="error",
                vocab_size=pair.vocab_size,
            ).encoded
            report = evaluate_generator(
                model, pair, task, encoded, max_new_tokens=task.max_new_tokens, name=name
            )
            scores.setdefault(name, {})[split] = {"n": report.n, "metrics": report.metrics}
    return scores


def _describe(
    root: Path,
    family: str,
    task: str,
    recipes: Mapping[str, Recipe],
    scores: Mapping[str, Scores],
) -> None:
    """pair.json of one pair."""
    pair, places = pair_name(family, task), places_of(family, task)
    paths = {
        name: place.removeprefix(f"{pair}/") if place.startswith(f"{pair}/") else f"../{place}"
        for name, place in places.items()
    }
    by_name = {"student": scores[places[DEFAULT_START[task]]][task]}
    by_name |= {name: scores[place][task] for name, place in places.items()}
    about: dict[str, Any] = {
        "name": pair,
        "family": family,
        "task": task,
        "student": paths[DEFAULT_START[task]],
        "teacher": paths["teacher"],
        "starts": {name: path for name, path in paths.items() if name != "teacher"},
        "held_out": {name: splits["test"] for name, splits in by_name.items()},
        "recipes": {name: asdict(recipes[place]) for name, place in places.items()},
    }
    if "unseen" in by_name["teacher"]:
        about["unseen"] = {name: splits["unseen"] for name, splits in by_name.items()}
    write_json_atomic(root / pair / "pair.json", about)


def _list_files(folder: Path) -> None:
    """The list of checksums of a pair's folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        path.chmod(0o644)  # safetensors are written readable by their owner alone
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    ]
    write_text_atomic(folder / "SHA256SUMS", "".join(lines))
