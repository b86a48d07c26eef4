"""Held-out quality of a student: its score, its distance to the teacher, and how often the
teacher would step in.

Three texts are looked at, all with the prompts and uniforms of one seed: the student's greedy
completion (scored by the task), its own samples at temperature 1 and the references (on both,
the forward KL), and an interleaved rollout (its replacement rate).
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.batch import collate, completion_hidden
from skd_lab.decode import sampling_mode
from skd_lab.encode import Encoded
from skd_lab.errors import UsageError
from skd_lab.losses import forward_kl
from skd_lab.metrics import acceptance_rate, bootstrap_interval, replacement_rate
from skd_lab.models import Pair
from skd_lab.projection import Projection, chunked_divergence
from skd_lab.records import EvalReport, Rollout
from skd_lab.rollout import reference_rollout, student_rollout
from skd_lab.sampling import GREEDY, SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout
from skd_lab.tasks import Task
from skd_lab.templates import thoughts_of

PLAIN = SamplingPolicy(temperature=1.0)
"""What the samples are drawn with: no truncation, so that a sample is the model's own text."""


def evaluate(
    pair: Pair,
    task: Task,
    encoded: Sequence[Encoded],
    *,
    student: PreTrainedModel | None = None,
    max_new_tokens: int,
    accept_top_k: int | Sequence[int],
    gamma: int | str = 5,
    seed: int = 0,
    batch_size: int = 64,
    limit_samples: int | None = None,
    name: str = "",
) -> EvalReport:
    """Score a student on held-out prompts and measure how far it is from the teacher.

    The same seed gives every student the same uniforms, so two reports differ by their students
    alone. Models are put into eval mode, and left as found.

    Args:
        pair: teacher, tokenizer and eos ids.
        task: scores the completions.
        encoded: held-out prompts; a reference may be missing.
        student: the model to evaluate; the pair's own if None.
        max_new_tokens: length limit of every completion.
        accept_top_k: K of the interleaved rollout, or one a position.
        gamma: its block size; changes cost, not the report.
        seed: keys the uniforms and the bootstrap.
        batch_size: rows at once; changes cost, not the report.
        limit_samples: use the first so many prompts for what needs sampling (`kl_samples` and the
            two rates), which costs most; all of them if None.
        name: of the report.

    Returns:
        The report. `kl_references` is nan where no prompt has a reference.

    Raises:
        UsageError: if there are no prompts, or a limit is below 1.
    """
    start = time.perf_counter()
    student = pair.student if student is None else student
    scored = _score_greedily(
        student,
        pair,
        task,
        encoded,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
    )
    _require_positive("limit_samples", limit_samples)
    prompts = [row.prompt_ids for row in encoded][:limit_samples]
    uniforms = draw_uniforms(seed, rows=len(prompts), max_new_tokens=max_new_tokens)
    settings: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "eos_token_ids": pair.eos_token_ids,
        "vocab_size": pair.vocab_size,
        "batch_size": batch_size,
    }
    samples = student_rollout(student, prompts, policy=PLAIN, uniforms=uniforms[0], **settings)
    interleaved = interleaved_rollout(
        student,
        pair.teacher,
        prompts,
        accept_top_k=accept_top_k,
        gamma=gamma,
        student_policy=PLAIN,
        teacher_policy=PLAIN,
        uniforms=uniforms,
        **settings,
    )
    referenced = [row for row in encoded if row.reference_ids]
    references = reference_rollout(
        [row.prompt_ids for row in referenced],
        [row.reference_ids for row in referenced if row.reference_ids],
        pair.eos_token_ids,
    )
    kl_samples, nll_samples = held_out_distances(student, pair, samples, batch_size)
    return EvalReport(
        name=name,
        kl_references=held_out_kl(student, pair, references, batch_size),
        kl_samples=kl_samples,
        nll_samples=nll_samples,
        replacement_rate=replacement_rate(interleaved),
        acceptance_rate=acceptance_rate(interleaved),
        seconds=time.perf_counter() - start,
        **scored,
    )


def evaluate_generator(
    model: PreTrainedModel,
    pair: Pair,
    task: Task,
    encoded: Sequence[Encoded],
    *,
    max_new_tokens: int,
    seed: int = 0,
    batch_size: int = 64,
    name: str = "",
) -> EvalReport:
    """Score a model alone, by its greedy completions: the teacher's row of a table.

    Args and errors are those of `evaluate`; what takes two models is nan in the report.
    """
    start = time.perf_counter()
    scored = _score_greedily(
        model, pair, task, encoded, max_new_tokens=max_new_tokens, batch_size=batch_size, seed=seed
    )
    return EvalReport(
        name=name,
        kl_references=math.nan,
        kl_samples=math.nan,
        replacement_rate=math.nan,
        acceptance_rate=math.nan,
        seconds=time.perf_counter() - start,
        **scored,
    )


def held_out_kl(
    student: PreTrainedModel, pair: Pair, rollouts: Sequence[Rollout], batch_size: int = 64
) -> float:
    """Mean of KL(teacher || student), the first of `held_out_distances`."""
    return held_out_distances(student, pair, rollouts, batch_size)[0]


def held_out_distances(
    student: PreTrainedModel, pair: Pair, rollouts: Sequence[Rollout], batch_size: int = 64
) -> tuple[float, float]:
    """How far a student is from its teacher on some texts, and these from the teacher's own.

    Computed in float32 at least, on the shared ids, without a gradient and in eval mode.

    Args:
        student: the model to measure.
        pair: its `teacher` and `vocab_size`.
        rollouts: the texts to measure on.
        batch_size: rows at once.

    Returns:
        KL(teacher || student) and -log p_teacher(token), each the mean over all completion tokens
        in nats; nan for no rollouts.
    """
    heads = [Projection.of(model, pair.vocab_size) for model in (student, pair.teacher)]
    # By length, so that little of a batch is padding; a mean does not mind the order.
    ordered = sorted(rollouts, key=lambda row: len(row.prompt_ids) + len(row.completion_ids))
    sums, tokens = [0.0, 0.0], 0
    with sampling_mode(student, pair.teacher):
        for first in range(0, len(ordered), batch_size):
            batch = collate(ordered[first : first + batch_size], pair.pad_token_id)
            batch = batch.to(student.device)
            nlls: list[Tensor] = []
            _, nats, _ = chunked_divergence(
                forward_kl,
                completion_hidden(student, batch),
                heads[0],
                completion_hidden(pair.teacher, batch),
                heads[1],
                torch.ones(batch.tokens, device=student.device),
                watch_teacher=_nll_into(nlls, batch.completion_ids),
            )
            for place, found in enumerate((nats, torch.cat(nlls))):
                sums[place] += found.cpu().double().sum().item()
            tokens += batch.tokens
    return (sums[0] / tokens, sums[1] / tokens) if tokens else (math.nan, math.nan)


def _nll_into(found: list[Tensor], ids: Tensor) -> Callable[[Tensor, slice], None]:
    def watch(log_probs: Tensor, rows: slice) -> None:
        found.append(-log_probs.gather(-1, ids[rows, None]).squeeze(-1))

    return watch


def _score_greedily(
    model: PreTrainedModel,
    pair: Pair,
    task: Task,
    encoded: Sequence[Encoded],
    *,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
) -> dict[str, Any]:
    """The fields of a report that greedy completions give."""
    if not encoded:
        raise UsageError("There is nothing to evaluate: no prompts are left. Pass one or more.")
    _require_positive("batch_size", batch_size)
    rollouts = student_rollout(
        model,
        [row.prompt_ids for row in encoded],
        max_new_tokens=max_new_tokens,
        policy=GREEDY,
        uniforms=torch.zeros(len(encoded), max_new_tokens, dtype=torch.float64),
        eos_token_ids=pair.eos_token_ids,
        vocab_size=pair.vocab_size,
        batch_size=batch_size,
    )
    texts = [
        str(pair.tokenizer.decode(rollout.completion_ids, skip_special_tokens=True))
        for rollout in rollouts
    ]
    # a model that thinks is judged by what it says
    answers = [thoughts_of(text)[1] for text in texts]
    scores = [task.score(row.example, said) for row, said in zip(encoded, answers, strict=True)]
    metrics = {}
    for metric in scores[0]:
        values = [score[metric] for score in scores]
        low, high = bootstrap_interval(values, seed)
        metrics[metric] = {"value": sum(values) / len(values), "low": low, "high": high}
    return {
        "n": len(encoded),
        "metrics": metrics,
        "mean_length": sum(len(r.completion_ids) for r in rollouts) / len(rollouts),
        "completions": [
            {"id": row.example.id, "text": text, "score": next(iter(score.values()))}
            for row, text, score in zip(encoded, texts, scores, strict=True)
        ],
    }


def _require_positive(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise UsageError(f"{name} must be at least 1, got {value}.")
