"""One prompt over the checkpoints of a run: as each wrote it, and one text as each judges it.

The recordings of a run are texts that every checkpoint wrote anew, so their places do not align.
Judged on one text that is given, they do: at every place the checkpoint proposes a token, with the
random number of the recording, and the teacher would keep or refuse it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from skd_lab.app.forced import check_ids
from skd_lab.app.models import Models, PairChoice
from skd_lab.errors import DataError, UsageError
from skd_lab.records import STUDENT, TEACHER, Rollout, TokenTrace, Trace
from skd_lab.runs import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from skd_lab.models import Pair


@dataclass(frozen=True)
class Checkpoint:
    """A student as it was after some updates."""

    step: int
    student: Path | None
    """Its folder; None for the student that the run began with."""


def checkpoints_of(run: Run) -> list[Checkpoint]:
    """The run's students in step order, the one it began with first.

    Raises:
        UsageError: if there is nothing to judge with: no models named, or no checkpoint kept.
    """
    config = run.config
    if not (config.get("pair") or (config.get("student") and config.get("teacher"))):
        raise UsageError(
            f"{run.name} does not say which models it was made with, so no text can be judged anew."
        )
    found = []
    for path in (run.path / "checkpoints").glob("step-*/student"):
        if step := re.fullmatch(r"step-(\d+)", path.parent.name):
            found.append(Checkpoint(int(step[1]), path))
    last = run.steps[-1].step if run.steps else 0
    if (run.path / "student").is_dir() and last not in {one.step for one in found}:
        found.append(Checkpoint(last, run.path / "student"))
    if not found:
        raise UsageError(
            f"{run.name} kept no checkpoint. A run from the Train tab keeps one at every recording."
        )
    return [Checkpoint(0, None), *sorted(found, key=lambda one: one.step)]


def judge_over_time(
    models: Models, run: Run, recordings: Sequence[Trace], stop: Event
) -> Iterator[list[Trace]]:
    """The last recording's text, judged by every checkpoint.

    Args:
        models: of the app.
        run: whose checkpoints are loaded, one after the other.
        recordings: of one prompt, in step order.
        stop: ends it after the checkpoint in hand.

    Yields:
        The traces so far, one a checkpoint, in step order. On the text of its own recording a
        checkpoint's verdicts are the recorded ones.

    Raises:
        UsageError: where nothing can be judged; says why.
    """
    students = checkpoints_of(run)
    text = check_text_of(recordings)
    config = run.config
    choice = PairChoice(
        f"the models of {run.name}",
        config.get("pair"),
        student=config.get("student"),
        teacher=config.get("teacher"),
    )
    done: list[Trace] = []
    with models.use(choice) as pair:
        from skd_lab.loading import load_model

        for checkpoint in students:
            if stop.is_set():
                return
            student = pair.student
            if checkpoint.student is not None:
                dtype = str(config.get("dtype", "float32"))
                where = str(pair.student.device)
                student = load_model(checkpoint.student, dtype=dtype, device=where)
            done.append(judge(pair, student, text, checkpoint.step))
            yield list(done)


def check_text_of(recordings: Sequence[Trace]) -> Trace:
    """The recording whose text is judged: the last one.

    Raises:
        UsageError: if it cannot be judged again.
    """
    if not recordings:
        raise UsageError("There is no recording of this prompt. Choose another.")
    text = recordings[-1]
    policies = text.header.get("policies") or {}
    if policies.get("variant", "paper") != "paper" or not text.header.get("accept_top_k"):
        raise UsageError("This run decided by another rule than the teacher's top K.")
    ids = [text.header.get("prompt_ids"), *(token.get("kept_id") for token in text.tokens)]
    if not (isinstance(ids[0], list) and ids[0] and text.tokens) or None in ids:
        raise DataError("This recording has no ids, so it cannot be judged again.")
    return text


def judge(pair: "Pair", student: "PreTrainedModel", text: Trace, step: int) -> Trace:
    """What this student would propose at each place of a recorded text, and the verdict on it.

    Args:
        pair: the teacher, the tokenizer, the vocabulary.
        student: who proposes.
        text: a recording; its ids, its random numbers, its K and its policies are used.
        step: updates the student has had.

    Returns:
        A trace with the recording's text. Where the proposal would stand the token is the
        student's, though it may have proposed another word that would stand as well.
    """
    import torch

    from skd_lab.batch import collate, completion_hidden
    from skd_lab.decode import sampling_mode
    from skd_lab.projection import Projection
    from skd_lab.recording import record_traces
    from skd_lab.sampling import SamplingPolicy, sample, teacher_rank

    header, tokens = text.header, text.tokens
    ids = [token["kept_id"] for token in tokens]
    check_ids(pair, [*header["prompt_ids"], *ids])
    policies = {
        role: SamplingPolicy(**(header.get("policies", {}).get(role) or {}))
        for role in ("student", "teacher")
    }
    numbers = [[float(token.get(f"u_{role}") or 0.0) for token in tokens] for role in policies]
    uniforms = torch.tensor(numbers, dtype=torch.float64)[:, None]
    kept, nothing = torch.tensor(ids), torch.full((len(ids),), float("nan"))
    rollout = Rollout(
        prompt_ids=list(header["prompt_ids"]),
        completion_ids=kept,
        trace=TokenTrace(
            source=[STUDENT] * len(ids),
            proposed_id=kept,
            kept_id=kept,
            teacher_rank=torch.zeros_like(kept),
            student_log_prob=nothing,
            teacher_log_prob=nothing.clone(),
            block=torch.full_like(kept, -1),
            discarded=[[] for _ in ids],
        ),
        finished=bool(header.get("finished")),
    )
    batch = collate([rollout], pair.pad_token_id).to(pair.teacher.device)
    with sampling_mode(student, pair.teacher):
        logits = [
            Projection.of(model, pair.vocab_size).logits(completion_hidden(model, batch))
            for model in (student, pair.teacher)
        ]
        proposed = sample(logits[0], policies["student"], uniforms[0, 0].to(logits[0].device))
        ranks = teacher_rank(logits[1], proposed)
    limits = limits_of(header["accept_top_k"], len(ids))
    refused = [rank > limit for rank, limit in zip(ranks.tolist(), limits, strict=True)]
    rollout.trace.source = [TEACHER if one else STUDENT for one in refused]
    rollout.trace.proposed_id, rollout.trace.teacher_rank = proposed.cpu(), ranks.cpu()
    trace = record_traces(
        pair,
        [rollout],
        uniforms=uniforms,
        accept_top_k=header["accept_top_k"],
        gamma=1,
        student_policy=policies["student"],
        teacher_policy=policies["teacher"],
        seed=int(header.get("seed") or 0),
        student=student,
        run=str(header.get("run", "")),
        step=step,
    )[0]
    trace.header |= {
        "rule": "teacher_forced",
        "row": header.get("row"),
        "method": "",
        "label": f"judged after update {step}" if step else "judged before training",
    }
    return trace


def limits_of(k: Any, length: int) -> list[int]:
    """K of each position; the last one of a list holds on."""
    several = list(k) if isinstance(k, list | tuple) else [k]
    return [int(several[min(place, len(several) - 1)]) for place in range(length)]


def refusals(traces: Sequence[Trace]) -> list[dict[str, Any]]:
    """Of each trace its "step", and how many of the "judged" proposals were "refused"."""
    return [
        {
            "step": trace.header.get("step") or 0,
            "judged": trace.verified,
            "refused": trace.replaced,
        }
        for trace in traces
    ]


def in_words(traces: Sequence[Trace]) -> str:
    """The first and the last recording in a sentence."""
    if not traces:
        return ""
    rows = refusals(traces)
    if len(rows) == 1:
        return (
            "There is one recording of this prompt, so nothing moves. A run from the Train tab "
            "records its prompts several times."
        )
    first, last = rows[0], rows[-1]
    return (
        f"{len(rows)} recordings: {first['refused']} of {first['judged']} proposals refused "
        f"{_when(first)}, {last['refused']} of {last['judged']} {_when(last)}."
    )


def _when(row: dict[str, Any]) -> str:
    return f"after update {row['step']}" if row["step"] else "before training"
