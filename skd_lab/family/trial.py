"""One small run of a bundled pair, and how far its student then is from the teacher.

For the demos of objectives and methods on language models: the same student, the same prompts, the
same number of updates; only the named arm differs.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from skd_lab.batch import collate, completion_hidden
from skd_lab.config import RunConfig
from skd_lab.decode import sampling_mode
from skd_lab.encode import Encoded
from skd_lab.losses import forward_kl, reverse_kl, token_weights
from skd_lab.models import Pair, load_pair
from skd_lab.objectives import OBJECTIVES, Objective, ObjectiveRow, register
from skd_lab.prepare import encode_for
from skd_lab.presets import with_preset
from skd_lab.projection import Projection
from skd_lab.rollout import reference_rollout
from skd_lab.scored import Scored
from skd_lab.tasks import get_task
from skd_lab.train import RunResult, train

PAIR = "tiny-qwen3"
"""The pair of all demos on language models."""
HELD_OUT = 100
"""Validation prompts that distances are measured on."""

BASE: Mapping[str, Any] = {
    "pair": PAIR,
    "device": "cpu",
    "n_prompts": 1000,  # far more than the student was fine-tuned on
    "steps": 40,
    "batch_size": 16,
    "trace_prompts": 0,
    "save_every": 10_000,
}


ARM = "family_arm"
"""Name of an objective that is in the table for the length of one run."""


@contextmanager
def _in_the_table(objective: Objective | None) -> Iterator[dict[str, str]]:
    if objective is None:
        yield {}
        return
    register(ObjectiveRow(name=ARM, make=lambda: objective))
    try:
        yield {"objective": ARM}
    finally:
        del OBJECTIVES[ARM]


def run(seed: int, objective: Objective | None = None, **changes: Any) -> tuple[Pair, RunResult]:
    """Train the bundled student for a moment; it is in the pair that comes back.

    Args:
        seed: keys the order of the prompts and all uniforms.
        objective: one without a name in the table, such as a control.
        changes: fields of RunConfig that differ from BASE.
    """
    pair = load_pair(PAIR, device="cpu")
    with tempfile.TemporaryDirectory() as folder, _in_the_table(objective) as named:
        given = {**BASE, **changes, **named, "seed": seed, "run_dir": f"{folder}/run"}
        config = with_preset(given)
        return pair, train(config, pair=pair, progress=False)


@functools.lru_cache(maxsize=4)
def _held_out(prompts: int, task: str, max_new_tokens: int) -> tuple[Encoded, ...]:
    config: RunConfig = with_preset({**BASE, "task": task, "max_new_tokens": max_new_tokens})
    examples = get_task(task).load("validation", prompts)
    return tuple(encode_for(load_pair(PAIR, device="cpu"), examples, config).encoded)


def held_out(prompts: int = HELD_OUT, task: str = "summaries") -> Sequence[Encoded]:
    """Validation prompts with their references."""
    return _held_out(prompts, task, 64)


@dataclasses.dataclass(frozen=True)
class TwoHeads:
    """Log-probabilities of both models on the held-out references."""

    student: Tensor
    """[tokens, vocab]."""
    teacher: Tensor
    ids: Tensor
    """[tokens]."""


@torch.no_grad()
def scored_references(pair: Pair, encoded: Sequence[Encoded]) -> Scored:
    """Held-out references as an objective sees a microbatch; every token weighs the same."""
    rows = [row for row in encoded if row.reference_ids]
    rollouts = reference_rollout(
        [row.prompt_ids for row in rows],
        [row.reference_ids for row in rows if row.reference_ids],
        pair.eos_token_ids,
    )
    batch = collate(rollouts, pair.pad_token_id)
    states = []
    for model in (pair.student, pair.teacher):
        with sampling_mode(model):
            states.append(completion_hidden(model, batch))
    return Scored(
        batch=batch,
        weights=token_weights("mean_over_tokens", batch.lengths),
        student=pair.student,
        teacher=pair.teacher,
        student_hidden=states[0],
        student_head=Projection.of(pair.student, pair.vocab_size),
        teacher_hidden=states[1],
        teacher_head=Projection.of(pair.teacher, pair.vocab_size),
    )


@torch.no_grad()
def on_references(pair: Pair, encoded: Sequence[Encoded]) -> TwoHeads:
    """Both models' distributions at every token of the references, float32."""
    scored = scored_references(pair, encoded)
    heads = (
        (scored.student_head, scored.student_hidden),
        (scored.teacher_head, scored.teacher_hidden),
    )
    student, teacher = (torch.log_softmax(h.logits(states).float(), -1) for h, states in heads)
    return TwoHeads(student, teacher, scored.ids)


def distances(pair: Pair, encoded: Sequence[Encoded], top: int = 32) -> dict[str, float]:
    """Means over the tokens of the held-out references.

    Args:
        top: ids over which the order is compared.

    Returns:
        nll (nats), kl_forward, kl_reverse (nats), total_variation, spearman (over the teacher's
        `top` ids), top1 (share of tokens where both have the same first id), entropy (nats).
    """
    heads = on_references(pair, encoded)
    student, teacher = heads.student, heads.teacher
    ids = teacher.topk(top, -1).indices
    mine = student.gather(-1, ids).argsort(-1).argsort(-1).float()
    theirs = teacher.gather(-1, ids).argsort(-1).argsort(-1).float()
    mine, theirs = mine - mine.mean(-1, keepdim=True), theirs - theirs.mean(-1, keepdim=True)
    spearman = (mine * theirs).sum(-1) / (mine.norm(dim=-1) * theirs.norm(dim=-1))
    per_token = {
        "nll": -student.gather(-1, heads.ids[:, None]).squeeze(-1),
        "kl_forward": forward_kl(student, teacher),
        "kl_reverse": reverse_kl(student, teacher),
        "total_variation": 0.5 * (student.exp() - teacher.exp()).abs().sum(-1),
        "spearman": spearman,
        "top1": (student.argmax(-1) == teacher.argmax(-1)).float(),
        "entropy": -(student.exp() * student).sum(-1),
    }
    return {name: float(numbers.double().mean()) for name, numbers in per_token.items()}
