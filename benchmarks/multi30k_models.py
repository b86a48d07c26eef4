"""Tokenizer, teacher and students for Multi30k, all from random weights.

The shapes and schedules are data here; the training is skd_lab's own loop.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from skd_lab.batch import collate
from skd_lab.config import RunConfig
from skd_lab.decode import sampling_mode
from skd_lab.encode import Encoded, encode_examples
from skd_lab.evaluate import evaluate_generator
from skd_lab.fields import SCHEDULE
from skd_lab.files import read_json, replace_folder, write_json_atomic
from skd_lab.loading import load_tokenizer
from skd_lab.models import make_pair
from skd_lab.objectives import get_objective
from skd_lab.recipes import Recipe, make_model, stand_in
from skd_lab.rollout import reference_rollout
from skd_lab.step import StudentLoss
from skd_lab.tasks import Example, get_task
from skd_lab.tokenizer import train_tokenizer
from skd_lab.train import train

TASK = "multi30k"
VOCABULARY = 3072
PROMPT_TOKENS, COMPLETION_TOKENS = 96, 64
"""No caption is longer: nothing is dropped or cut."""
TRAIN_PAIRS = 29_000
WATCHED = 100
"""Validation captions that are translated on the way."""
Say = Callable[[str], None]

FIRST = Recipe(
    hidden_size=224,
    layers=4,
    intermediate_size=672,
    head_dim=56,
    data_seed=0,
    prompts=TRAIN_PAIRS,
    steps=2270,
    learning_rate=1.5e-3,
    warmup_steps=300,
    batch_size=32,
    mixed_precision="bf16",
    attention="eager",
)
"""The teacher's first run, at a constant rate after its warm-up: two epochs and a half."""
TEACHER = replace(FIRST, steps=1360, learning_rate=1.2e-3, warmup_steps=40, seed=1)
"""Its second one, from there: an epoch and a half, the rate falling to nothing."""
STUDENT = Recipe(
    hidden_size=72,
    layers=2,
    intermediate_size=144,
    head_dim=18,
    data_seed=0,
    prompts=1000,
    steps=600,
    learning_rate=2e-3,
    warmup_steps=50,
)
STUDENT_STEPS = {1000: 600, 10_000: 2000}
"""Updates of a student's fine-tuning before distillation, by the number of its pairs."""


@dataclass(frozen=True)
class Place:
    """Where the data lies and where everything is written."""

    data: str | None
    out: Path

    def examples(self, split: str, n: int | None = None) -> list[Example]:
        """Of the task, in the order that every stage sees them in."""
        return get_task(TASK).load(split, n, seed=0, data_path=self.data)


def tokenizer(place: Place, say: Say = print) -> PreTrainedTokenizerBase:
    """Byte-level BPE of both languages, trained on the training pairs; made once."""
    folder = place.out / "tokenizer"
    if not folder.exists():
        say(f"tokenizer: {VOCABULARY} ids from the training pairs")
        texts = [_chat_text(example) for example in place.examples("train")]
        _keep(folder, train_tokenizer(texts, VOCABULARY).save_pretrained)
    return load_tokenizer(folder)


def teacher(place: Place, say: Say = print) -> Path:
    """The teacher's folder: the checkpoint with the lowest loss on the validation pairs."""
    made = place.out / "teacher"
    if (made / "config.json").exists():
        return made
    tok = tokenizer(place, say)
    first, run_dir = place.out / "teacher-first-run", place.out / "teacher-run"
    if not (first / "student" / "config.json").exists():
        model = make_model(FIRST, tok)
        say(f"teacher: {model.num_parameters():,} weights, {FIRST.steps} updates to begin with")
        fine_tune(model, tok, FIRST, place, first, schedule="constant_with_warmup")
    model = AutoModelForCausalLM.from_pretrained(
        first / "student", attn_implementation=TEACHER.attention
    )
    say(f"teacher: {TEACHER.steps} updates more")
    fine_tune(model, tok, TEACHER, place, run_dir, save_every=TEACHER.steps // 4, keep=None)
    found = [_watched(folder, tok, place, say) for folder in _checkpoints(run_dir)]
    best = min(found, key=lambda row: row["nats"])
    say(f"teacher: update {best['step']} has the lowest validation loss")
    write_json_atomic(place.out / "teacher_choice.json", {"chosen": best["step"], "seen": found})
    checkpoint = run_dir / "checkpoints" / f"step-{best['step']:06d}"
    chosen = AutoModelForCausalLM.from_pretrained(checkpoint / "student")

    def save(folder: Path) -> None:
        chosen.save_pretrained(folder)
        tok.save_pretrained(folder)

    _keep(made, save)
    return made


def student(place: Place, prompts: int, seed: int, say: Say = print) -> Path:
    """A student fine-tuned on the first so many pairs: what the methods start from."""
    name = f"sft{prompts}-s{seed}"
    made = place.out / "students" / name
    if (made / "config.json").exists():
        return made
    recipe = Recipe(
        **{**vars(STUDENT), "prompts": prompts, "steps": STUDENT_STEPS[prompts], "seed": seed}
    )
    tok = tokenizer(place, say)
    model = make_model(recipe, tok)
    say(f"student {name}: {model.num_parameters():,} weights, {recipe.steps} updates")
    run_dir = place.out / "students" / f"{name}-run"
    fine_tune(model, tok, recipe, place, run_dir)

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        tok.save_pretrained(folder)

    _keep(made, save)
    return made


def fine_tune(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    recipe: Recipe,
    place: Place,
    run_dir: Path,
    *,
    schedule: SCHEDULE = "cosine",
    save_every: int = 500,
    keep: int | None = 1,
) -> None:
    """Supervised fine-tuning in place; goes on with a run that was interrupted in run_dir.

    Args:
        model: trained in place.
        tok: its tokenizer.
        recipe: data and training; the model's shape is not looked at.
        place: of the data.
        run_dir: of the run.
        schedule: of the learning rate.
        save_every, keep: checkpoints, as in RunConfig.
    """
    config = RunConfig(
        pair=TASK,  # a label: the models are in hand
        task=TASK,
        data_path=place.data,
        method="sft",
        n_prompts=recipe.prompts,
        max_prompt_tokens=PROMPT_TOKENS,
        max_new_tokens=COMPLETION_TOKENS,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_schedule=schedule,
        warmup_steps=recipe.warmup_steps,
        weight_decay=0.1,
        mixed_precision=recipe.mixed_precision,
        seed=recipe.seed,
        device="cpu",
        run_dir=str(run_dir),
        resume=(run_dir / "config.json").exists(),
        save_every=save_every,
        keep_checkpoints=keep,
        trace_prompts=0,
    )
    # sft asks no teacher; a pair has one, so the smallest there can be stands in
    pair = make_pair(model, make_model(stand_in(recipe), tok), tok)
    train(config, pair=pair, data=_encoded_report(tok, place.examples("train", recipe.prompts)))
    model.eval()


def held_out_nats(model: PreTrainedModel, rows: Sequence[Encoded], pad_token_id: int) -> float:
    """Mean -log p of the references' tokens, in nats."""
    eos = [row.reference_ids[-1] for row in rows if row.reference_ids][:1]
    rollouts = reference_rollout(
        [row.prompt_ids for row in rows], [row.reference_ids or [] for row in rows], eos
    )
    rollouts.sort(key=lambda row: len(row.prompt_ids) + len(row.completion_ids))
    loss = StudentLoss(model, get_objective("token_nll"), None, model.config.vocab_size)
    total, tokens = 0.0, 0
    with sampling_mode(model):
        for first in range(0, len(rollouts), 64):
            batch = collate(rollouts[first : first + 64], pad_token_id).to(model.device)
            nats = loss(batch, torch.ones(batch.tokens, device=model.device))[0]
            total, tokens = total + float(nats), tokens + batch.tokens
    return total / tokens


def _watched(
    folder: Path, tok: PreTrainedTokenizerBase, place: Place, say: Say
) -> dict[str, float]:
    """Loss on all validation pairs and BLEU on the first of them, of one checkpoint."""
    kept = folder.parent.parent / f"{folder.name}.json"
    if kept.exists():
        return read_json(kept)
    model: Any = AutoModelForCausalLM.from_pretrained(folder / "student")
    pair = make_pair(model, make_model(stand_in(TEACHER), tok), tok)
    rows = _encoded_report(tok, place.examples("validation")).encoded
    task, some = get_task(TASK), rows[:WATCHED]
    report = evaluate_generator(model, pair, task, some, max_new_tokens=COMPLETION_TOKENS)
    corpus = task.corpus_scores(
        [row.example for row in some], [str(c["text"]) for c in report.completions]
    )
    found = {
        "step": int(folder.name.removeprefix("step-")),
        "nats": held_out_nats(model, rows, pair.pad_token_id),
        "bleu": float(corpus["bleu"]["value"]),
        "chrf": float(corpus["chrf"]["value"]),
    }
    write_json_atomic(kept, found)
    say(f"update {found['step']}: {found['nats']:.3f} nats a token, BLEU {found['bleu']:.1%}")
    return found


def _checkpoints(run_dir: Path) -> list[Path]:
    found = (run_dir / "checkpoints").glob("step-*")
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _encoded_report(tok: PreTrainedTokenizerBase, examples: Sequence[Example]) -> Any:
    return encode_examples(
        tok,
        examples,
        max_prompt_tokens=PROMPT_TOKENS,
        over_long="error",
        max_completion_tokens=COMPLETION_TOKENS,
    )


def _chat_text(example: Example) -> str:
    """What a model will read, without the marks of turns."""
    return f"user\n{(example.messages or [])[0]['content']}\nassistant\n{example.reference}"


def _keep(folder: Path, save: Callable[[Path], object]) -> None:
    """A folder, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        save(temporary)
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
