"""Exercises of notebook 01, Practising on someone else's essay."""

import math
from collections.abc import Callable, Sequence

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question
from skd_lab.course.toy import Reader, library, teacher


def teacher_logprob(words: Sequence[str]) -> float:
    """The logarithm of the probability the teacher gives to a text, in nats (never above 0)."""
    return sum(math.log(teacher(words[:i])[word]) for i, word in enumerate(words))


def _product(words: Sequence[str]) -> float:
    return float(math.prod(teacher(words[:i])[word] for i, word in enumerate(words)))


def _surprise(words: Sequence[str]) -> float:
    return -teacher_logprob(words)


def _without_the_first(words: Sequence[str]) -> float:
    return sum(math.log(teacher(words[:i])[words[i]]) for i in range(1, len(words)))


def _a_place_late(words: Sequence[str]) -> float:
    return sum(math.log(teacher(words[: i + 1])[word]) for i, word in enumerate(words))


def _in_bits(words: Sequence[str]) -> float:
    return teacher_logprob(words) / math.log(2)


add(
    Exercise(
        number="01.1",
        asks="a function teacher_logprob(words) that gives a number of nats, 0 or below.",
        answer=teacher_logprob,
        cases=(
            Case("one word", (["the"],)),
            Case("a likely sentence", (["the", "dog", "chases", "nothing", "."],)),
            Case("a word nobody expects", (["the", "the"],)),
            Case("the log of the product of fractions", (["a", "bird", "sings", "in", "the"],)),
        ),
        mistakes=(
            Mistake(_product, "That is the probability itself: take its logarithm (math.log)."),
            Mistake(_surprise, "The sign: the logarithm of a probability is 0 or below."),
            Mistake(_without_the_first, "The first word counts too: its prefix is empty."),
            Mistake(_a_place_late, "A word may not stand in its own prefix: words[:i], not i + 1."),
            Mistake(_in_bits, "That is in bits. Nats use the natural logarithm, math.log."),
        ),
    )
)


def first_lost(words: Sequence[str], has_read: Callable[[Sequence[str]], bool]) -> int | None:
    """The first place whose prefix ends in two words the student never read together."""
    for place in range(len(words)):
        if not has_read(words[:place]):
            return place
    return None


def _behind_it(words: Sequence[str], has_read: Callable[[Sequence[str]], bool]) -> int | None:
    found = first_lost(words, has_read)
    return None if found is None else found + 1


def _with_the_word(words: Sequence[str], has_read: Callable[[Sequence[str]], bool]) -> int | None:
    return next((i for i in range(len(words)) if not has_read(words[: i + 1])), None)


def _never_none(words: Sequence[str], has_read: Callable[[Sequence[str]], bool]) -> int | None:
    found = first_lost(words, has_read)
    return len(words) if found is None else found


def _last(words: Sequence[str], has_read: Callable[[Sequence[str]], bool]) -> int | None:
    return next((i for i in reversed(range(len(words))) if not has_read(words[:i])), None)


_HAS_READ = Reader(library(40)).has_read

add(
    Exercise(
        number="01.2",
        asks="a function first_lost(words, has_read) that gives an index or None.",
        answer=first_lost,
        cases=(
            Case("lost from the third word on", (["cat", "cat", "sees", "on", "a"], _HAS_READ)),
            Case("never lost", (["the", "dog", "chases", "nothing"], _HAS_READ)),
            Case("lost at the last word", (["the", "dog", "dog", "."], _HAS_READ)),
            Case("an empty text", ([], _HAS_READ)),
        ),
        mistakes=(
            Mistake(_behind_it, "Count from 0, as Python does."),
            Mistake(_with_the_word, "A word is written after words[:i]; it is not yet part of it."),
            Mistake(_never_none, "Where the student is never lost the answer is None."),
            Mistake(_last, "The first place is asked for, not the last."),
        ),
    )
)
add_question(
    "01.3",
    "ten times as many sentences read: the surprise at its own text is a, b or c",
    "b",
    {
        "a": "the places behind a slip are in no book, however many it reads: the teacher never "
        "slips there.",
        "b": "it is lost behind its slips as before: more reading helps only where teachers go.",
        "c": "reading more takes nothing away: it knows more pairs than before.",
    },
)
