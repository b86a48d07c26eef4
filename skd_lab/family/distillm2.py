"""DistiLLM-2's contrastive pair, after Ko et al. 2025 (arXiv 2503.07079) and its public code.

Both models write to every prompt. On the teacher's text the student is drawn up (skewed forward
KL), on its own it is pushed down where the teacher would not go (skewed reverse KL).
"""

import functools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skd_lab.errors import UsageError
from skd_lab.family.card import Card, register_card
from skd_lab.losses import forward_kl
from skd_lab.methods import Method
from skd_lab.methods import register as register_method
from skd_lab.objectives import Objective, ObjectiveRow, register
from skd_lab.scored import Scored

SETTINGS = {"on_student": 1.0, "gap": 0.1}
"""b in (2 - b) on teacher text and b on student text; the gap |p - q| of a text (mean probability
of its tokens) from which the skew grows."""
LOWEST, HIGHEST = 0.01, 0.1
"""The skew of a text lies between these."""


def skew_of(
    log_q: Float[Tensor, " tokens"],
    log_p: Float[Tensor, " tokens"],
    lengths: Int[Tensor, " batch"],
    gap: float,
) -> Float[Tensor, " tokens"]:
    """The skew of every token's text: the further the models are apart, the more is mixed in.

    1 - (1 - 0.1) * gap / |p - q| within [0.01, 0.1], p and q the geometric means of the text's
    token probabilities.
    """
    found = []
    for q, p in zip(log_q.split(lengths.tolist()), log_p.split(lengths.tolist()), strict=True):
        apart = (p.mean().exp() - q.mean().exp()).abs().clamp(min=1e-5)
        skew = (1 - (1 - HIGHEST) * gap / apart).clamp(LOWEST, HIGHEST)
        found.append(skew.expand(len(q)))
    return torch.cat(found)


def contrastive(on_student: float, gap: float) -> Objective:
    """(2 - b) skewed forward KL on others' texts, b skewed reverse KL on the student's."""
    if not 0 <= on_student <= 2 or not gap > 0:
        raise UsageError(
            f"on_student must be in [0, 2] and gap above 0, got {on_student:g} and {gap:g}."
        )
    return Objective(
        name="contrastive", on_batch=functools.partial(_on_batch, b=on_student, gap=gap)
    )


def _on_batch(scored: Scored, *, b: float, gap: float) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad():
        skew = skew_of(*scored.of_ids(), scored.batch.lengths, gap)
    own = torch.tensor([who == "student" for who in scored.batch.writers], device=skew.device)
    by_student = own[scored.rows()]

    def of_chunk(student: Tensor, teacher: Tensor, rows: slice) -> Tensor:
        alpha, mine = skew[rows, None].to(student), by_student[rows]
        draw_up = forward_kl(_mix(teacher, student, alpha), teacher)
        # the mixture of the reverse one is a constant, as in the code
        push_down = forward_kl(_mix(student.detach(), teacher, alpha), student)
        return torch.where(mine, b * push_down, (2 - b) * draw_up)

    return scored.nats(of_chunk)


def _mix(first: Tensor, second: Tensor, alpha: Tensor) -> Tensor:
    """log(alpha first + (1 - alpha) second)."""
    return torch.logaddexp(first + alpha.log(), second + torch.log1p(-alpha))


LONGEST = -math.log(LOWEST)
"""Neither divergence exceeds this, nats."""

register(
    ObjectiveRow(
        name="contrastive",
        make=contrastive,
        settings=SETTINGS,
        source="after Ko et al. 2025",
        summary="Skewed forward KL on the teacher's texts, skewed reverse KL on the student's.",
    )
)
register_method(
    Method(
        name="distillm2",
        completions=("teacher", "student"),
        turns="both",
        objectives=("contrastive",),
        source="after Ko et al. 2025",
        summary="Teacher and student both write to every prompt; drawn up on one text, pushed "
        "down on the other.",
    )
)
register_card(
    Card(
        name="distillm2",
        group="neighbour",
        title="DistiLLM-2: a contrastive pair of texts",
        paper="after Ko et al. 2025, arXiv 2503.07079",
        sentences=(
            "Each prompt gets a text by the teacher, on which forward KL draws the student up, and "
            "one by the student, on which reverse KL pushes it down.",
            "Two whole texts where SKD has one that both wrote.",
        ),
        equation=r"(2-b)\,KL(p \,\|\, m_\alpha)\big|_{y\sim p} + "
        r"b\,KL(q \,\|\, m'_\alpha)\big|_{y\sim q}",
        statement="On one kind of text alone it is the skewed divergence of that kind.",
        control="distillm's divergences on the same two texts, without telling them apart",
        choices=(
            "b stays 1; the code may raise it to 1.5",
            "the skew of a text comes from its own gap and a constant, not from batch averages",
            "texts are drawn anew at every update, not once an epoch",
        ),
        command="skd-lab train --method distillm2",
    )
)
