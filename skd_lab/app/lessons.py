"""The cards of the Learn tab: one idea each, a question, and the truth as the records have it.

Nothing here knows an answer: choices and answers are counted on the recordings, so another
recording gives other ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from skd_lab.records import Trace, is_replaced, loads_traces
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


@dataclass(frozen=True, kw_only=True)
class Card:
    """One idea."""

    title: str
    text: str
    shows: tuple[str, ...]
    """Recordings, by their name in the file, that stand under the text."""
    hides: bool = False
    """Whether verdicts are hidden until the answer is shown."""
    after: dict[str, Any] = field(default_factory=dict)
    """Props of the strip once the answer is shown."""
    ask: Callable[[dict[str, Trace]], Question]


@cache
def recordings() -> dict[str, Trace]:
    """The recordings of the cards, by name."""
    path = files("skd_lab").joinpath("bundled", "lessons.ndjson")
    traces = loads_traces(path.read_text(encoding="utf-8"), "lessons.ndjson")
    labels = {
        "early": "student and teacher together, before training",
        "late": "student and teacher together, after {} updates",
        "alone": "the student alone",
        "teacher": "the teacher alone",
        "lossless": "speculative decoding without loss",
    }
    for trace in traces:
        label = labels[trace.header["lesson"]].format(trace.header["step"])
        trace.header |= {"label": label, "run": ""}
    return {trace.header["lesson"]: trace for trace in traces}


def strip_of(card: Card, revealed: bool) -> list[Trace]:
    """What the card's strip holds: with the verdicts, or before they are shown, the text alone."""
    traces = [recordings()[name] for name in card.shows]
    if revealed:
        return traces
    return [unjudged(trace) for trace in traces] if card.hides else traces[:1]


def unjudged(trace: Trace) -> Trace:
    """The text of a recording without who wrote what."""
    plain = {"source": "reference", "teacher_rank": 0, "discarded": [], "block": -1}
    seen = ("i", "kept_id", "kept", "kept_bytes")
    tokens = [{**{name: token[name] for name in seen}, **plain} for token in trace.tokens]
    tokens = [{**token, "proposed_id": -1, "proposed": ""} for token in tokens]
    return Trace(header={**trace.header, "accept_top_k": None, "gamma": None}, tokens=tokens)


def ranked(*, least: int = 1) -> Callable[[Trace], list[dict[str, Any]]]:
    """A function that gives the judged tokens whose proposal has at least this rank."""
    return lambda trace: [token for token in trace.tokens if token["teacher_rank"] >= least]


def choose(true: int, *others: int, words: str = "{}") -> tuple[tuple[str, ...], int]:
    """Numbers to choose from, in order and without doubles, and the place of the true one."""
    numbers = sorted({true, *others})
    return tuple(words.format(n) for n in numbers), numbers.index(true)


def _proposals(found: dict[str, Trace]) -> Question:
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


def _decides(found: dict[str, Trace]) -> Question:
    trace = found["early"]
    k = trace.header["accept_top_k"]
    # the hardest case: a proposal that is not the teacher's favourite, as near to K as there is
    token = min(ranked(least=2)(trace), key=lambda one: (abs(one["teacher_rank"] - k), one["i"]))
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


def _ends(found: dict[str, Trace]) -> Question:
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


def _early(found: dict[str, Trace]) -> Question:
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


def _alone(found: dict[str, Trace]) -> Question:
    trace, k = found["alone"], found["early"].header["accept_top_k"]
    outside = ranked(least=k + 1)(trace)
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


def _taught(found: dict[str, Trace]) -> Question:
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


def _lossless(found: dict[str, Trace]) -> Question:
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


def _loss(found: dict[str, Trace]) -> Question:
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


CARDS = (
    Card(
        title="What is a proposal?",
        text="A language model writes one **token** at a time: a word or a piece of a word. In SKD "
        "the small student goes first. Each token it suggests is a **proposal**. The large teacher "
        "looks at it before it becomes part of the text.",
        shows=("early",),
        hides=True,
        ask=_proposals,
    ),
    Card(
        title="Who decides?",
        text="The teacher sorts all tokens by how likely it finds them. A proposal **stands** if "
        "it is among the first **K** of that list. If not, it is refused, and the teacher draws a "
        "token of its own in its place.",
        shows=("early",),
        hides=True,
        ask=_decides,
    ),
    Card(
        title="From K = 1 to the whole vocabulary",
        text="K is a dial. A small K makes a strict teacher; a large K lets nearly everything "
        "stand. Blue tokens are the student's, darker ones further down the teacher's list; struck "
        "through is what was refused.",
        shows=("early",),
        after={"k": 1},
        ask=_ends,
    ),
    Card(
        title="Early and late in training",
        text="The student learns from the mixed text: at every token it is pulled towards the "
        "teacher's list. Then it writes again.",
        shows=("early", "late"),
        ask=_early,
    ),
    Card(
        title="Why not the student's text alone?",
        text="One could let the student write everything and only compare the two models on its "
        "text. That is **on-policy** distillation: K is the whole vocabulary.",
        shows=("alone",),
        hides=True,
        after={"k": 3},
        ask=_alone,
    ),
    Card(
        title="Why not the teacher's text alone?",
        text="One could also let the teacher write everything. Its texts are better, but they are "
        "not the ones the student will find itself in.",
        shows=("alone", "teacher"),
        hides=True,
        after={"colour": "p_student"},
        ask=_taught,
    ),
    Card(
        title="The lossless rule and top-K",
        text="Both rules let a student propose and a teacher refuse. They want different things: "
        "one the teacher's exact text, sooner; the other a good text that is still the student's.",
        shows=("early", "lossless"),
        hides=True,
        ask=_lossless,
    ),
    Card(
        title="What the loss sees",
        text="The text is written; now the student learns from it. At every token both models give "
        "a probability to every word of the vocabulary, and the student is moved towards the "
        "teacher.",
        shows=("early",),
        after={"colour": "kl"},
        ask=_loss,
    ),
)


def question(card: Card) -> Question:
    """The card's question, asked of the records."""
    return card.ask(recordings())


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
