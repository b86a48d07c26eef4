"""Grammar of the translation task: what a sentence means, in Rilo and in every valid English.

Rilo puts the verb last (time, subject, place, who gets it, what, verb), what describes a noun
behind it, marks roles by endings, and has no articles::

    dog big  man-recipient  book-object  give-past      sege tup gatiig kameke bohaap
    "The big dog gave the man the book."  or  "The big dog gave the book to the man."
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from skd_lab.tasks.generated import pick, split_by_hash
from skd_lab.tasks.translation_words import (
    ADJECTIVES,
    ASKS,
    BEINGS,
    DETERMINERS,
    MANY,
    NOT,
    NUMBERS,
    OBJECT,
    OWNER,
    PLACE,
    PLACES,
    PLURAL,
    RECIPIENT,
    TENSES,
    THINGS,
    TIMES,
    VERBS,
)

NOUNS = {**BEINGS, **THINGS, **PLACES}


@dataclass(frozen=True)
class Phrase:
    """A noun with what is said of it, by the English words; "" where nothing is."""

    noun: str
    many: bool = False
    determiner: str = "the"
    number: str = ""
    adjective: str = ""
    owner: str = ""
    """Another being, one and definite; then the determiner is "the"."""


@dataclass(frozen=True)
class Sentence:
    """Who does what to whom, when or where, and whether it is denied or asked."""

    subject: Phrase
    verb: str
    object: Phrase
    recipient: Phrase | None = None
    place: Phrase | None = None
    time: str = ""
    tense: str = "present"
    denied: bool = False
    asked: bool = False

    @property
    def key(self) -> "Sentence":
        """The meaning itself: no two sentences of it count as different."""
        return self

    @property
    def split(self) -> str:
        """By a hash of who does what to whom, whatever else is said: a test sentence's subject,
        verb and object never stood together in training."""
        return split_by_hash(f"{self.subject.noun}|{self.verb}|{self.object.noun}")


def draw_sentence(rng: np.random.Generator) -> Sentence:
    """One sentence of any split; no noun comes twice in it."""
    verb = pick(rng, tuple(VERBS))
    free = {"beings": list(BEINGS), "objects": [*BEINGS, *THINGS]}

    def take(pool: str) -> str:
        noun = pick(rng, tuple(free[pool]))
        for nouns in free.values():
            if noun in nouns:
                nouns.remove(noun)
        return noun

    gives = VERBS[verb].gives
    subject = _draw_phrase(rng, take("beings"))
    receiver = _draw_phrase(rng, take("beings")) if gives else None
    # beings are seen and found, not given or read
    what = pick(rng, tuple(THINGS)) if gives else take("objects")
    owner = take("beings") if rng.random() < 0.2 else ""
    extra = rng.random()
    return Sentence(
        subject=subject,
        verb=verb,
        object=_draw_phrase(rng, what, owner),
        recipient=receiver,
        place=Phrase(pick(rng, tuple(PLACES))) if extra < 0.3 else None,
        time=pick(rng, tuple(TIMES)) if 0.3 <= extra < 0.6 else "",
        tense=pick(rng, tuple(TENSES)),
        denied=rng.random() < 0.2,
        asked=rng.random() < 0.2,
    )


def _draw_phrase(rng: np.random.Generator, noun: str, owner: str = "") -> Phrase:
    many = rng.random() < 0.4
    number = pick(rng, tuple(NUMBERS)) if many and rng.random() < 0.4 else ""
    determiner = pick(rng, ("the", *DETERMINERS)) if not owner else "the"
    return Phrase(
        noun=noun,
        many=many,
        # "some two dogs" is no English
        determiner="the" if number and determiner == "a" else determiner,
        number=number,
        adjective=pick(rng, tuple(ADJECTIVES)) if rng.random() < 0.4 else "",
        owner=owner,
    )


@cache
def split_sizes() -> dict[str, int]:
    """How many sentences each split has, counted by who does what to whom."""
    descriptions = 1 + len(ADJECTIVES)
    # one of them, several, so many of them; "a" goes with no number
    owned = descriptions * (2 + len(NUMBERS))
    bare = descriptions * (2 * len(DETERMINERS) + len(NUMBERS) * (len(DETERMINERS) - 1))
    around = (1 + len(PLACES) + len(TIMES)) * len(TENSES) * 2 * 2
    sizes: Counter[str] = Counter()
    for subject, (name, verb), what in product(BEINGS, VERBS.items(), [*BEINGS, *THINGS]):
        if what == subject or (verb.gives and what in BEINGS):
            continue
        others = len(BEINGS) - 1 - (what in BEINGS)
        receivers = others * bare if verb.gives else 1
        owners = others - verb.gives
        sentence = Sentence(Phrase(subject), name, Phrase(what))
        sizes[sentence.split] += bare * (bare + owners * owned) * receivers * around
    return dict(sizes)


def in_rilo(sentence: Sentence) -> str:
    """The one way to say it in Rilo."""
    verb = VERBS[sentence.verb].rilo + TENSES[sentence.tense]
    parts = [
        TIMES[sentence.time] if sentence.time else "",
        _rilo_phrase(sentence.subject, ""),
        _rilo_phrase(sentence.place, PLACE),
        _rilo_phrase(sentence.recipient, RECIPIENT),
        _rilo_phrase(sentence.object, OBJECT),
        verb,
        NOT if sentence.denied else "",
        ASKS if sentence.asked else "",
    ]
    return " ".join(part for part in parts if part)


def in_english(sentence: Sentence) -> list[str]:
    """Every valid English wording, without doubles; which one comes first says nothing."""
    subject = _english_phrase(sentence.subject)[0]
    objects = _english_phrase(sentence.object)
    before, after = _verb_words(sentence)
    if sentence.recipient is None:
        orders = ["{o}"]
    else:
        orders = ["{r} {o}", "{o} to {r}"]
    receiver = _english_phrase(sentence.recipient)[0] if sentence.recipient else ""
    tails = [order.format(o=o, r=receiver) for order, o in product(orders, objects)]
    core = f"{before} {subject}" if sentence.asked else f"{subject} {before}".rstrip()
    clauses = [" ".join(f"{core} {after} {tail}".split()) for tail in tails]
    extra, comma = sentence.time, ""
    if sentence.place:
        extra = f"{NOUNS[sentence.place.noun].at} {_english_phrase(sentence.place)[0]}"
        comma = ","
    said = [f"{clause} {extra}".rstrip() for clause in clauses]
    if extra and not sentence.asked:
        said += [f"{extra}{comma} {clause}" for clause in clauses]
    mark = "?" if sentence.asked else "."
    return list(dict.fromkeys(f"{text[0].upper()}{text[1:]}{mark}" for text in said))


def _rilo_phrase(phrase: Phrase | None, role: str) -> str:
    if phrase is None:
        return ""
    plural = PLURAL if phrase.many else ""
    words = [
        NOUNS[phrase.owner].rilo + OWNER if phrase.owner else "",
        NOUNS[phrase.noun].rilo + plural + role,
        ADJECTIVES[phrase.adjective] + plural if phrase.adjective else "",
        NUMBERS[phrase.number] if phrase.number else "",
        DETERMINERS[phrase.determiner],
    ]
    return " ".join(word for word in words if word)


def _english_phrase(phrase: Phrase) -> list[str]:
    noun = NOUNS[phrase.noun]
    words = [phrase.number, phrase.adjective, noun.many if phrase.many else noun.one]
    rest = " ".join(word for word in words if word)
    if phrase.owner:
        return [f"the {phrase.owner}'s {rest}", f"the {rest} of the {phrase.owner}"]
    determiner = phrase.determiner
    if phrase.many:
        determiner = MANY.get(determiner, determiner)
    elif determiner == "a" and rest[0] in "aeiou":
        determiner = "an"
    return [f"{determiner} {rest}"]


def _verb_words(sentence: Sentence) -> tuple[str, str]:
    """What stands before the subject of a question (else right behind it), and what follows."""
    verb = VERBS[sentence.verb]
    several = sentence.subject.many
    negation = "not " if sentence.denied else ""
    if sentence.tense == "future":
        return "will", negation + verb.plain
    past = sentence.tense == "past"
    if sentence.denied or sentence.asked:
        helper = "did" if past else "do" if several else "does"
        return helper, negation + verb.plain
    return "", verb.past if past else verb.plain if several else verb.third
