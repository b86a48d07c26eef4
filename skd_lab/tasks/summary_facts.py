"""The little language of the summaries task, and the check that a summary has its facts right.

A summary is right if it reads as one or two sentences `[adjuncts] core [adjuncts]` of its kind
with the dialogue's own values in every slot, and states every fact. The grammar takes more
wordings than the references use (blends of them, other orders, other verbs). What it cannot read
to the last letter scores 0: a wrong fact beside the right ones, a "not" or swapped names included.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Small pools, many combinations (98,784 problems): a hundred examples show a student every word,
# and less than one problem in five hundred.
POOLS: dict[str, tuple[str, ...]] = {
    "person": tuple("Anna Ben Chen Diego Emma Fatima Grace Hugo".split()),
    "day": tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()),
    "time": tuple("8 am,9 am,10 am,3 pm,5 pm,6 pm".split(",")),
    "activity": tuple(
        "play tennis,play chess,bake bread,watch birds,plant trees,fly kites".split(",")
    ),
    "place": tuple(
        "in the park,in the garden,in the city,at the lake,at the beach,at the club".split(",")
    ),
    "goal": tuple("the airport,the station,the clinic,the bank,the office,the stadium".split(",")),
}


@dataclass(frozen=True)
class Kind:
    """One kind of dialogue: its slots, and the phrases a summary of it is made of.

    Attributes:
        slots: slot name to pool name.
        cores: main clauses, exactly one a sentence. `[will|can]` marks alternatives.
        adjuncts: phrases before or after the core.
    """

    slots: Mapping[str, str]
    cores: tuple[str, ...]
    adjuncts: tuple[str, ...]


_PLAN = "[will|plan to|agree to|are going to|want to|decide to]"
_DRIVES = "[drives|will drive|takes|will take]"
KINDS: dict[str, Kind] = {
    "meet": Kind(
        slots={
            "a": "person",
            "b": "person",
            "activity": "activity",
            "place": "place",
            "day": "day",
            "time": "time",
        },
        cores=(
            f"{{a}} and {{b}} {_PLAN} {{activity}}",
            f"{{b}} and {{a}} {_PLAN} {{activity}}",
            "{a} [will|plans to] {activity} with {b}",
            "{b} [will|plans to] {activity} with {a}",
            "{a} [invites|asks] {b} to {activity}",
            "they [meet|will meet]",
        ),
        adjuncts=("{place}", "on {day}", "at {time}"),
    ),
    "ride": Kind(
        slots={"a": "person", "b": "person", "goal": "goal", "day": "day", "time": "time"},
        cores=(
            f"{{a}} {_DRIVES} {{b}} to {{goal}}",
            f"{{a}} {_DRIVES} {{b}}",
            "{a} [drives|will drive]",
            "{b} [gets|will get] a ride to {goal} from {a}",
            "{b} [gets|will get] a ride from {a} to {goal}",
            "{b} needs [to go|a ride] to {goal}",
        ),
        adjuncts=("on {day}", "at {time}"),
    ),
}


@dataclass(frozen=True)
class _Phrase:
    pattern: re.Pattern[str]
    slots: frozenset[str]
    is_core: bool


def _phrases(kind: Kind, facts: Mapping[str, str]) -> list[_Phrase]:
    """Every phrase of a kind with the right values filled in: a wrong value matches none."""
    found = []
    for is_core, templates in ((True, kind.cores), (False, kind.adjuncts)):
        for template in templates:
            text = re.sub(r"\[([^\]]*)\]", r"(?:\1)", template)
            text = text.format(**{slot: re.escape(value) for slot, value in facts.items()})
            # The phrase must end where a word ends: "at 1 pm" is no part of "at 1 pmx".
            pattern = re.compile(text + r"(?![\w'-])", re.IGNORECASE)
            slots = frozenset(re.findall(r"\{(\w+)\}", template))
            found.append(_Phrase(pattern, slots, is_core))
    return found


def _read_sentence(sentence: str, phrases: list[_Phrase]) -> set[str] | None:
    """The slots a sentence states, or None if it cannot be read to its end."""
    stated: set[str] = set()
    position, has_core = 0, False
    while position < len(sentence):
        candidates = [
            (match.end(), phrase)
            for phrase in phrases
            if not (has_core and phrase.is_core)
            and not phrase.slots & stated
            and (match := phrase.pattern.match(sentence, position))
        ]
        if not candidates:
            return None
        # Of two phrases the longer one: "Ann drives Ben to the bank" before "Ann drives".
        end, phrase = max(candidates, key=lambda candidate: candidate[0])
        stated |= phrase.slots
        has_core = has_core or phrase.is_core
        gap = re.compile(r",? (?=.)|$").match(sentence, end)
        if gap is None:
            return None
        position = gap.end()
    return stated if has_core else None


def facts_exact(kind: str, facts: Mapping[str, str], text: str) -> bool:
    """Whether a summary states every fact of a dialogue and nothing else.

    Letter case, white space and the last full stop do not count. A fact may be repeated in the
    second sentence, not within one.

    Args:
        kind: a key of `KINDS`.
        facts: slot name to value.
        text: the summary.
    """
    phrases = _phrases(KINDS[kind], facts)
    sentences = " ".join(text.split()).removesuffix(".").split(". ")
    if len(sentences) > 2:
        return False
    stated: set[str] = set()
    for sentence in sentences:
        slots = _read_sentence(sentence, phrases)
        if slots is None:
            return False
        stated |= slots
    return stated == set(facts)
