"""Students on their way: fine-tuned from random weights, so far and no further."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skd_lab.bundle import bundled_folders
from skd_lab.encode import encode_examples
from skd_lab.errors import UsageError
from skd_lab.files import disk_errors, replace_folder
from skd_lab.loading import load_tokenizer
from skd_lab.packed import fit
from skd_lab.recipes import STARTS, Recipe, Round, family_of, make_model
from skd_lab.tasks import Summaries, Task, get_task
from skd_lab.tokenizer import CONTEXT


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    run_dir: Path,
    progress: bool = False,
) -> float:
    """Fine-tune a model in place on its recipe's tasks; returns the CPU seconds of its updates.

    Goes on with a run that was interrupted in run_dir.
    """
    seconds = 0.0
    rounds: tuple[Recipe | Round, ...] = (recipe, *recipe.then)
    for number, part in enumerate(rounds, start=1):
        examples = [
            example
            for task, prompts in part.prompts.items()
            for example in _task(task, part).load("train", prompts, seed=part.data_seed)
        ]
        texts = encode_examples(
            tokenizer, examples, max_prompt_tokens=CONTEXT // 2, over_long="error"
        ).encoded
        (run_dir / f"round-{number}").mkdir(parents=True, exist_ok=True)
        seconds += fit(
            model,
            texts,
            run_dir / f"round-{number}",
            steps=part.steps,
            batch_size=recipe.batch_size,
            learning_rate=part.learning_rate,
            warmup_steps=part.warmup_steps,
            decay_steps=part.decay_steps,
            mixed_precision=recipe.mixed_precision,
            seed=recipe.seed,
            progress=progress,
        )
    return seconds


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """A plain Hugging Face folder; weights in bfloat16, half the size at no loss in score."""
    model.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type]
    tokenizer.save_pretrained(folder)


def make_start(
    pair: str, start: str, seed: int, folder: str | Path, *, progress: bool = False
) -> Path:
    """The student of a bundled pair's shape, fine-tuned as STARTS says; made once.

    Args:
        pair: a bundled pair.
        start: a key of STARTS[pair].
        seed: of its weights and of the order of its prompts. The prompts are the same for every
            seed: those that a run on as many prompts trains on. With the recipe's own seed it is
            the student that comes with the package.
        folder: starts of other seeds lie here, one folder each.
        progress: show a bar.

    Returns:
        A plain Hugging Face folder. An interrupted call goes on when it is made again.

    Raises:
        UsageError: no such pair or start.
    """
    if start not in STARTS.get(pair, {}):
        raise UsageError(
            f"there is no start {start!r} for pair {pair!r}. Choose one of: "
            f"{', '.join(STARTS.get(pair, {})) or 'none'}."
        )
    recipe = STARTS[pair][start]
    if seed == recipe.seed:
        return bundled_folders(pair, start)[0]
    # one for all tasks is the same for all pairs of the family
    of = pair if len(recipe.prompts) == 1 else family_of(pair)
    name = f"{of}-{start}-{sum(recipe.prompts.values())}-{recipe.steps}-s{seed}"
    return train_from_scratch(replace(recipe, seed=seed), name, pair, folder, progress=progress)


def train_from_scratch(
    recipe: Recipe, name: str, pair: str, folder: str | Path, *, progress: bool = False
) -> Path:
    """A model of a recipe's shape, fine-tuned from random weights; made once.

    Args:
        recipe: shape, data and training.
        name: of its folder; whatever decides the weights belongs in it.
        pair: the bundled pair whose tokenizer it takes.
        folder: where the model's folder lies.
        progress: show a bar.

    Returns:
        A plain Hugging Face folder. An interrupted call goes on when it is made again.
    """
    made, run_dir = Path(folder) / name, Path(folder) / f"{name}-run"
    if (made / "config.json").exists():
        return made
    tokenizer = load_tokenizer(bundled_folders(pair)[1])
    for key in ("is_local", "local_files_only"):  # where it came from is none of a file's business
        tokenizer.init_kwargs.pop(key, None)
    model = make_model(recipe, tokenizer)
    fine_tune(model, tokenizer, recipe, run_dir, progress)
    with disk_errors(made):
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}."))
    try:
        save_model(model, tokenizer, temporary)
        replace_folder(temporary, made)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(run_dir, ignore_errors=True)
    return made


def _task(name: str, part: Recipe | Round) -> Task:
    return Summaries(part.often) if name == Summaries.name else get_task(name)
