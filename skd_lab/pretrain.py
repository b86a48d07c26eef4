"""How the bundled pairs are made: tokenizer, teacher, student, from generated text alone.

A pair needs no download and no data: the tasks write their own examples. The teacher sees every
problem once; the student repeats some prompts, so that it is good at some things and wrong about
others: what a student is before distillation.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skd_lab.encode import encode_examples
from skd_lab.errors import RunExistsError, UsageError
from skd_lab.evaluate import evaluate_generator
from skd_lab.files import disk_errors, replace_folder, write_json_atomic, write_text_atomic
from skd_lab.loading import load_tokenizer
from skd_lab.models import BUNDLED, load_pair
from skd_lab.recipes import BASE, RECIPES, Recipe, make_model, make_tokenizer, task_of
from skd_lab.records import EvalReport
from skd_lab.starts import fine_tune
from skd_lab.tasks import get_task
from skd_lab.tokenizer import CONTEXT


def pretrain(
    name: str = "tiny-qwen3",
    out_dir: str | Path | None = None,
    *,
    recipes: Mapping[str, Recipe] | None = None,
    held_out: int = 1000,
    overwrite: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Path:
    """Make a bundled pair from scratch: on one CPU thread about eight minutes for tiny-qwen3, 15
    for tiny-qwen3-arithmetic.

    An interrupted call goes on from its last checkpoint when it is made again; the checkpoints
    stay beside the pair, in `<out_dir>-runs`, until they are deleted.

    Args:
        name: of the pair, a key of RECIPES.
        out_dir: folder of the finished pair; `runs/pretrain/<name>` if None.
        recipes: "teacher" and "student", in place of the pair's own.
        held_out: test prompts for the scores on the model cards.
        overwrite: replace a pair that is already there, and train it anew.
        progress: show bars.
        say: told in a sentence what happens next.

    Returns:
        out_dir, with student/ and teacher/ (plain Hugging Face folders with the tokenizer),
        pair.json and SHA256SUMS. `load_pair(student=..., teacher=...)` takes the two folders.

    Raises:
        UsageError: there is no such pair.
        RunExistsError: there is a pair in out_dir already.
    """
    if name not in RECIPES:
        raise UsageError(f"no recipe for a pair {name!r}. Choose one of: {', '.join(RECIPES)}.")
    out = Path(out_dir or Path("runs") / "pretrain" / name)
    runs = out.with_name(f"{out.name}-runs")
    if (out / "pair.json").exists() and not overwrite:
        raise RunExistsError(
            f"There is already a pair in {out}. Replace it (--overwrite), or choose another folder."
        )
    if overwrite:
        shutil.rmtree(runs, ignore_errors=True)
    recipes = recipes or RECIPES[name]
    say("tokenizer: training" if name == BASE else f"tokenizer: of {BASE}")
    tokenizer = make_tokenizer() if name == BASE else _base_tokenizer()
    models, cpu_seconds = {}, {}
    for role in ("teacher", "student"):
        recipe = recipes[role]
        models[role] = make_model(recipe, tokenizer)
        say(f"{role}: {models[role].num_parameters():,} weights, {recipe.steps} updates")
        cpu_seconds[role] = fine_tune(models[role], tokenizer, recipe, runs / role, name, progress)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        for role, model in models.items():
            _save(model, tokenizer, temporary / role)
        say(f"evaluating both on {held_out} held-out prompts")
        reports = _score(temporary, name, held_out)
        _describe(temporary, name, recipes, models, cpu_seconds, reports)
        temporary.chmod(0o755)
        replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _base_tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of the pair BASE, so that it is saved byte for byte as it lies there."""
    tokenizer = load_tokenizer(BUNDLED / BASE / "student")
    for name in ("is_local", "local_files_only"):  # where it came from is none of a file's business
        tokenizer.init_kwargs.pop(name, None)
    return tokenizer


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """A plain Hugging Face folder; weights in bfloat16, half the size at no loss in score."""
    model.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type]
    tokenizer.save_pretrained(folder)


def _score(folder: Path, name: str, held_out: int) -> dict[str, EvalReport]:
    """Greedy scores of the models as saved, on the first prompts of the test split."""
    pair = load_pair(student=folder / "student", teacher=folder / "teacher", device="cpu")
    task = get_task(task_of(name))
    encoded = encode_examples(
        pair.tokenizer,
        task.load("test", held_out),
        max_prompt_tokens=CONTEXT // 2,
        over_long="error",
        vocab_size=pair.vocab_size,
    ).encoded
    return {
        role: evaluate_generator(
            model, pair, task, encoded, max_new_tokens=task.max_new_tokens, name=role
        )
        for role, model in (("student", pair.student), ("teacher", pair.teacher))
    }


def _describe(
    folder: Path,
    name: str,
    recipes: Mapping[str, Recipe],
    models: Mapping[str, PreTrainedModel],
    cpu_seconds: Mapping[str, float],
    reports: Mapping[str, EvalReport],
) -> None:
    """Cards, pair.json and the list of checksums."""
    for role, model in models.items():
        card = model_card(
            name, role, recipes[role], model.num_parameters(), cpu_seconds[role], reports[role]
        )
        write_text_atomic(folder / role / "README.md", card)
    write_json_atomic(
        folder / "pair.json",
        {
            "name": name,
            "student": "student",
            "teacher": "teacher",
            "task": task_of(name),
            "held_out": {
                role: {"n": report.n, "metrics": report.metrics} for role, report in reports.items()
            },
            "recipes": {role: vars(recipe) for role, recipe in recipes.items()},
        },
    )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        path.chmod(0o644)  # safetensors are written readable by their owner alone
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    ]
    write_text_atomic(folder / "SHA256SUMS", "".join(lines))


class _Words(NamedTuple):
    """What a card says of a task."""

    does: str
    problem: str
    metrics: str
    limits: str = ""


_WORDS = {
    "summaries": _Words(
        "summarises short generated dialogues in English",
        "dialogue",
        "`facts_exact`: every fact of the dialogue is right and nothing else is said.",
    ),
    "arithmetic": _Words(
        "solves short generated word problems in English, with numbers up to 40",
        "problem",
        "`answer_exact`: the number behind `####` is right. `steps_exact`: so is every step before"
        " it.",
        "The words around the steps may name another person or thing: only numbers are scored.\n",
    ),
}


def model_card(
    name: str,
    role: str,
    recipe: Recipe,
    parameters: int,
    cpu_seconds: float,
    report: EvalReport,
) -> str:
    """Markdown: what the model is, how it was made, what it scores, what it cannot do."""
    scores = "\n".join(
        f"| {metric} | {row['value']:.3f} | {row['low']:.3f} to {row['high']:.3f} |"
        for metric, row in report.metrics.items()
    )
    model = "" if role == "student" else f" --student skd_lab/bundled/{name}/teacher"
    visits = recipe.steps * recipe.batch_size / recipe.prompts
    often = "once" if visits == 1 else f"{visits:.3g} times"
    words = _WORDS[task_of(name)]
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [distillation, skd, toy]
---

# {name}: the {role}

A toy: Qwen3 with {parameters:,} weights ({recipe.layers} layers of width {recipe.hidden_size}), the
{role} in skd_lab's examples. It {words.does},
nothing else.

## Training

From random weights, by `skd-lab pretrain {name}`: supervised fine-tuning on {recipe.prompts:,}
generated {words.problem}s with one reference each, {recipe.steps:,} updates of {recipe.batch_size}
(every {words.problem} {often}), {cpu_seconds:.0f} CPU seconds. No text of people or of
other models went in. The whole recipe:

```json
{json.dumps(vars(recipe), indent=2)}
```

## Held-out scores

Greedy completions of {report.n} test prompts; no test problem is in the training split.

| metric | mean | 95% interval |
|---|---|---|
{scores}

{words.metrics}
Measured again by `skd-lab evaluate --pair {name}{model} --n {report.n}`.

## Limits

It knows a few dozen words. The context is {CONTEXT:,} tokens, but training saw less than 100.
{words.limits}Weights are in bfloat16; the scores are those of these weights in float32.
"""
