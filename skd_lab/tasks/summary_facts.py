"""The little language of the summaries task, and the check that a summary has its facts right.

A summary is right if it reads as one or two sentences `[adjuncts] core [adjuncts]` of its kind
with the dialogue's own values in every slot, and states every fact. The grammar takes more
wordings than the references use (blends of them, other orders, other verbs). What it cannot read
to the last letter scores 0: a wrong fact beside the right ones, a "not" or swapped names included.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Small pools, many combinations (more than 10 million problems): a hundred examples show every word
# to a student, and none of the problems it is tested on.
POOLS: dict[str, tuple[str, ...]] = {
    "person": tuple(
        "Anna Ben Chen Diego Emma Fatima Grace Hugo Ines Jamal Kate Leo Mia Noah Omar Priya".split()
    ),
    "day": tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()),
    "time": tuple("8 am,9 am,10 am,2 pm,3 pm,5 pm,6 pm,8 pm".split(",")),
    "activity": tuple(
        "play tennis,play chess,bake bread,watch birds,plant trees,fly kites,ride bikes,"
        "take photos,sing songs,go fishing".split(",")
    ),
    "place": tuple(
        "in the park,in the garden,in the city,in the forest,at the lake,at the beach,at the club,"
        "at the river,at the farm,at school".split(",")
    ),
    "item": tuple("tent bike drill camera ladder guitar laptop map rope van".split()),
    "purpose": tuple(
        "a trip,a party,a concert,a lesson,a race,a play,a hike,a wedding,school,work".split(",")
    ),
    "event": tuple("party picnic wedding dinner concert birthday barbecue festival".split()),
    "thing": tuple("juice cake salad bread cheese soup pasta flowers games candles".split()),
    "goal": tuple(
        "the airport,the station,the clinic,the bank,the office,the stadium,the market,the theatre,"
        "the hotel,the zoo".split(",")
    ),
}


@dataclass(frozen=True)
class Kind:
    """One kind of dialogue: its slots, and the phrases a summary of it is made of.

    Attributes:
        slots: slot name to pool name.
        cores: main clauses, exactly one a sentence. `[will|can]` marks alternatives.
        adjuncts: phrases before or after the core.
        tails: phrases after the core only.
    """

    slots: Mapping[str, str]
    cores: tuple[str, ...]
    adjuncts: tuple[str, ...]
    tails: tuple[str, ...] = ()


_PLAN = "[will|plan to|agree to|are going to|want to|decide to]"
_LENDS = "[lends|will lend]"
_BORROWS = "[borrows|will borrow]"
_BRINGS = "[brings|will bring]"
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
    "lend": Kind(
        slots={
            "a": "person",
            "b": "person",
            "item": "item",
            "purpose": "purpose",
            "day": "day",
        },
        cores=(
            f"{{a}} {_BORROWS} {{b}}'s {{item}}",
            f"{{a}} {_BORROWS} [a {{item}}|one] from {{b}}",
            f"{{b}} {_LENDS} {{a}} [a|his|her] {{item}}",
            f"{{b}} {_LENDS} [{{a}} one|one]",
            f"{{b}} {_LENDS} a {{item}} to {{a}}",
            "{a} needs a {item}",
        ),
        adjuncts=("for {purpose}", "until {day}"),
        tails=("and will return it on {day}",),
    ),
    "bring": Kind(
        slots={
            "a": "person",
            "b": "person",
            "c": "person",
            "event": "event",
            "x": "thing",
            "y": "thing",
            "day": "day",
        },
        cores=(
            f"{{a}} {_BRINGS} {{x}} and {{b}} {_BRINGS} {{y}}",
            f"{{b}} {_BRINGS} {{y}} and {{a}} {_BRINGS} {{x}}",
            "{c} has a {event}",
        ),
        adjuncts=("[for|to] {c}'s {event}", "on {day}"),
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
    role: str


def _phrases(kind: Kind, facts: Mapping[str, str]) -> list[_Phrase]:
    """Every phrase of a kind with the right values filled in: a wrong value matches none."""
    found = []
    for role, templates in (("core", kind.cores), ("", kind.adjuncts), ("tail", kind.tails)):
        for template in templates:
            text = re.sub(r"\[([^\]]*)\]", r"(?:\1)", template)
            text = text.format(**{slot: re.escape(value) for slot, value in facts.items()})
            # The phrase must end where a word ends: "at 1 pm" is no part of "at 1 pmx".
            pattern = re.compile(text + r"(?![\w'-])", re.IGNORECASE)
            slots = frozenset(re.findall(r"\{(\w+)\}", template))
            found.append(_Phrase(pattern, slots, role))
    return found


def _read_sentence(sentence: str, phrases: list[_Phrase]) -> set[str] | None:
    """The slots a sentence states, or None if it cannot be read to its end."""
    stated: set[str] = set()
    position, has_core = 0, False
    while position < len(sentence):
        candidates = [
            (match.end(), phrase)
            for phrase in phrases
            if (phrase.role != "core" if has_core else phrase.role != "tail")
            and not phrase.slots & stated
            and (match := phrase.pattern.match(sentence, position))
        ]
        if not candidates:
            return None
        # Of two phrases the longer one: "Ann drives Ben to the zoo" before "Ann drives".
        end, phrase = max(candidates, key=lambda candidate: candidate[0])
        stated |= phrase.slots
        has_core = has_core or phrase.role == "core"
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
