"""The ten testable statements of Speculative Knowledge Distillation (arXiv 2410.11325), as data."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skd_lab.axes import BASELINE, TRAINED_SO_FAR
from skd_lab.claims import (
    MIN_RUNS,
    VOCABULARY,
    Finding,
    Group,
    Statement,
    from_matrix,
    of_numbers,
    of_scores,
    over_seeds,
    shared,
)

RIVALS = ("sft", "supervised_kd", "on_policy_kd", "imit_kd")
BROAD = (2, 3, 5, 10)
"""K of a vocabulary of a thousand ids that stand for the paper's 5 to 50 of 256,000."""
DECAYING = ("updates:25..1", "tokens:25..1")
CONSTANT = (3, 25)
EXACT = 0.99


def replaced_less(groups: Sequence[Group]) -> Iterator[Finding]:
    for group in groups:
        runs = group.runs.get(BASELINE, {})
        ends = [_ends(row["replaced"]) for row in runs.values() if row.get("replaced")]
        if ends and not group.where["budget"]:
            first, last = (100 * sum(end) / len(ends) for end in zip(*ends, strict=True))
            yield from over_seeds(
                group,
                f"first tenth of the updates ({first:.1f}%) minus last tenth ({last:.1f}%)",
                [a - b for a, b in ends],
                "points",
            )


def _ends(points: Sequence[Sequence[float]]) -> tuple[float, float]:
    values = [value for _, value in points]
    tenth = max(1, len(values) // 10)
    return sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth


def same_as_on_policy(groups: Sequence[Group]) -> Iterator[Finding]:
    for group in groups:
        for name in group.runs:
            k = name.removeprefix(f"{BASELINE} K=")
            if not (k.isdigit() and int(k) >= VOCABULARY):
                continue
            both = shared(group, name, "on_policy_kd")
            replaced = [value for row, _ in both for _, value in row["replaced"]]
            alike = [float(np.mean(np.equal(a["scores"], b["scores"]))) for a, b in both]
            if both:
                least = -1.0 if any(replaced) else min(alike) - EXACT
                yield Finding(
                    where=group.title,
                    what=f"{name} and on_policy_kd: share of test prompts with the same score "
                    f"({min(alike):.1%} or more; above {EXACT:.0%} asked for), tokens replaced "
                    f"in training: {max(replaced):.2%}",
                    value=float(np.mean(alike)) - EXACT,
                    low=least,
                    high=max(alike) - EXACT,
                    runs=len(both),
                    folder=group.folder,
                )


def broad_range_wins(groups: Sequence[Group]) -> Iterator[Finding]:
    for group in groups:
        for k in BROAD:
            for rival in ("supervised_kd", "on_policy_kd"):
                yield from of_scores(group, f"{BASELINE} K={k}", rival)


def constant_is_best(groups: Sequence[Group]) -> Iterator[Finding]:
    for group in groups:
        for constant in CONSTANT:
            for schedule in DECAYING:
                yield from of_scores(group, f"{BASELINE} K={constant}", f"{BASELINE} K={schedule}")


def finer_mixing_wins(groups: Sequence[Group]) -> Iterator[Finding]:
    for group in groups:
        if not group.where["budget"]:
            yield from of_scores(group, BASELINE, "imit_kd")
            yield from of_scores(group, "imit_kd", "two_stage")


def weak_starts(groups: Sequence[Group]) -> Iterator[Finding]:
    for group in groups:
        start = str(group.where["start"])
        weak = start in ("barely", "multitask") or TRAINED_SO_FAR.fullmatch(start)
        if weak and not group.where["budget"]:
            yield from of_scores(group, BASELINE, "on_policy_kd")
            yield from of_scores(group, "supervised_kd", "on_policy_kd")


def few_prompts(groups: Sequence[Group]) -> Iterator[Finding]:
    by_place = {_key(group.where): group for group in groups}
    for group in groups:
        if group.where["prompts"] != 100 or group.where["budget"]:
            continue
        many = by_place.get(_key({**group.where, "prompts": 1000}))
        for rival in ("supervised_kd", "on_policy_kd"):
            few = _differences(group, rival)
            more = _differences(many, rival) if many else {}
            both = [(few[seed], more[seed]) for seed in few if seed in more]
            if len(both) >= MIN_RUNS and len({len(row) for pair in both for row in pair}) == 1:
                matrix = [a - b for a, b in both]
                what = f"({BASELINE} minus {rival}) at 100 prompts, minus the same at 1000"
                yield from_matrix(group, what, matrix)


def _differences(group: Group, rival: str) -> dict[Any, Any]:
    """Score of the baseline minus a rival's, prompt by prompt, by seed."""
    a, b = group.runs.get(BASELINE, {}), group.runs.get(rival, {})
    return {seed: np.subtract(a[seed]["scores"], b[seed]["scores"]) for seed in a if seed in b}


def _key(where: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(where.values())


def closest_on_references(groups: Sequence[Group]) -> Iterator[Finding]:
    for group in groups:
        if not group.where["budget"]:
            for rival in RIVALS:
                yield from of_numbers(
                    group, rival, BASELINE, lambda row: row["kl_references"], "nats"
                )


def accepted_more(groups: Sequence[Group]) -> Iterator[Finding]:
    def read(row: Mapping[str, Any]) -> float | None:
        return (row.get("draft") or {}).get("acceptance_rate")

    for group in groups:
        if not group.where["budget"]:
            for other in ("start", *RIVALS):
                yield from of_numbers(group, BASELINE, other, read, "points")


def cheaper_than_teacher(groups: Sequence[Group]) -> Iterator[Finding]:
    def read(row: Mapping[str, Any]) -> float:
        return math.log(row["cpu_seconds"] / row["updates"])

    for group in groups:
        yield from of_numbers(
            group,
            "teacher_kd",
            BASELINE,
            read,
            "log ratio",
            "CPU seconds an update, teacher_kd (the teacher writes alone) over skd",
        )


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        number=1,
        claim="The share of replaced tokens falls over training.",
        measured="tokens the teacher replaced in training",
        figure="texts.png",
        find=replaced_less,
    ),
    Statement(
        number=2,
        claim="K = vocabulary reproduces on-policy KD.",
        measured="the same runs under both names; id for id it is tests/test_exactness.py",
        figure="sweep.png",
        find=same_as_on_policy,
        note="The two are one algorithm: no token is replaced, the texts of equal weights are the "
        "same id for id, and in float64 so were the losses of 150 updates, to the last digit "
        "(commands in results/README.md). The rule asks for the same answers after a training in "
        "float32, where a last digit decides one draw sooner or later, and then the runs part.",
    ),
    Statement(
        number=3,
        claim="A broad range of K beats supervised KD and on-policy KD.",
        measured=f"headline score at K = {', '.join(map(str, BROAD))}",
        figure="sweep.png",
        find=broad_range_wins,
    ),
    Statement(
        number=4,
        claim="A constant K is at least as good as a decaying one.",
        measured=f"headline score at constant K = {' and '.join(map(str, CONSTANT))} minus "
        f"{' and '.join(DECAYING)}",
        figure="sweep.png",
        find=constant_is_best,
    ),
    Statement(
        number=5,
        claim="Mixing token by token beats mixing by sequence (ImitKD), and that beats two stages.",
        measured="headline score",
        figure="differences.png",
        find=finer_mixing_wins,
    ),
    Statement(
        number=6,
        claim="On-policy KD collapses from a start that is not tuned to the task; SKD does not.",
        measured="headline score from barely trained and multi-task starts: on-policy KD is behind "
        "both SKD and supervised KD",
        figure="curves.png",
        find=weak_starts,
    ),
    Statement(
        number=7,
        claim="SKD's advantage grows at 100 prompts.",
        measured="headline score: the advantage at 100 prompts minus that at 1000",
        figure="differences.png",
        find=few_prompts,
    ),
    Statement(
        number=8,
        claim="SKD gives the lowest KL on held-out references.",
        measured="KL(teacher || student) of a rival minus SKD's",
        figure="scores.png",
        find=closest_on_references,
    ),
    Statement(
        number=9,
        claim="The student that SKD trained is accepted more often as a speculative draft.",
        measured="accepted proposals under the lossless rule, minus the start's and the rivals'",
        figure="drafts.png",
        find=accepted_more,
    ),
    Statement(
        number=10,
        claim="Interleaving costs less than sampling from the teacher.",
        measured="CPU seconds of a whole update",
        figure="cost.png",
        find=cheaper_than_teacher,
    ),
)
