"""The cards of the Learn tab: one idea each, in words, with the recordings that show it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from skd_lab.app import questions
from skd_lab.app.questions import Question
from skd_lab.records import Trace, loads_traces


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


CARDS = (
    Card(
        title="What is a proposal?",
        text="A language model writes one **token** at a time: a word or a piece of a word. In SKD "
        "the small student goes first. Each token it suggests is a **proposal**. The large teacher "
        "looks at it before it becomes part of the text.",
        shows=("early",),
        hides=True,
        ask=questions.kept_proposals,
    ),
    Card(
        title="Who decides?",
        text="The teacher sorts all tokens by how likely it finds them. A proposal **stands** if "
        "it is among the first **K** of that list. If not, it is refused, and the teacher draws a "
        "token of its own in its place.",
        shows=("early",),
        hides=True,
        ask=questions.verdict_on_one,
    ),
    Card(
        title="From K = 1 to the whole vocabulary",
        text="K is a dial. A small K makes a strict teacher; a large K lets nearly everything "
        "stand. Blue tokens are the student's, darker ones further down the teacher's list; struck "
        "through is what was refused.",
        shows=("early",),
        after={"k": 1},
        ask=questions.strictest_k,
    ),
    Card(
        title="Early and late in training",
        text="The student learns from the mixed text: at every token it is pulled towards the "
        "teacher's list. Then it writes again.",
        shows=("early", "late"),
        ask=questions.after_training,
    ),
    Card(
        title="Why not the student's text alone?",
        text="One could let the student write everything and only compare the two models on its "
        "text. That is **on-policy** distillation: K is the whole vocabulary.",
        shows=("alone",),
        hides=True,
        after={"k": 3},
        ask=questions.outside_the_list,
    ),
    Card(
        title="Why not the teacher's text alone?",
        text="One could also let the teacher write everything. Its texts are better, but they are "
        "not the ones the student will find itself in.",
        shows=("alone", "teacher"),
        hides=True,
        after={"colour": "p_student"},
        ask=questions.odds_of_two_texts,
    ),
    Card(
        title="The lossless rule and top-K",
        text="Both rules let a student propose and a teacher refuse. They want different things: "
        "one the teacher's exact text, sooner; the other a good text that is still the student's.",
        shows=("early", "lossless"),
        hides=True,
        ask=questions.stricter_rule,
    ),
    Card(
        title="What the loss sees",
        text="The text is written; now the student learns from it. At every token both models give "
        "a probability to every word of the vocabulary, and the student is moved towards the "
        "teacher.",
        shows=("early",),
        after={"colour": "kl"},
        ask=questions.share_of_the_loss,
    ),
)


def question(card: Card) -> Question:
    """The card's question, asked of the records."""
    return card.ask(recordings())
