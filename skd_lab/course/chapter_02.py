"""Exercises of notebook 02, Poorly ranked: what "not in the top K" means."""

from collections.abc import Sequence

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question


def in_top_k(logits: Sequence[float], token: int, k: int) -> bool:
    """Whether the token is among the k largest logits; of equal ones the lower id is ahead."""
    ahead = sum(
        other > logits[token] or (other == logits[token] and i < token)
        for i, other in enumerate(logits)
    )
    return ahead < k


def _one_too_few(logits: Sequence[float], token: int, k: int) -> bool:
    ahead = sum(other > logits[token] for other in logits)
    return ahead + 1 < k


def _smallest(logits: Sequence[float], token: int, k: int) -> bool:
    return sorted(range(len(logits)), key=lambda i: (logits[i], i)).index(token) < k


def _ties_let_in(logits: Sequence[float], token: int, k: int) -> bool:
    return logits[token] >= sorted(logits, reverse=True)[k - 1]


def _by_id(logits: Sequence[float], token: int, k: int) -> bool:
    return token < k


_LOGITS = [1.0, 3.5, -2.0, 3.5, 0.25]

add(
    Exercise(
        number="02.1",
        asks="a function in_top_k(logits, token, k) that gives True or False.",
        answer=in_top_k,
        cases=(
            Case("the most likely token", (_LOGITS, 1, 1)),
            Case("rank 3 of K = 3 still stands", (_LOGITS, 0, 3)),
            Case("rank 4 of K = 3 does not", (_LOGITS, 4, 3)),
            Case("of two equal logits the lower id is ahead", (_LOGITS, 3, 1)),
            Case("all stand if K is the vocabulary", (_LOGITS, 2, 5)),
            Case("adding 100 to every logit changes nothing", ([x + 100 for x in _LOGITS], 0, 3)),
        ),
        mistakes=(
            Mistake(_one_too_few, "Ranks start at 1: with K = 3 the third-ranked token stands."),
            Mistake(_smallest, "You keep the smallest logits. Sort from the largest down."),
            Mistake(_ties_let_in, "Two equal logits: only the lower id takes the better rank."),
            Mistake(_by_id, "A token's id is not its rank: compare logits, not ids."),
        ),
    )
)
add_question(
    "02.2",
    "does dividing the logits by a temperature of 0.5 change who is in the top K? a, b or c",
    "b",
    {
        "a": "sharper probabilities keep their order; only how much the first leads changes.",
        "b": "the order stays, so every rank stays. A nucleus (top-p) would change.",
        "c": "K = 1 is not special: no rank moves at any K.",
    },
)


def mass_above(probabilities: Sequence[float], k: int) -> float:
    """How much probability the k most likely tokens hold together."""
    return sum(sorted(probabilities, reverse=True)[:k])


def _first_ids(probabilities: Sequence[float], k: int) -> float:
    return sum(probabilities[:k])


def _least_likely(probabilities: Sequence[float], k: int) -> float:
    return sum(sorted(probabilities)[:k])


def _at_rank(probabilities: Sequence[float], k: int) -> float:
    return sorted(probabilities, reverse=True)[k - 1]


def _what_is_left(probabilities: Sequence[float], k: int) -> float:
    return 1 - mass_above(probabilities, k)


_CHANCES = [0.1, 0.4, 0.05, 0.25, 0.2]

add(
    Exercise(
        number="02.3",
        asks="a function mass_above(probabilities, k) that gives a number in [0, 1].",
        answer=mass_above,
        cases=(
            Case("the most likely alone", (_CHANCES, 1)),
            Case("the top 3", (_CHANCES, 3)),
            Case("all of them", (_CHANCES, 5)),
            Case("a flat teacher", ([0.25] * 4, 2)),
        ),
        mistakes=(
            Mistake(_first_ids, "Those are the first ids, not the likeliest tokens: sort first."),
            Mistake(_least_likely, "Those are the least likely ones: sort from the largest down."),
            Mistake(_at_rank, "That is the k-th token alone. Add up all of the first k."),
            Mistake(_what_is_left, "That is what lies outside the top k."),
        ),
    )
)
