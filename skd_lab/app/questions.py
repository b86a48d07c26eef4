"""The questions of the Learn tab, and the truth as the records have it.

Nothing here knows an answer: choices and answers are counted on the recordings (lesson to trace),
so other recordings give other ones.
"""

import math
from dataclasses import dataclass
from typing import Any

from skd_lab.records import Trace, is_replaced
from skd_lab.views import redecide
from skd_lab.views.page import visible


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question with its answers, one of them true."""

    words: str
    choices: tuple[str, ...]
    truth: int
    """Place of the true answer."""
    why: str
    """What the records say, and why, in a sentence or two."""


def ranked(trace: Trace, least: int) -> list[dict[str, Any]]:
    """The judged tokens whose proposal has at least this rank."""
    return [token for token in trace.tokens if token["teacher_rank"] >= least]


def choose(true: int, *others: int, words: str = "{}") -> tuple[tuple[str, ...], int]:
    """Numbers to choose from, in order and without doubles, and the place of the true one."""
    numbers = sorted({true, *others})
    return tuple(words.format(n) for n in numbers), numbers.index(true)


def kept_proposals(found: dict[str, Trace]) -> Question:
    """How many proposals stood."""
    trace = found["early"]
    total, stood, gone = len(trace.tokens), trace.accepted, trace.replaced
    choices, truth = choose(stood, total, gone, total // 2)
    return Question(
        words=f"This text has {total} tokens. How many of the student's proposals stood?",
        choices=choices,
        truth=truth,
        why=f"{stood} proposals stood. {gone} were refused, and there the teacher wrote a token of "
        f"its own: {stood} + {gone} = {total}. Every token began as a proposal.",
    )


def verdict_on_one(found: dict[str, Trace]) -> Question:
    """What happens to one proposal."""
    trace = found["early"]
    k = trace.header["accept_top_k"]
    # the hardest case: a proposal that is not the teacher's favourite, as near to K as there is
    token = min(ranked(trace, 2), key=lambda one: (abs(one["teacher_rank"] - k), one["i"]))
    rank, stands = token["teacher_rank"], not is_replaced(token)
    share = token["proposed_p_teacher"]
    return Question(
        words=f"Token {token['i']}: the student proposes {_quoted(token['proposed'])}. It is "
        f"number {rank} on the teacher's list, with a probability of {_share(share)}; K is {k}. "
        "What happens?",
        choices=(
            "It stands: the teacher has it among its K",
            "It is refused: the teacher would not have said it",
        ),
        truth=0 if stands else 1,
        why=f"{rank} is {'at most' if stands else 'more than'} {k}, so it "
        f"{'stands' if stands else 'is refused'}. Only the place on the list counts, not how "
        "likely the teacher finds the token.",
    )


def strictest_k(found: dict[str, Trace]) -> Question:
    """How many proposals K = 1 refuses."""
    trace = found["early"]
    size, k = trace.header["vocab_size"], trace.header["accept_top_k"]
    strict, loose = redecide(trace, 1), redecide(trace, size)
    choices, truth = choose(strict.replaced, 0, trace.replaced, trace.verified)
    return Question(
        words=f"With K = {k} the teacher refuses {trace.replaced} of these {trace.verified} "
        "proposals. How many of the same ones would it refuse with K = 1?",
        choices=choices,
        truth=truth,
        why=f"{strict.replaced}: with K = 1 only the teacher's favourite stands, so the text is "
        f"nearly the teacher's own. With K = {size:,}, its whole vocabulary, it refuses "
        f"{loose.replaced}: then the student writes alone. Move the slider and see.",
    )


def after_training(found: dict[str, Trace]) -> Question:
    """Whether fewer are refused after training."""
    first, last = found["early"], found["late"]
    before, after = first.replaced / first.verified, last.replaced / last.verified
    return Question(
        words=f"The same prompt and the same random numbers after {last.header['step']} updates. "
        f"Before, {first.replaced} of {first.verified} proposals were refused. And now?",
        choices=("fewer", "as many", "more"),
        truth=0 if after < before else 1 if after == before else 2,
        why=f"Refused now: {last.replaced} of {last.verified}. The student learns from texts in "
        "which its mistakes are put right. The better it gets, the more of the text is its own: "
        "training moves by itself from the teacher's text to the student's.",
    )


def outside_the_list(found: dict[str, Trace]) -> Question:
    """How many of the student's own tokens the teacher does not have on its list."""
    trace, k = found["alone"], found["early"].header["accept_top_k"]
    outside = ranked(trace, k + 1)
    worst = max(outside or trace.tokens, key=lambda token: token["teacher_rank"])
    choices, truth = choose(len(outside), 0, len(trace.tokens) // 2, len(trace.tokens))
    return Question(
        words=f"Here the student wrote alone. How many of its {len(trace.tokens)} tokens are not "
        f"among the teacher's {k} most likely ones?",
        choices=choices,
        truth=truth,
        why=f"{len(outside)}. {_quoted(worst['kept'])} is number {worst['teacher_rank']} on the "
        "teacher's list, yet it stays, and all that follows builds on it. Training on such text "
        "alone teaches the student much about places where it should not be.",
    )


def odds_of_two_texts(found: dict[str, Trace]) -> Question:
    """How much more likely the student's text is to the student than the teacher's."""
    alone, teacher = (
        sum(math.log(max(token["p_student"], 1e-300)) for token in found[name].tokens)
        for name in ("alone", "teacher")
    )
    odds = math.exp(alone - teacher)
    steps = (1, 10, 1000)
    return Question(
        words="The first text is the student's own, the second the teacher's. How much more likely "
        "is the student to write the first?",
        choices=("less likely", "up to 10 times", "10 to 1,000 times", "more than 1,000 times"),
        truth=sum(odds > step for step in steps),
        why=f"About {_round(odds)} times. When it is used, the student continues its own words, "
        "not the teacher's. If it only ever learned from the teacher's text, it would not know "
        "how to go on from its own.",
    )


def stricter_rule(found: dict[str, Trace]) -> Question:
    """Which rule refused the larger share."""
    top, exact = found["early"], found["lossless"]
    shares = [trace.replaced / trace.verified for trace in (top, exact)]
    return Question(
        words="Speculative decoding also lets a teacher check a student's proposals, but its text "
        "must be distributed exactly as the teacher's. Which rule refused the larger share here?",
        choices=("the top-K rule of SKD", "the lossless rule", "both the same"),
        truth=2 if shares[0] == shares[1] else 0 if shares[0] > shares[1] else 1,
        why=f"Top-K refused {top.replaced} of {top.verified}, the lossless rule {exact.replaced} "
        f"of {exact.verified}. The lossless rule throws dice by the ratio of both probabilities, "
        "so that its text is as good as the teacher's. Top-K only looks up a place on a list: the "
        "first K always stand, all others never.",
    )


def share_of_the_loss(found: dict[str, Trace]) -> Question:
    """Which share of the loss lies on tokens that stood."""
    trace = found["early"]
    total = sum(token["kl"] for token in trace.tokens)
    stood = sum(token["kl"] for token in trace.tokens if not is_replaced(token))
    share = stood / total
    return Question(
        words="The loss compares both models' whole lists at every token (KL, in nats) and adds "
        "up. What share of the sum lies on tokens that stood?",
        choices=("less than a quarter", "25 to 50%", "50 to 75%", "more than 75%"),
        truth=sum(share > step for step in (0.25, 0.5, 0.75)),
        why=f"{share:.0%}: {stood:.1f} of {total:.1f} nats. A proposal can stand and the two lists "
        "still differ. Refusals decide which text is learned from; the loss sees every token of "
        "it. Dark tokens have the largest share.",
    )


def _quoted(text: str) -> str:
    return f"\u201c{visible(text).strip() or visible(text)}\u201d"


def _share(value: float) -> str:
    return "less than 0.1%" if value < 0.001 else f"{value:.1%}"


def _round(value: float) -> str:
    """Two digits that count."""
    if value < 10:
        return f"{value:.1f}"
    unit = 10 ** (len(str(int(value))) - 2)
    return f"{round(value / unit) * unit:,}"
