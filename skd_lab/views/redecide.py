"""A recorded completion judged again with another K, without a model.

A trace holds the teacher's rank of every proposal and what the teacher would have written at every
token, so each verdict can be taken again. It is certain as long as the text before it is the
recorded one: the honesty rule. `strip_model.js` has the same functions for the page.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skd_lab.records import STUDENT, Trace, is_replaced

ACCEPTED, REPLACED, PLAIN = "accepted", "replaced", "plain"


@dataclass(frozen=True)
class Redecided:
    """Verdicts of one completion at one K."""

    k: int | None
    """The K asked for; None where the verdicts are the recorded ones."""
    decisions: list[str]
    """A token each: "accepted", "replaced", or "plain" where nothing was judged."""
    flips: int
    """Verdicts that differ from the recorded run."""
    fork: int | None
    """Place of the first token whose text would differ; verdicts behind it are not certain.
    None: the recorded text stands to its end."""
    ends_at: int | None
    """The fork, where the token that would stand there ends the text."""

    @property
    def accepted(self) -> int:
        """Proposals that stand at this K."""
        return self.decisions.count(ACCEPTED)

    @property
    def replaced(self) -> int:
        """Proposals refused at this K. accepted + replaced = judged tokens, at every K."""
        return self.decisions.count(REPLACED)


def redecide(trace: Trace, k: int | None) -> Redecided:
    """Judge a recorded completion again: a proposal stands if its teacher rank is at most k.

    Args:
        trace: one completion.
        k: None for the verdicts as recorded; they are also what comes back where `why_not` names
            a reason.

    Returns:
        Verdicts, and the first token at which the text would part from the recorded one. A verdict
        that flips without changing the token (the teacher drew the student's very proposal) does
        not part it.
    """
    k = None if why_not(trace) is not None else k
    decisions, flips, fork, ends_at = [], 0, None, None
    given = trace.header.get("rule") == "teacher_forced"
    for place, token in enumerate(trace.tokens):
        was = now = recorded(token)
        if k is not None and was != PLAIN:
            now = ACCEPTED if token["teacher_rank"] <= k else REPLACED
        decisions.append(now)
        if now == was:
            continue
        flips += 1
        if fork is not None or given:
            continue
        choice = teacher_choice(token, trace.header)
        new = token["proposed_id"] if now == ACCEPTED else choice and choice["id"]
        if new != token["kept_id"]:
            fork = place
            ends = trace.header.get("finished") and new == trace.tokens[-1]["kept_id"]
            ends_at = place if ends and place < len(trace.tokens) - 1 else None
    return Redecided(k, decisions, flips, fork, ends_at)


def recorded(token: dict[str, Any]) -> str:
    """The verdict on record: "accepted", "replaced" or "plain"."""
    if is_replaced(token):
        return REPLACED
    return ACCEPTED if token["source"] == STUDENT and token["teacher_rank"] > 0 else PLAIN


def teacher_choice(token: dict[str, Any], header: dict[str, Any]) -> dict[str, Any] | None:
    """What the teacher wrote here, or would have: {"id", "text", "p"}; None if not recorded."""
    if is_replaced(token):
        return {"id": token["kept_id"], "text": token["kept"], "p": token.get("p_teacher")}
    if _replacement(header) == "teacher_argmax":
        top = token.get("teacher_top") or []
        return dict(zip(("id", "text", "p"), top[0], strict=True)) if top else None
    draw = token.get("teacher_draw")
    return draw if isinstance(draw, dict) else None


def why_not(trace: Trace) -> str | None:
    """Why K cannot be changed afterwards, in a sentence; None where it can."""
    header = trace.header
    variant = header.get("variant") or header.get("policies", {}).get("variant") or "paper"
    if header.get("rule") == "lossless":
        return "Lossless speculative sampling accepts by a ratio of probabilities; it has no K."
    if not trace.verified:
        return "No token of this text was proposed and judged, so there is nothing to decide again."
    if variant != "paper":
        return (
            f"The run used the variant {variant}, whose ranks do not tell what another K would do."
        )
    if _replacement(header) not in ("teacher_sample", "teacher_argmax"):
        return (
            f"Refused tokens were replaced by {_replacement(header)}, which another K would "
            "change, too."
        )
    return None


def k_stops(traces: Sequence[Trace]) -> list[int]:
    """Numbers from 1 to the vocabulary's size that are worth a look, the recorded ones included."""
    sizes = [trace.header.get("vocab_size") or 1 for trace in traces]
    ranks = [token["teacher_rank"] for trace in traces for token in trace.tokens]
    size = max([1, *sizes, *ranks])
    usual = [k for k in (1, 2, 3, 5, 10, 25, 50, 100, 200, 1000, 10000) if k <= 0.6 * size]
    own = [trace.header.get("accept_top_k") for trace in traces]
    return sorted({*usual, *(k for k in own if isinstance(k, int) and 1 <= k < size), size})


def acceptance_by_k(traces: Sequence[Trace]) -> list[tuple[int, float]]:
    """Acceptance as a function of K: share of judged proposals with a teacher rank of at most K.

    Returns:
        (K, share) at every stop of `k_stops`; the share rises to 1. On the recorded text: at a K
        that changes a token, the text itself would be another.
    """
    ranks = [t["teacher_rank"] for trace in traces for t in trace.tokens if t["teacher_rank"] > 0]
    if not ranks:
        return []
    return [(k, sum(rank <= k for rank in ranks) / len(ranks)) for k in k_stops(traces)]


def k_words(header: dict[str, Any]) -> str | None:
    """K as recorded, for people: "25", or "25\u20261" for a schedule; None where there is none."""
    k = header.get("accept_top_k")
    if header.get("rule") == "lossless" or k is None or k == []:
        return None
    if not isinstance(k, list):
        return f"{k:,}"
    return f"{k[0]:,}" if len(set(k)) == 1 else f"{k[0]:,}\u2026{k[-1]:,}"


def largest_k(header: dict[str, Any]) -> float:
    """The largest K of a run, infinite where there is none."""
    k = header.get("accept_top_k")
    if k is None or k_words(header) is None:
        return math.inf
    return max(k) if isinstance(k, list) else k


def _replacement(header: dict[str, Any]) -> str:
    policies = header.get("policies") or {}
    return header.get("replacement") or policies.get("replacement") or "teacher_sample"
