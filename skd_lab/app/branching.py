"""From one refused token three roads: what was kept, what the student, what the teacher alone
would have said. All three start from the same text and, if asked, from the same random numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skd_lab.app.forced import check_ids, forced
from skd_lab.errors import UsageError
from skd_lab.records import Trace, is_replaced

if TYPE_CHECKING:
    from skd_lab.models import Pair

SAME_NUMBERS, GREEDY = "the same random numbers", "always the likeliest token"
HOW = (SAME_NUMBERS, GREEDY)
"""How both models go on."""

STUDENT_ROAD = "What the student would have said"
CHOSEN_ROAD = "What the student makes of the token you chose"

LENGTH = 20
"""Tokens of a road, with the one at the fork."""


def forks(trace: Trace) -> list[int]:
    """Places of the refused tokens."""
    return [i for i, token in enumerate(trace.tokens) if is_replaced(token)]


def roads(
    pair: "Pair",
    trace: Trace,
    at: int,
    how: str = SAME_NUMBERS,
    length: int = LENGTH,
    first: int | None = None,
) -> list[Trace]:
    """The three roads from a place of a trace, each judged by the teacher.

    Args:
        pair: the models that go on; their student need not be the one that wrote the trace.
        trace: with prompt_ids in its header.
        at: place of the fork, in the trace's tokens.
        how: one of HOW. The same numbers are those on record for each place; beyond the end of
            the record they are drawn from the trace's seed.
        length: tokens of a road.
        first: the id that the student's road starts with; its own proposal if None.

    Raises:
        UsageError: if there is no such place, or the trace does not fit the models.
    """

    from skd_lab.rollout import student_rollout, teacher_rollout
    from skd_lab.sampling import SamplingPolicy

    header, tokens = trace.header, trace.tokens
    if not 0 <= at < len(tokens):
        raise UsageError(f"There is no token {at}: the text has {len(tokens)}. Choose another.")
    if how not in HOW:
        raise UsageError(f"Choose how to go on: {' or '.join(HOW)}. Got {how!r}.")
    start = _prompt_ids(header)
    before = [*start, *(token["kept_id"] for token in tokens[:at])]
    kept = [token["kept_id"] for token in tokens[at : at + length]]
    proposed = tokens[at].get("proposed_id", -1) if first is None else first
    proposed = proposed if isinstance(proposed, int) and proposed >= 0 else kept[0]
    check_ids(pair, [*before, *kept, proposed])
    numbers = _numbers(trace, at, length)
    policy = SamplingPolicy(greedy=how == GREEDY)

    def go_on(writer: Any, model: Any, role: int, head: Sequence[int]) -> list[int]:
        if length == len(head) or (head and head[-1] in pair.eos_token_ids):
            return list(head)
        rollout = writer(
            model,
            [[*before, *head]],
            max_new_tokens=length - len(head),
            policy=policy,
            uniforms=numbers[role, :, len(head) :],
            eos_token_ids=pair.eos_token_ids,
            vocab_size=pair.vocab_size,
        )[0]
        return [*head, *rollout.completion_ids.tolist()]

    students = go_on(student_rollout, pair.student, 0, [proposed])
    teachers = go_on(teacher_rollout, pair.teacher, 1, [])
    found = [
        forced(pair, before, ids, label=label, uniforms=numbers[:, :, : len(ids)])
        for label, ids in (
            ("What was kept", kept),
            (STUDENT_ROAD if first is None else CHOSEN_ROAD, students),
            ("What the teacher alone would have said", teachers),
        )
    ]
    for road in found[1:]:
        ids = [token["kept_id"] for token in road.tokens]
        road.header["diverges_at"] = first_difference(kept, ids)
    return found


def first_difference(first: Sequence[int], second: Sequence[int]) -> int | None:
    """Place of the first token that differs, or at which one text ends; None if they are equal."""
    for i, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return i
    return None if len(first) == len(second) else min(len(first), len(second))


def _prompt_ids(header: dict[str, Any]) -> list[int]:
    ids = header.get("prompt_ids")
    if not isinstance(ids, list) or not ids or not all(type(i) is int for i in ids):
        raise UsageError(
            "This recording does not hold its prompt's ids, so no model can go on from it. Record "
            "it anew with this version."
        )
    return ids


def _numbers(trace: Trace, at: int, length: int) -> Any:
    """Uniforms [2, 1, length] of the places from `at` on: as recorded, then from the seed."""
    from skd_lab.sampling import draw_uniforms

    seed = trace.header.get("seed")
    drawn = draw_uniforms(seed if type(seed) is int and seed >= 0 else 0, 1, at + length)
    for role, name in enumerate(("u_student", "u_teacher")):
        for i, token in enumerate(trace.tokens[: at + length]):
            if isinstance(token.get(name), float) and 0 <= token[name] < 1:
                drawn[role, 0, i] = token[name]
    return drawn[:, :, at:]
