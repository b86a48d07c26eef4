"""Model cards of the bundled models: what each is, how it was made, what it scores."""

import json
from dataclasses import asdict
from textwrap import fill
from typing import Any, NamedTuple

from transformers import PreTrainedModel

from skd_lab.recipes import FAMILIES, WINDOW, Recipe
from skd_lab.tokenizer import CONTEXT

Scores = dict[str, dict[str, dict[str, Any]]]
"""By task and split: n, and metrics with value, low and high."""
OTHER_PROMPTS = 11
"""Seed of more held-out prompts, for the score of a recipe that was chosen on those of seed 0."""


class _Words(NamedTuple):
    """What a card says of a task."""

    does: str
    metrics: str


_WORDS = {
    "summaries": _Words(
        "summarises short generated dialogues in English",
        "`facts_exact`: every fact of the dialogue is right and nothing else is said.",
    ),
    "arithmetic": _Words(
        "solves short generated word problems in English, with numbers up to 40",
        "`answer_exact` (arithmetic): the number behind `####` is right. `steps_exact`: so is "
        "every step before it.",
    ),
    "translation": _Words(
        "translates short sentences of a made-up language, Rilo, into English",
        "`exact`: one of the valid wordings. `bleu`, `chrf`: of the sentence, against all of them.",
    ),
    "instruction": _Words(
        "follows instructions of up to three steps over a short list",
        "`answer_exact` (instruction): the list behind `####` is right. `steps_exact`: so is every "
        "list before it. Split `unseen`: only steps that never followed one another in training.",
    ),
}

_CHOSEN = {
    "tiny-qwen3": "of the first 150 to 500 of these test prompts up to round 5, of all of them "
    "before round 6, and of validation prompts after it",
    "tiny-gemma3": "of the first 150 to 500 of these test prompts up to round 3, of all of them "
    "before rounds 4 and 5, and of validation prompts after each",
}
"""By family, which scores decided on the rounds of its teacher."""


def model_card(
    family: str,
    place: str,
    recipe: Recipe,
    model: PreTrainedModel,
    cpu_seconds: float,
    scores: Scores,
    others: Scores | None = None,
) -> str:
    """Markdown of one model's folder.

    Args:
        family: of pairs.
        place: pair and folder, such as tiny-qwen3/teacher.
        recipe: its shape and training.
        model: for its class and its number of weights.
        cpu_seconds: of its updates.
        scores: held out.
        others: of a teacher, on the prompts of OTHER_PROMPTS.
    """
    pair, folder = place.split("/")
    role = "teacher" if folder == "teacher" else "student"
    words = [_WORDS[task] for task in recipe.prompts]
    visits = recipe.steps * recipe.batch_size / sum(recipe.prompts.values())
    often = "once" if visits == 1 else f"{visits:.3g} times"
    then = "".join(
        f" Then {part.steps:,} updates on {sum(part.prompts.values()):,} other prompts."
        for part in recipe.then
    )
    mixed = ", ".join(f"{prompts:,} of {task}" for task, prompts in recipe.prompts.items())
    commands = "\n".join(
        f"    skd-lab evaluate --pair {family if task == 'summaries' else f'{family}-{task}'} "
        f"--student skd_lab/bundled/{place} --split {split} --n {report['n']}"
        for task, splits in scores.items()
        for split, report in splits.items()
    )
    window = f" Every other layer sees {WINDOW} tokens." if recipe.family == "gemma3" else ""
    does = "; it ".join(word.does for word in words)
    more = _more(family, recipe, others) if others else ""
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [distillation, skd, toy]
---

# {pair}: the {role} in {folder}/

A toy: {type(model).__name__} with {model.num_parameters():,} weights ({recipe.layers} layers of
width {recipe.hidden_size}), a {role} in skd_lab's examples.{window} It {does}; nothing else.

## Training

From random weights, by `skd-lab pretrain {family}`: supervised fine-tuning on generated prompts
with one reference each ({mixed}), {recipe.steps:,} updates of {recipe.batch_size} (every
prompt {often}), {cpu_seconds:,.0f} CPU seconds on one thread.{then}
No text of people or of other models went in. The whole recipe:

```json
{json.dumps(asdict(recipe), indent=2)}
```

## Held-out scores

Greedy completions; no test problem is in a training split.

{_table(scores)}

{chr(10).join(word.metrics for word in words)}
Measured again by:

{commands}
{more}
## Limits

It knows a few dozen words. The context is {CONTEXT:,} tokens, but training saw less than 128.
Weights are in bfloat16; the scores are those of these weights in float32.
"""


def _table(scores: Scores) -> str:
    rows = [
        f"| {task} | {split} | {report['n']:,} | {metric} | {row['value']:.3f} "
        f"| {row['low']:.3f} to {row['high']:.3f} |"
        for task, splits in scores.items()
        for split, report in splits.items()
        for metric, row in report["metrics"].items()
    ]
    head = "| task | split | prompts | metric | mean | 95% interval |\n|---|---|---|---|---|---|"
    return "\n".join([head, *rows])


def _more(family: str, recipe: Recipe, others: Scores) -> str:
    """Scores on other prompts; before them, how the family's own recipe came about."""
    chosen = (
        "How long to train, and on which mixtures, was decided in several sittings while looking "
        f"at scores: {_CHOSEN[family]}. None of them was trained on, but the scores above may be a "
        f"little high for it. `skd-lab pretrain {family}` gives about these scores, not the same "
        "weights byte for byte: the first 1,000 updates of those in the package ran under a "
        "slightly different schedule."
    )
    how = f"\n{fill(chosen, 100, break_on_hyphens=False)}\n"
    return f"""{how if recipe == FAMILIES[family] else ""}
On other prompts, at which nobody had looked before (the commands above with
`--data-seed {OTHER_PROMPTS}`):

{_table(others)}
"""
