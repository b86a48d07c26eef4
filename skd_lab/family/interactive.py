"""IKD for a language model: a module in the teacher that learns from the student's exam.

Prompts are parted once and for all, by their own ids: on most of them the student learns what the
teacher says, on the rest nobody is trained and the text itself is the right answer. The module is
that of `okd.py`; here it is not pulled towards the student but towards better exams. See `ikd.py`.
"""

import dataclasses
import functools
import zlib
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from skd_lab.batch import Batch, completion_hidden
from skd_lab.errors import UsageError
from skd_lab.family.exams import Weights, exam_gradient
from skd_lab.family.okd import OnlineTeacher
from skd_lab.losses import forward_kl
from skd_lab.objectives import Objective, ObjectiveRow, register
from skd_lab.projection import Projection
from skd_lab.scored import Scored

SETTINGS = {"quiz": 0.25, "rank": 4.0, "rate": 1e-3, "virtual_rate": 0.5}
"""Share of the prompts that are the quiz; rank of the teacher's module; Adam's rate for it; rate
of the student's step that is tried."""

LARGEST = 20_000_000
"""Trained parameters of a student: an exam holds several copies, and all logits at once."""


def interactive_teacher(quiz: float, rank: float, rate: float, virtual_rate: float) -> Objective:
    """KL(p' || q) on the course's prompts, p' changed before it by an exam on the quiz' prompts.

    A microbatch without rows of both kinds has no exam.
    """
    if not 0 < quiz < 1:
        raise UsageError(
            f"quiz must be in (0, 1), got {quiz:g}: no exam without a quiz, no course without "
            "other prompts. For a teacher that does not learn: forward_kl."
        )
    if rank < 1 or rank != int(rank):
        raise UsageError(f"rank must be a whole number from 1, got {rank:g}.")
    if rate <= 0 or virtual_rate <= 0:
        raise UsageError(f"rate and virtual_rate must be above 0, got {rate:g}, {virtual_rate:g}.")
    return Objective(
        name="interactive_teacher",
        on_batch=functools.partial(
            _on_batch, quiz=quiz, rank=int(rank), rate=rate, virtual_rate=virtual_rate
        ),
    )


def in_quiz(batch: Batch, share: float) -> Bool[Tensor, " batch"]:
    """Of every row, whether its prompt belongs to the quiz; the same in every run."""
    prompts = batch.attention_mask & ~batch.completion_mask
    found = []
    for ids, own in zip(batch.input_ids, prompts, strict=True):
        number = zlib.crc32(repr(ids[own].tolist()).encode())
        found.append(number < share * 2**32)
    return torch.tensor(found, device=batch.input_ids.device)


def log_probs(
    student: Any, weights: Weights, batch: Batch, size: int
) -> Float[Tensor, "tokens vocab"]:
    """The student's, at every completion token, with other parameters than its own.

    Args:
        weights: by name; parameters that are not in it stay the student's.
        size: ids that are kept.
    """
    names = {id(value): name for name, value in student.named_parameters()}
    head = Projection.of(student, size)
    weight = weights.get(names.get(id(head.weight), ""), head.weight)
    bias = weights.get(names.get(id(head.bias), "")) if head.bias is not None else None
    head = dataclasses.replace(head, weight=weight, bias=head.bias if bias is None else bias)
    hidden = completion_hidden(
        lambda **given: functional_call(student, dict(weights), (), given), batch
    )
    return torch.log_softmax(head.logits(hidden), -1)


def _on_batch(
    scored: Scored, *, quiz: float, rank: int, rate: float, virtual_rate: float
) -> tuple[Tensor, Tensor, Tensor]:
    _check(scored.student)
    hidden = scored.teacher_hidden
    online = OnlineTeacher.of_run(scored, "ikd", rank=rank, rate=rate)
    asked = in_quiz(scored.batch, quiz)
    if asked.any() and not asked.all():
        found = module_gradient(scored, online, asked, virtual_rate=virtual_rate)[0]
        online.step(found)
        scored.memory["ikd"] = online.state()

    def of_chunk(student: Tensor, teacher: Tensor, rows: slice) -> Tensor:
        with torch.no_grad():
            moved = online.log_probs(teacher, hidden[rows])
        return forward_kl(student, moved)

    learned = scored.weights * ~asked[scored.rows()]
    return scored.nats(of_chunk, learned)


def module_gradient(
    scored: Scored, online: OnlineTeacher, asked: Bool[Tensor, " batch"], *, virtual_rate: float
) -> tuple[list[Tensor], Tensor]:
    """The exam's gradient for the module, and the exam's loss: mean nats of the quiz' tokens.

    Course and exam are at temperature 1, means over their own tokens, with dropout off.
    """
    student, size = scored.student, scored.student_head.size
    course_rows, quiz_rows = _rows(scored.batch, ~asked), _rows(scored.batch, asked)
    states = scored.teacher_hidden[(~asked)[scored.rows()]].detach()
    with torch.no_grad():
        base = torch.log_softmax(scored.teacher_head.logits(states), -1)

    def course(weights: Weights) -> Tensor:
        moved = online.log_probs(base, states)
        return forward_kl(log_probs(student, weights, course_rows, size), moved).mean()

    def exam(weights: Weights) -> Tensor:
        mine = log_probs(student, weights, quiz_rows, size)
        return -mine.gather(-1, quiz_rows.completion_ids[:, None]).mean()

    own = {name: value for name, value in student.named_parameters() if value.requires_grad}
    modes = [module for module in student.modules() if module.training]
    try:
        for module in modes:
            module.training = False  # dropout would be drawn anew in every pass
        # fused attention cannot be differentiated twice
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            taught = [online.down, online.up]
            return exam_gradient(course, exam, own, taught, rate=virtual_rate)
    finally:
        for module in modes:
            module.training = True


def _rows(batch: Batch, kept: Bool[Tensor, " batch"]) -> Batch:
    return Batch(
        input_ids=batch.input_ids[kept],
        attention_mask=batch.attention_mask[kept],
        completion_mask=batch.completion_mask[kept],
        lengths=batch.lengths[kept],
    )


def _check(student: Any) -> None:
    """Refuse what an exam cannot be held with."""
    trained = sum(value.numel() for value in student.parameters() if value.requires_grad)
    if trained > LARGEST:
        raise UsageError(
            f"interactive_teacher holds copies of what is trained and is for tiny models: the "
            f"student trains {trained:,} parameters, {LARGEST:,} at most. Use online_teacher."
        )
    if any(getattr(module, "gradient_checkpointing", False) for module in student.modules()):
        raise UsageError(
            "interactive_teacher tries a step with other weights, which gradient checkpointing "
            "would forget. Leave --gradient-checkpointing out."
        )
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        raise UsageError(
            "interactive_teacher trains a module of its own and runs in one process only. Start "
            "it without torchrun, or use forward_kl."
        )


register(
    ObjectiveRow(
        name="interactive_teacher",
        make=interactive_teacher,
        settings=SETTINGS,
        texts=("reference",),
        source="after Liu et al. 2021",
        summary="Forward KL from a teacher with a small module that learns from the student's "
        "exams on prompts kept for them.",
    )
)
