"""Students on their way: fine-tuned from random weights, so far and no further."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skd_lab.config import RunConfig
from skd_lab.encode import encode_examples
from skd_lab.errors import UsageError
from skd_lab.files import disk_errors, replace_folder
from skd_lab.loading import load_tokenizer
from skd_lab.models import BUNDLED, make_pair
from skd_lab.recipes import RECIPES, STARTS, Recipe, make_model, stand_in, task_of
from skd_lab.tasks import get_task
from skd_lab.tokenizer import CONTEXT
from skd_lab.train import train


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    run_dir: Path,
    name: str,
    progress: bool,
) -> float:
    """Fine-tune a model in place on a bundled pair's task; returns the CPU seconds of its updates.

    Goes on with a run that was interrupted in run_dir.
    """
    task = get_task(task_of(name))
    data = encode_examples(
        tokenizer,
        task.load("train", recipe.prompts, seed=recipe.data_seed),
        max_prompt_tokens=CONTEXT // 2,
        over_long="error",
    )
    config = RunConfig(
        pair=name,
        task=task.name,
        method="sft",
        n_prompts=recipe.prompts,
        max_new_tokens=task.max_new_tokens,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_steps,
        mixed_precision=recipe.mixed_precision,
        seed=recipe.seed,
        device="cpu",
        run_dir=str(run_dir),
        resume=(run_dir / "config.json").exists(),
        trace_prompts=0,
    )
    # sft asks no teacher; a pair has one, so the smallest there can be stands in
    pair = make_pair(model, make_model(stand_in(recipe), tokenizer), tokenizer)
    result = train(config, pair=pair, data=data, progress=progress)
    model.eval()
    return sum(record.metrics["cpu_seconds"] for record in result.steps)


def make_start(
    pair: str, start: str, seed: int, folder: str | Path, *, progress: bool = False
) -> Path:
    """The student of a bundled pair's shape, fine-tuned as STARTS says; made once.

    Args:
        pair: a bundled pair.
        start: a key of STARTS[pair].
        seed: of its weights and of the order of its prompts. The prompts are the same for every
            seed: those that a run on as many prompts trains on.
        folder: starts lie here, one folder each.
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
    chosen = STARTS[pair][start]
    name = f"{pair}-{start}-{chosen.prompts}-{chosen.steps}-s{seed}"
    made, run_dir = Path(folder) / name, Path(folder) / f"{name}-run"
    if (made / "config.json").exists():
        return made
    recipe = replace(
        RECIPES[pair]["student"],
        prompts=chosen.prompts,
        steps=chosen.steps,
        seed=seed,
        warmup_steps=min(20, chosen.steps // 2),
    )
    tokenizer = load_tokenizer(BUNDLED / pair / "student")
    model = make_model(recipe, tokenizer)
    fine_tune(model, tokenizer, recipe, run_dir, pair, progress)
    with disk_errors(made):
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}."))
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        replace_folder(temporary, made)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(run_dir, ignore_errors=True)
    return made
