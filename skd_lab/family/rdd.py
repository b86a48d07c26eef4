"""Relative difficulty, after RDD (Liang, Sun, Du, Chen, Huang 2024, arXiv 2407.03719).

The task loss is weighed, no term is added to it. Stage 1 looks at the teacher alone: a token
counts the more, the earlier a middle layer agrees with the last one (an easy token). Stage 2 looks
at both models: only tokens that one of them finds hard and the other does not. In the paper a token
is a pixel and the middle layer an auxiliary head; here it is read through the final norm and head.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from torch import Tensor

from skd_lab.batch import completion_logits
from skd_lab.errors import UsageError
from skd_lab.family import trial
from skd_lab.family.card import Card, Demo, Row, Verdict, judged, mean_sd, register_card, values
from skd_lab.family.figures import bars
from skd_lab.losses import forward_kl
from skd_lab.objectives import Objective, ObjectiveRow, register
from skd_lab.projection import Projection
from skd_lab.scored import Scored

SETTINGS = {"switch": 0.1, "threshold": 0.7, "kl": 1.0}
"""Share of the updates in stage 1 (4,000 of 40,000 in the code); a probability of the right token
up to which it is hard; weight of the unweighted forward KL beside the weighed task loss."""


def easy_for_teacher(
    early: Float[Tensor, "tokens vocab"], final: Float[Tensor, "tokens vocab"]
) -> Float[Tensor, " tokens"]:
    """w = exp(-KL(early || final)) in (0, 1]; 1 where the two heads agree.

    Args:
        early: log-probabilities of the teacher's middle layer.
        final: of its last one.
    """
    return torch.exp(-forward_kl(final, early))


def hard_for_one(
    of_student: Float[Tensor, " tokens"], of_teacher: Float[Tensor, " tokens"], threshold: float
) -> Bool[Tensor, " tokens"]:
    """Whether exactly one model gives the right token at most `threshold`.

    What is hard for both is left out on purpose: it is often a wrong label.

    Args:
        of_student: the student's probabilities of the text's tokens.
        of_teacher: the teacher's.
    """
    return (of_student <= threshold) ^ (of_teacher <= threshold)


def early_states(teacher: Any, scored: Scored) -> Float[Tensor, "tokens hidden"]:
    """States of the teacher's middle layer behind every completion token, normed as the last are.

    One more forward of the teacher.

    Raises:
        UsageError: if the teacher has fewer than two layers, or no final norm to read them with.
    """
    norm = getattr(teacher.get_decoder(), "norm", None)
    layers = teacher.config.get_text_config().num_hidden_layers
    if norm is None or layers < 2:
        raise UsageError(
            f"relative_difficulty reads a middle layer through the final norm, but the teacher "
            f"({type(teacher).__name__}) has {layers} layers and "
            f"{'no' if norm is None else 'a'} final norm. Choose another teacher or objective."
        )
    with torch.no_grad():
        out = teacher(
            input_ids=scored.batch.input_ids,
            attention_mask=scored.batch.attention_mask,
            output_hidden_states=True,
            logits_to_keep=1,
            use_cache=False,
        )
        return norm(completion_logits(out.hidden_states[layers // 2], scored.batch))


def relative_difficulty(switch: float, threshold: float, kl: float) -> Objective:
    """Both stages; the first ends when `switch` of the updates are done."""
    for name, value in (("switch", switch), ("threshold", threshold)):
        if not 0 <= value <= 1:
            raise UsageError(f"{name} must be in [0, 1], got {value:g}.")
    if kl < 0:
        raise UsageError(f"kl must not be negative, got {kl:g}. Use 0 for the task loss alone.")
    weigh = functools.partial(difficulty, switch=switch, threshold=threshold)
    return Objective(
        name="relative_difficulty",
        on_batch=functools.partial(weighed_loss, weigh=weigh, kl=kl),
    )


@torch.no_grad()
def difficulty(scored: Scored, *, switch: float, threshold: float) -> Float[Tensor, " tokens"]:
    """The weight of every token in the task loss, of the stage that the run is in."""
    if scored.progress >= switch:
        log_q, log_p = scored.of_ids()
        return hard_for_one(log_q.exp(), log_p.exp(), threshold).to(log_q)
    states = early_states(scored.teacher, scored)
    head = Projection.of(scored.teacher, scored.teacher_head.size)
    weights = torch.empty_like(scored.weights)

    def at_chunk(_: Tensor, final: Tensor, rows: slice) -> None:
        early = torch.log_softmax(head.logits(states[rows]), -1)
        weights[rows] = easy_for_teacher(early, final).to(weights)

    scored.look(at_chunk)
    return weights


def weighed_loss(
    scored: Scored, *, weigh: Callable[[Scored], Tensor], kl: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The task loss with weights, and forward KL without."""
    weights = weigh(scored)

    def of_chunk(student: Tensor, teacher: Tensor, rows: slice) -> Tensor:
        nll = -student.gather(-1, scored.ids[rows, None]).squeeze(-1)
        # a mean over all tokens, not over the masked ones: microbatches add up
        return weights[rows].to(nll) * nll + (kl * forward_kl(student, teacher) if kl else 0.0)

    return scored.nats(of_chunk)


register(
    ObjectiveRow(
        name="relative_difficulty",
        make=relative_difficulty,
        settings=SETTINGS,
        texts=("reference", "teacher"),
        source="after Liang et al. 2024",
        summary="Task loss weighed by the teacher's own difficulty, then on tokens hard for one "
        "model only; forward KL beside it.",
    )
)

ARMS: dict[str, Callable[[int], Callable[[Scored], Tensor]]] = {
    "KL + task loss": lambda seed: lambda scored: torch.ones_like(scored.weights),
    "RDD": lambda seed: functools.partial(difficulty, switch=0.1, threshold=0.7),
    "RDD, shuffled weights": lambda seed: _shuffled(seed),
    "stage 1 only": lambda seed: functools.partial(difficulty, switch=1.0, threshold=0.7),
    "stage 2 only": lambda seed: functools.partial(difficulty, switch=0.0, threshold=0.7),
}


def _shuffled(seed: int) -> Callable[[Scored], Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def weigh(scored: Scored) -> Tensor:
        weights = difficulty(scored, switch=0.1, threshold=0.7)
        return weights[torch.randperm(len(weights), generator=generator)]

    return weigh


def run(seed: int, steps: int = 30) -> list[Row]:
    """The bundled student on references, by every arm; and what the weights see."""
    held = trial.held_out()
    rows = []
    for arm, weigh in ARMS.items():
        objective = Objective(
            name="arm", on_batch=functools.partial(weighed_loss, weigh=weigh(seed), kl=1.0)
        )
        pair, _ = trial.run(seed, objective, method="supervised_kd", steps=steps)
        row: Row = {"seed": seed, "arm": arm, **trial.distances(pair, held)}
        if arm == "RDD":
            row |= _weights_by_outcome(pair, held)
        rows.append(row)
    return rows


def _weights_by_outcome(pair: Any, held: Sequence[Any]) -> Row:
    """Mean stage-1 weight where the teacher's first token is right, and where it is wrong."""
    scored = trial.scored_references(pair, held)
    weights = difficulty(scored, switch=1.0, threshold=0.7)
    right = trial.on_references(pair, held).teacher.argmax(-1) == scored.ids
    return {
        "weight_right": float(weights[right].mean()),
        "weight_wrong": float(weights[~right].mean()),
    }


def judge(rows: Sequence[Row]) -> Verdict:
    """Held-out NLL against the plain sum and the shuffled weights, whichever is better."""
    plain, shuffled = list(ARMS)[0], list(ARMS)[2]
    best = min((plain, shuffled), key=lambda arm: mean_sd(values(rows, arm, "nll"))[0])
    verdict = judged(rows, "RDD", best, "nll", lower_is_better=True)
    seen = [mean_sd(values(rows, "RDD", f"weight_{which}"))[0] for which in ("right", "wrong")]
    return Verdict(
        outcome=verdict.outcome,
        text=f"{verdict.text} Stage-1 weights: {seen[0]:.3f} where the teacher is right, "
        f"{seen[1]:.3f} where it is wrong.",
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Held-out references of the bundled pair."""
    return bars(
        rows,
        {
            "nll": "held-out NLL, nats (lower is better)",
            "kl_forward": "KL(teacher || student), nats",
        },
        arms=list(ARMS),
        method="RDD",
        control=("KL + task loss", "RDD, shuffled weights"),
    )


register_card(
    Card(
        name="rdd",
        title="RDD: weigh tokens by how hard they are for each model",
        paper="Liang, Sun, Du, Chen, Huang 2024, arXiv 2407.03719",
        sentences=(
            "The task loss is weighed, first by how early the teacher knows the answer, later by "
            "whether only one of the two models finds it hard; no loss term is added.",
            "SKD steers which text the student learns from, this steers which tokens of a given "
            "text count.",
        ),
        equation=r"w_t = e^{-KL(p^{mid}_t \,\|\, p_t)}\ \text{ then }\ "
        r"w_t = [q_t(y_t) \le \theta] \oplus [p_t(y_t) \le \theta]",
        statement="The weighed sum has a lower held-out NLL than the plain sum and than its own "
        "weights shuffled.",
        control="the same weights in a shuffled order; and the plain sum",
        held=("the stage-1 weight is higher where the teacher's first token is right",),
        failed=(
            "on the bundled pair the two stages together do no better than their controls: after "
            "the switch few tokens are hard for one model only, so most of the task loss is off",
        ),
        choices=(
            "the paper's token is a pixel and its early head an auxiliary one; here a middle "
            "layer is read through the final norm and head",
            "the mean is over all tokens, not over those of the mask",
            "the threshold is not raised to keep a minimum of hard tokens",
        ),
        command="skd-lab train --method supervised_kd --objective relative_difficulty "
        "--settings switch=0.1,threshold=0.7",
        demo=Demo(run=run, judge=judge, figure=figure),
    )
)
