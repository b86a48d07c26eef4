"""Comparative KD, after CKD (Wilf et al. 2023, arXiv 2311.02253): differences between samples.

The teacher may be asked about few samples only. Instead of its logits the student matches their
differences, of which n samples give n^2. What all of the differences leave out is a vector that
is shared by all samples, the bias of the classes; the anchor puts it back, from the same samples.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from skd_lab.batch import collate, completion_hidden
from skd_lab.decode import sampling_mode
from skd_lab.errors import UsageError
from skd_lab.family import digits
from skd_lab.family.card import Card, Demo, Row, Verdict, judged, mean_sd, register_card, values
from skd_lab.family.figures import bars
from skd_lab.losses import forward_kl
from skd_lab.methods import Method
from skd_lab.methods import register as register_method
from skd_lab.objectives import Objective, ObjectiveRow, get_objective, register
from skd_lab.records import Rollout
from skd_lab.rollout import reference_rollout
from skd_lab.scored import Scored
from skd_lab.sources import RolloutRequest
from skd_lab.sources import register as register_source

BUDGET = {"budget": 2000.0}
"""Completion tokens that the teacher scores in the whole run (of one process)."""


def comparative(anchor: float) -> Objective:
    """Mean over ordered pairs of tokens of |e_i - e_j|^2, and anchor * |mean of e|^2, over V.

    e = centred log-probabilities of the student minus the teacher's. Over a batch the pairs'
    mean is 2 * mean |e_i - mean e|^2, so no pair has to be drawn.
    """
    if anchor < 0:
        raise UsageError(f"anchor must not be negative, got {anchor:g}. Use 1, or 0 for none.")
    return Objective(name="comparative", on_batch=functools.partial(_on_batch, anchor=anchor))


def error(student: Tensor, teacher: Tensor) -> Float[Tensor, "tokens vocab"]:
    """e: each row centred, since logits have a free constant."""
    apart = student - teacher
    return apart - apart.mean(-1, keepdim=True)


def _on_batch(scored: Scored, *, anchor: float) -> tuple[Tensor, Tensor, Tensor]:
    weights = scored.weights
    if int((weights > 0).sum()) < 2:
        raise UsageError(
            "comparative compares tokens with each other, and this microbatch has only "
            f"{int((weights > 0).sum())}. Raise --microbatch-size or --batch-size."
        )
    total = weights.sum()
    mean = torch.zeros(scored.student_head.size, dtype=weights.dtype, device=weights.device)

    def at_chunk(student: Tensor, teacher: Tensor, rows: slice) -> None:
        mean.add_((error(student, teacher).to(mean) * weights[rows, None]).sum(0) / total)

    scored.look(at_chunk)

    def of_chunk(student: Tensor, teacher: Tensor, rows: slice) -> Tensor:
        e, shared = error(student, teacher), mean.to(student)
        alone = (e - shared).square().sum(-1)
        # linear in e, with the value and the gradient of |mean e|^2 once summed over tokens
        together = 2 * (e * shared).sum(-1) - shared.square().sum()
        return (2 * alone + anchor * together) / student.shape[-1]

    return scored.nats(of_chunk)


def budgeted(request: RolloutRequest) -> list[Rollout]:
    """References whose teacher states were paid for once, and are used again from then on.

    As long as the budget lasts a new prompt is scored; later prompts are replaced by those there
    are. The rollouts bring the teacher's states along, so that nobody asks it again.
    """
    budget = int(request.settings["budget"])
    if budget < 1:
        raise UsageError(f"budget must be at least 1 token, got {request.settings['budget']:g}.")
    state = request.memory.setdefault("ckd", {"spent": 0, "cache": []})
    known = {tuple(prompt): place for place, (prompt, _, _) in enumerate(state["cache"])}
    new: list[tuple[list[int], list[int]]] = []
    for prompt, answer in zip(request.prompt_ids, request.reference_ids, strict=True):
        if answer is None or tuple(prompt) in known or state["spent"] + len(answer) > budget:
            continue
        known[tuple(prompt)] = len(state["cache"]) + len(new)
        new.append((list(prompt), list(answer)))
        state["spent"] += len(answer)
    if new:
        prompts, answers = zip(*new, strict=True)
        made = reference_rollout(prompts, answers, request.eos_token_ids)
        batch = collate(made, pad_id=0).to(request.teacher.device)
        with sampling_mode(request.teacher), request.clock.phase("score"):
            states = completion_hidden(request.teacher, batch).cpu()
        parts = states.split(batch.lengths.tolist())
        rows = zip(prompts, answers, parts, strict=True)
        state["cache"] += [[prompt, answer, part.clone()] for prompt, answer, part in rows]
    cache: list[Any] = state["cache"]
    if not cache:
        raise UsageError(
            f"A budget of {budget} tokens is less than the first reference needs. Raise it: "
            "--settings budget=2000."
        )
    places = [
        known.get(tuple(prompt), row % len(cache))
        for prompt, row in zip(request.prompt_ids, request.rows, strict=True)
    ]
    rollouts = reference_rollout(
        [cache[place][0] for place in places],
        [cache[place][1] for place in places],
        request.eos_token_ids,
    )
    for rollout, place in zip(rollouts, places, strict=True):
        rollout.teacher_hidden = cache[place][2].to(request.teacher.device)
    return rollouts


register_source("budgeted", budgeted)
register(
    ObjectiveRow(
        name="comparative",
        make=comparative,
        settings={"anchor": 1.0},
        source="after Wilf et al. 2023",
        summary="Squared error of the differences between tokens' logits, with their mean put "
        "back by an anchor.",
    )
)
register_method(
    Method(
        name="ckd",
        completions=("reference", "budgeted"),
        turns="per_prompt",
        second_share=1.0,
        objectives=("comparative", "forward_kl"),
        settings=BUDGET,
        source="after Wilf et al. 2023",
        summary="References under a budget of tokens that the teacher scores; differences "
        "between tokens are matched.",
    )
)

ARMS = ("KD (T = 4)", "logit MSE", "CKD", "CKD, mean put back", "CKD + anchor")
ROWS, UPDATES = 30, 800


def run(seed: int) -> list[Row]:
    """Digits: 30 rows that the teacher was asked about, a student of 32 units."""
    data = digits.data(seed)
    teacher = digits.teacher(seed)
    x, logits = data.train_x[:ROWS], teacher(data.train_x[:ROWS]).detach()
    calls = len(x)  # all that is asked of the teacher, whatever the arm
    losses = {
        "KD (T = 4)": lambda z: 16 * digits.mean_of(forward_kl, z / 4, logits / 4),
        "logit MSE": lambda z: error(z, logits).square().mean(),
        "CKD": lambda z: _loss(z, logits, anchor=0.0),
        "CKD + anchor": lambda z: _loss(z, logits, anchor=1.0),
    }
    rows: list[Row] = []
    for arm, loss in losses.items():
        student = digits.mlp(32, seed=seed + 10)
        digits.fit(student, x, loss, steps=UPDATES)
        rows.append({"seed": seed, "arm": arm, "teacher_calls": calls} | _measured(student, seed))
        if arm == "CKD":
            head = student[-1]
            assert isinstance(head, torch.nn.Linear)
            with torch.no_grad():
                head.bias.sub_(error(student(x), logits).mean(0))
            again = {"seed": seed, "arm": "CKD, mean put back", "teacher_calls": calls}
            rows.append(again | _measured(student, seed))
    return rows


def _loss(student: Tensor, teacher: Tensor, anchor: float) -> Tensor:
    scored = digits.scored(student, teacher)
    return get_objective("comparative", settings={"anchor": anchor}).of(scored)[0]


@torch.no_grad()
def _measured(student: torch.nn.Module, seed: int) -> dict[str, float]:
    data = digits.data(seed)
    z, wanted = student(data.test_x), digits.teacher(seed)(data.test_x)
    e = error(z, wanted)
    return {
        "accuracy": float((z.argmax(-1) == data.test_y).double().mean()),
        "centred_error": float((e - e.mean(0)).square().mean()),
        "shared_error": float(e.mean(0).square().mean()),
    }


def judge(rows: Sequence[Row]) -> Verdict:
    """Against plain matching of the logits of the same rows, the control."""
    within = judged(rows, "CKD + anchor", "CKD", "accuracy", at_least=0.1)
    control = judged(rows, "CKD + anchor", "logit MSE", "accuracy")
    errors = [mean_sd(values(rows, arm, "centred_error"))[0] for arm in ("CKD", "logit MSE")]
    return Verdict(
        outcome=control.outcome,
        text=f"Against plain logit matching: {control.text} The anchor against none "
        f"({within.outcome}): {within.text} Error without the shared mean: {errors[0]:.2f} for "
        f"CKD, {errors[1]:.2f} for logit matching.",
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Accuracy, and the two parts of the logits' error."""
    return bars(
        rows,
        {
            "accuracy": "accuracy on held-out digits",
            "centred_error": "error without the shared mean",
            "shared_error": "error of the shared mean",
        },
        arms=ARMS,
        method="CKD + anchor",
        control=("logit MSE", "KD (T = 4)"),
    )


register_card(
    Card(
        name="ckd",
        title="CKD: match differences between samples, few calls of the teacher",
        paper="Wilf, Xu, Liang, Obolenskiy, Fried, Morency 2023, arXiv 2311.02253",
        sentences=(
            "The student matches how the teacher's view of one sample differs from that of "
            "another, so that a few scored samples give many targets.",
            "It saves the teacher's calls; SKD spends them on the text that the student is about "
            "to write.",
        ),
        equation=r"E_{i,j}\|e_i - e_j\|^2 = 2\,E_i\|e_i - \bar e\|^2,\quad e = z^S - z^T",
        statement="With an anchor for the shared mean the accuracy is 0.1 above that without, and "
        "the error without the mean is below that of plain logit matching.",
        control="plain matching of the logits of the same 30 rows",
        held=(
            "pairs never see what all samples share: without the anchor the shared error stays "
            "and the accuracy with it; putting the mean back, before or after, mends it",
        ),
        failed=(
            "with the anchor it is as good as plain logit matching and no better: the two parts "
            "together are that loss, one of them counted twice",
            "the error without the shared mean is not below that of logit matching here",
        ),
        choices=(
            "all pairs at once in closed form; the code draws one pair a sample",
            "squared error, as in the code's later release; the earlier one took a KL of softmaxes "
            "of differences",
            "the anchor is ours",
        ),
        command="skd-lab train --method ckd --settings budget=2000",
        demo=Demo(run=run, judge=judge, figure=figure),
    )
)
