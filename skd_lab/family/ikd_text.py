"""IKD on text, measured: a teacher with a damaged head, and a student's exams that mend it.

Teachers of the bundled pairs make hardly a mistake, so that an exam has nothing to say. Here noise
of low rank is added to the head; the module of `interactive.py` could take it away again.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from skd_lab.family import interactive, trial
from skd_lab.family.card import Card, Demo, Row, Verdict, judged, mean_sd, register_card, values
from skd_lab.family.figures import bars
from skd_lab.family.okd import OnlineTeacher
from skd_lab.losses import forward_kl
from skd_lab.objectives import Objective
from skd_lab.scored import Scored

QUIZ, RANK, RATE, VIRTUAL_RATE = 0.25, 4, 2e-2, 0.5
NOISE, UPDATES = 10.0, 40


def damaged(scored: Scored, seed: int, size: float = NOISE) -> Scored:
    """The same microbatch with noise of rank 4 on the teacher's head, the same for every one.

    Args:
        size: of the noise in standard deviations of the head's weights.
    """
    weight = scored.teacher_head.weight.detach()
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(weight.shape[0], RANK, generator=generator).to(weight)
    down = torch.randn(RANK, weight.shape[1], generator=generator).to(weight)
    noise = up @ down / weight.shape[1] ** 0.5
    head = dataclasses.replace(scored.teacher_head, weight=weight + size * weight.std() * noise)
    return dataclasses.replace(scored, teacher_head=head)


def frozen(scored: Scored) -> tuple[Tensor, Tensor, Tensor]:
    """Forward KL on the course's prompts; those of the quiz are not used."""
    course = ~interactive.in_quiz(scored.batch, QUIZ)[scored.rows()]
    return scored.nats(
        lambda student, teacher, _: forward_kl(student, teacher), scored.weights * course
    )


def exams(scored: Scored) -> tuple[Tensor, Tensor, Tensor]:
    """IKD: the module learns from exams."""
    objective = interactive.interactive_teacher(QUIZ, RANK, RATE, VIRTUAL_RATE)
    return objective.of(scored)


def tuned(scored: Scored) -> tuple[Tensor, Tensor, Tensor]:
    """The control: the module learns the quiz' texts themselves, by cross-entropy."""
    asked = interactive.in_quiz(scored.batch, QUIZ)[scored.rows()]
    online, states = module_of(scored), scored.teacher_hidden
    if asked.any():
        own, ids = states[asked], scored.ids[asked]
        with torch.no_grad():
            base = torch.log_softmax(scored.teacher_head.logits(own), -1)
        with torch.enable_grad():
            loss = -online.log_probs(base, own).gather(-1, ids[:, None]).mean()
            online.step(torch.autograd.grad(loss, [online.down, online.up]))
        scored.memory["ikd"] = online.state()

    def of_chunk(student: Tensor, teacher: Tensor, rows: slice) -> Tensor:
        with torch.no_grad():
            moved = online.log_probs(teacher, states[rows])
        return forward_kl(student, moved)

    return scored.nats(of_chunk, scored.weights * ~asked)


def module_of(scored: Scored) -> OnlineTeacher:
    """The run's module as it is now; the one that changes nothing before the first exam."""
    return OnlineTeacher.of_run(scored, "ikd", rank=RANK, rate=RATE)


ARMS: dict[str, Callable[[Scored], tuple[Tensor, Tensor, Tensor]]] = {
    "frozen teacher": frozen,
    "exams (IKD)": exams,
    "tuned on the quiz": tuned,
}


def run(seed: int, steps: int = UPDATES) -> list[Row]:
    """The bundled student on references, by every arm; NLL of held-out references of both."""
    held, rows = trial.held_out(50), []
    for arm, on_batch in ARMS.items():
        memory: dict[str, Any] = {}
        objective = Objective(
            name="arm",
            on_batch=functools.partial(_in_memory, on_batch=on_batch, seed=seed, memory=memory),
        )
        pair, _ = trial.run(seed, objective, method="supervised_kd", steps=steps)
        scored = damaged(trial.scored_references(pair, held), seed)
        scored.memory.update(memory)
        with torch.no_grad():
            base = torch.log_softmax(scored.teacher_head.logits(scored.teacher_hidden), -1)
            moved = module_of(scored).log_probs(base, scored.teacher_hidden)
        found = {
            "nll": trial.distances(pair, held)["nll"],
            "teacher_nll": float(-moved.gather(-1, scored.ids[:, None]).mean()),
        }
        rows.append({"seed": seed, "arm": arm, **found})
    return rows


def _in_memory(
    scored: Scored,
    *,
    on_batch: Callable[[Scored], tuple[Tensor, Tensor, Tensor]],
    seed: int,
    memory: dict[str, Any],
) -> tuple[Tensor, Tensor, Tensor]:
    wrong = damaged(scored, seed)
    done = on_batch(wrong)
    memory.update(wrong.memory)
    return done


def judge(rows: Sequence[Row]) -> Verdict:
    """The student against that of the tuned teacher, the control; and of the frozen one."""
    control = judged(rows, "exams (IKD)", "tuned on the quiz", "nll", lower_is_better=True)
    plain = judged(rows, "exams (IKD)", "frozen teacher", "nll", lower_is_better=True)
    teachers = [mean_sd(values(rows, arm, "teacher_nll"))[0] for arm in ARMS]
    return Verdict(
        outcome=control.outcome,
        text=f"Against the same module tuned on the quiz: {control.text} Against the frozen "
        f"teacher ({plain.outcome}): {plain.text} NLL of the teacher: damaged {teachers[0]:.2f}, "
        f"after the exams {teachers[1]:.2f}, tuned {teachers[2]:.2f}.",
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Held-out references of the bundled pair."""
    return bars(
        rows,
        {
            "nll": "NLL of the student, nats (lower is better)",
            "teacher_nll": "NLL of its teacher, nats",
        },
        arms=list(ARMS),
        method="exams (IKD)",
        control="tuned on the quiz",
    )


register_card(
    Card(
        name="interactive_teacher",
        title="IKD on text: exams mend a damaged teacher",
        paper="after Liu, Sun, Qiu, Huang 2021, arXiv 2109.04641",
        sentences=(
            "A quarter of the prompts is kept for exams: a module beside the teacher's head is "
            "changed so that the student's next step would have done better on them.",
            "SKD trusts the teacher where the student leads it; this asks whether the teacher "
            "can be trusted.",
        ),
        equation=r"z' = z + U_2 U_1 h,\quad \nabla_U L_e(\theta') = "
        r"-\eta \nabla_U \langle \nabla_\theta KL(p' \| q_\theta), v \rangle",
        statement="With a damaged teacher the student's held-out NLL is below that with the "
        "frozen teacher, and below that with the same module tuned on the quiz' texts.",
        control="the same module, trained by cross-entropy on the same quiz",
        held=(
            "with exams the student is better than with the damaged teacher as it is, in every "
            "seed, and the teacher's own text is better on the mean, too",
        ),
        failed=(
            "the same module trained on the quiz' texts mends more, in every seed, and costs a "
            "pass of the module in the place of several of the student",
        ),
        choices=(
            "the teachers of the bundled pairs are nearly perfect: noise of rank 4 is added to "
            "the head of tiny-qwen3's, as much as the module could take away",
            "40 updates of 16 prompts; the size of the noise and the rates were chosen on one "
            "seed that is not among these",
        ),
        command="skd-lab train --method supervised_kd --objective interactive_teacher "
        "--settings quiz=0.25",
        demo=Demo(run=run, judge=judge, figure=figure),
        group="neighbour",
    )
)
