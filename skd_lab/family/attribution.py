"""Attribution alignment: the student looks at the same tokens of the input as the teacher.

What is left of KDIGA (`kdiga.py`) where the input is tokens: embeddings of two models differ in
width, so not the gradients are compared but how long they are at every position. After AD-KD (Wu
et al., ACL 2023), whose code takes the same lengths for classifiers. Not to be called KDIGA.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from skd_lab.batch import Batch, completion_logits
from skd_lab.errors import UsageError
from skd_lab.family import trial
from skd_lab.family.card import Card, Demo, Row, Verdict, judged, register_card
from skd_lab.family.figures import bars
from skd_lab.losses import forward_kl
from skd_lab.objectives import Objective, ObjectiveRow, register
from skd_lab.projection import Projection
from skd_lab.scored import Scored

WEIGHT = 0.1
"""Of the term beside forward KL."""

_TINY = 1e-24  # under a squared length: where there is no gradient its root has a slope, too


def attribution(
    model: Any, head: Projection, batch: Batch, *, trains: bool = False
) -> Float[Tensor, "batch length"]:
    """Of every position, how much the row's loss changes with its embedding; each row of norm 1.

    |grad_e CE| over the row's completion tokens, 0 on padding and behind the last prediction. All
    logits of the batch are held at once.

    Args:
        head: the model's output head, cut to the ids that count.
        trains: whether the result can be differentiated (the model is gone through twice).

    Raises:
        UsageError: for a model without embeddings of its own or with gradient checkpointing.
    """
    table = model.get_input_embeddings()
    saves = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    if table is None or saves:
        raise UsageError(
            f"attribution asks for the gradient at a model's embeddings, but {type(model).__name__}"
            " has none or runs with gradient checkpointing. Leave --gradient-checkpointing out, or "
            "choose another objective."
        )
    # fused attention cannot be differentiated twice
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        embedded = table(batch.input_ids)
        if not trains or not embedded.requires_grad:
            embedded = embedded.detach().requires_grad_()
        out = model(
            inputs_embeds=embedded,
            attention_mask=batch.attention_mask,
            output_hidden_states=True,
            logits_to_keep=1,
            use_cache=False,
        )
        logits = head.logits(completion_logits(out.hidden_states[-1], batch))
        own = torch.log_softmax(logits, -1).gather(-1, batch.completion_ids[:, None])
        (slope,) = torch.autograd.grad(-own.sum(), embedded, create_graph=trains)
        length = (slope.to(logits.dtype).square().sum(-1) + _TINY).sqrt()
        length = length * batch.attention_mask
        return length / length.norm(dim=-1, keepdim=True)


Change = Callable[[Tensor, Tensor], Tensor]
"""The teacher's attributions and the attention mask -> what the student is to match, a control."""


def _same(theirs: Tensor, mask: Tensor) -> Tensor:
    return theirs


def attribution_alignment(weight: float) -> Objective:
    """Forward KL, and weight times the squared distance of the two models' attributions."""
    if not weight > 0:
        raise UsageError(f"weight must be above 0, got {weight:g}. For none of it: forward_kl.")
    return aligned(weight, _same)


def aligned(weight: float, change: Change) -> Objective:
    """The objective, with the teacher's attributions changed for a control."""
    return Objective(
        name="attribution", on_batch=functools.partial(_on_batch, weight=weight, change=change)
    )


def _on_batch(scored: Scored, *, weight: float, change: Change) -> tuple[Tensor, Tensor, Tensor]:
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        raise UsageError(
            "attribution goes through the student beside the loop's own pass and runs in one "
            "process only. Start it without torchrun, or use forward_kl."
        )
    loss, nats, entropy = scored.nats(lambda student, teacher, _: forward_kl(student, teacher))
    distance = distances(scored, change, trains=torch.is_grad_enabled())
    shares = torch.zeros_like(distance).index_add(0, scored.rows(), scored.weights.to(distance))
    return loss + weight * (shares * distance).sum().to(loss), nats, entropy


def distances(
    scored: Scored, change: Change = _same, *, trains: bool = False
) -> Float[Tensor, " batch"]:
    """Of every row, |a_S - a_T|^2 in [0, 2]: 2 - 2 cos of the two attributions."""
    batch = scored.batch
    of_teacher = Projection.of(scored.teacher, scored.teacher_head.size)
    of_student = Projection.of(scored.student, scored.student_head.size)
    theirs = attribution(scored.teacher, of_teacher, batch)
    mine = attribution(scored.student, of_student, batch, trains=trains)
    wanted = change(theirs, batch.attention_mask).detach().to(mine)
    return (mine - wanted).square().sum(-1)


register(
    ObjectiveRow(
        name="attribution",
        make=attribution_alignment,
        settings={"weight": WEIGHT},
        texts=("reference", "student", "teacher", "interleaved"),
        source="after Wu et al. 2023 and Shao et al. 2021",
        summary="Forward KL, and the student's loss hangs on the same input tokens as the "
        "teacher's.",
    )
)

CONTROLS = ("forward KL", "shuffled positions")
ARMS = ("forward KL", "attribution", "shuffled positions")


def run(seed: int, steps: int = 20) -> list[Row]:
    """The bundled student on references; and where both models look on held-out ones."""
    generator = torch.Generator().manual_seed(seed)

    def shuffled(theirs: Tensor, mask: Tensor) -> Tensor:
        order = torch.rand(theirs.shape, generator=generator).masked_fill(~mask, 2.0).argsort(-1)
        # among the positions of the row; padding stays where it is
        return theirs.gather(-1, order)

    objectives = {
        "forward KL": Objective(name="forward_kl", divergence=forward_kl),
        "attribution": aligned(WEIGHT, _same),
        "shuffled positions": aligned(WEIGHT, shuffled),
    }
    held, rows = trial.held_out(50), []
    for arm, objective in objectives.items():
        pair, _ = trial.run(seed, objective, method="supervised_kd", steps=steps)
        with torch.no_grad():
            apart = distances(trial.scored_references(pair, held))
        found = {"attribution_cosine": float(1 - apart.mean() / 2)}
        rows.append({"seed": seed, "arm": arm, **trial.distances(pair, held), **found})
    return rows


def judge(rows: Sequence[Row]) -> Verdict:
    """Held-out NLL against forward KL alone, the control; where the student looks beside it."""
    quality = judged(rows, "attribution", "forward KL", "nll", lower_is_better=True)
    looks = [judged(rows, "attribution", arm, "attribution_cosine") for arm in CONTROLS]
    return Verdict(
        outcome=quality.outcome,
        text=f"The text: {quality.text} Where it looks ({looks[0].outcome}): {looks[0].text} "
        f"({looks[1].outcome}) {looks[1].text}",
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Held-out references of the bundled pair."""
    return bars(
        rows,
        {
            "nll": "held-out NLL, nats (lower is better)",
            "kl_forward": "KL(teacher || student), nats",
            "attribution_cosine": "cosine of the attributions",
        },
        arms=ARMS,
        method="attribution",
        control=CONTROLS,
    )


register_card(
    Card(
        name="attribution",
        title="Attribution alignment: KDIGA's idea where the input is tokens",
        paper="after AD-KD (Wu et al., ACL 2023) and KDIGA (arXiv 2110.12072)",
        sentences=(
            "The student's loss is to hang on the same tokens of the input as the teacher's: at "
            "every position the length of the gradient at the embedding is compared.",
            "It asks why the teacher says what it says; SKD only asks what it says.",
        ),
        equation=r"KL(p \| q) + \lambda\, \|a^S - a^T\|_2^2,\quad "
        r"a_t = \|\nabla_{e_t} CE\|_2 \,/\, \sqrt{\sum_u \|\nabla_{e_u} CE\|_2^2}",
        statement="The student looks where the teacher looks more than after forward KL, and its "
        "held-out NLL is lower.",
        control="forward KL alone; and the teacher's attributions at shuffled positions",
        held=(
            "after 20 updates the student looks where the teacher looks far more than after "
            "forward KL, and more than with the teacher's attributions at other positions",
        ),
        failed=(
            "its text is no better for it: held-out NLL and the divergence from the teacher are "
            "higher than with forward KL alone in the same updates",
            "each update goes through the student twice more and through the teacher with a "
            "gradient, and holds all logits of a microbatch at once",
        ),
        choices=(
            "not KDIGA: lengths are compared, as the embeddings of two models differ in width",
            "AD-KD compares embeddings of a classifier's input and keeps the largest ones; here "
            "all positions of prompt and answer count, normed to 1 a row",
            "weight 0.1, of 0.1, 0.3 and 1 the one that cost the text least on a seed that is "
            "not among these",
        ),
        command="skd-lab train --method supervised_kd --objective attribution "
        "--settings weight=0.1",
        demo=Demo(run=run, judge=judge, figure=figure),
        group="neighbour",
    )
)
