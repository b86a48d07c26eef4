"""A language of two dozen words, a teacher that knows it, and a student that has read little.

Everything is an exact fraction, so that a reader can work it out on paper and the notebook can
compare without a tolerance. The teacher looks at the last word, whatever stands before. The student
has counted what followed each *pair* of words in a few of the teacher's sentences: where it meets a
pair it has never read, it has no idea.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType

import numpy as np

_FOLLOWERS = {
    "<s>": "the:5 a:4 every:1",
    "the": "cat:3 dog:3 bird:2 small:1 old:1",
    "a": "cat:2 dog:2 bird:3 small:2 old:1",
    "every": "cat:4 dog:3 bird:2 small:1",
    "small": "cat:3 dog:2 bird:3 old:1 tree:1",
    "old": "cat:3 dog:4 bird:1 tree:2",
    "cat": "sees:3 sleeps:4 chases:2 and:1",
    "dog": "sees:2 chases:4 sleeps:2 and:2",
    "bird": "sings:5 sees:2 sleeps:2 and:1",
    "sees": "the:4 a:4 every:1 nothing:1",
    "chases": "the:5 a:3 nothing:2",
    "sleeps": "on:3 under:4 quietly:2 .:1",
    "sings": "in:3 on:1 quietly:3 .:3",
    "on": "the:6 a:4",
    "under": "the:7 a:3",
    "in": "the:8 a:2",
    "and": "sleeps:2 sings:2 sees:2 chases:2 waits:2",
    "waits": "quietly:4 under:3 .:3",
    "quietly": ".:8 and:2",
    "nothing": ".:9 and:1",
    "tree": ".:5 sings:1 and:2 waits:2",
    "mat": ".:7 and:3",
    ".": "</s>:10",
    "</s>": "</s>:10",
}
# after "on the", "under the" and "in the" a thing may follow as well as an animal
_PLACES = {"on": "mat:6 tree:2 small:1 old:1", "under": "tree:6 mat:2 small:1 old:1"}
_PLACES["in"] = "tree:8 small:1 old:1"

WORDS: tuple[str, ...] = tuple(_FOLLOWERS)
"""The vocabulary in id order; "<s>" begins and "</s>" ends a sentence."""

Law = Mapping[str, Fraction]
"""Word to probability, in id order, without "<s>". Adds up to 1."""


def teacher(prefix: Sequence[str]) -> Law:
    """The teacher's probabilities of the next word: a sensible one after any text at all."""
    text = ["<s>", *prefix]
    if text[-1] in ("the", "a") and len(text) > 1 and text[-2] in _PLACES:
        return _law(_PLACES[text[-2]])
    return _law(_FOLLOWERS[text[-1]])


class Reader:
    """A student that has counted what followed every two words of the sentences it was given.

    Args:
        sentences: what it has read; each a list of words without the two ends.
        slip: how often it writes any word at all (as every softmax can), in [0, 1).
    """

    def __init__(
        self, sentences: Sequence[Sequence[str]], slip: Fraction = Fraction(1, 20)
    ) -> None:
        self.slip = slip
        self.counts: dict[tuple[str, str], Counter[str]] = {}
        for sentence in sentences:
            words = ["<s>", "<s>", *sentence, "</s>"]
            for one, two, then in zip(words, words[1:], words[2:], strict=False):
                self.counts.setdefault((one, two), Counter())[then] += 1

    def has_read(self, prefix: Sequence[str]) -> bool:
        """Whether its last two words stood together in what it has read."""
        return self._state(prefix) in self.counts

    def __call__(self, prefix: Sequence[str]) -> Law:
        """Probabilities of the next word; all words alike after a pair it has never read."""
        any_word = Fraction(1, len(WORDS) - 1)  # never the beginning again
        seen = self.counts.get(self._state(prefix), Counter())
        total = sum(seen.values())
        own = 1 - self.slip if total else Fraction(0)
        rest = 1 - own
        law = {}
        for word in WORDS[1:]:
            share = own * Fraction(seen[word], total) if total else Fraction(0)
            law[word] = share + rest * any_word
        return law

    @staticmethod
    def _state(prefix: Sequence[str]) -> tuple[str, str]:
        one, two = ["<s>", "<s>", *prefix][-2:]
        return one, two


def draw(law: Law, number: float) -> str:
    """The word at which the running sum of probabilities passes the number.

    Args:
        law: in id order, as teacher and Reader give it.
        number: in [0, 1).
    """
    passed = Fraction(0)
    for word, probability in law.items():
        passed += probability
        if passed > number:
            return word
    return word


def write(model, numbers: Sequence[float]) -> list[str]:  # type: ignore[no-untyped-def]
    """A text by one model alone: a word for every number, up to the sentence's end.

    Args:
        model: teacher or a Reader.
        numbers: in [0, 1), one a word.
    """
    text: list[str] = []
    for number in numbers:
        text.append(draw(model(text), number))
        if text[-1] == "</s>":
            break
    return text


def library(count: int) -> list[list[str]]:
    """Whole sentences by the teacher, without their ends: what a student may read.

    Args:
        count: sentences that are begun; the few that are longer than 30 words are left out.
    """
    begun = [write(teacher, chances(seed, 30)) for seed in range(count)]
    return [text[:-1] for text in begun if text[-1] == "</s>"]


def chances(seed: int, count: int) -> list[float]:
    """Numbers in [0, 1), with four digits, so that they can be copied to paper."""
    return (np.random.Generator(np.random.Philox(seed)).integers(0, 10_000, count) / 1e4).tolist()


def _law(weights: str) -> Law:
    """A thousand for every point of weight, and one for every other word: never impossible."""
    pairs = [entry.rsplit(":", 1) for entry in weights.split()]
    points = dict.fromkeys(WORDS[1:], 1) | {word: 1000 * int(weight) for word, weight in pairs}
    total = sum(points.values())
    return MappingProxyType({word: Fraction(count, total) for word, count in points.items()})
