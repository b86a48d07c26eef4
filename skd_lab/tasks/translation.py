"""Generated translation from Rilo, a made-up language, to English.

An example::

    Translate.                                    The big dog gave the book to the man.
     sege tup gatiig kameke bohaap

A meaning is put into Rilo in one way, and into English in several where English leaves a choice
(who gets it or what first, an adverb first or last, "the dog's book" or "the book of the dog");
the reference is one of them, drawn at random, and all of them are right.
"""

from collections.abc import Sequence

import numpy as np

from skd_lab.metrics import corpus_translation_scores, exact_match, translation_scores
from skd_lab.tasks.base import Example
from skd_lab.tasks.generated import Generated, pick
from skd_lab.tasks.translation_grammar import (
    Sentence,
    draw_sentence,
    in_english,
    in_rilo,
    split_sizes,
)

INSTRUCTION = "Translate.\n"


class Translation(Generated[Sentence]):
    """Sentences of a small language with its own word order and endings; seeded, offline."""

    name = "translation"
    description = "Translate a short sentence of a made-up language into English."
    headline = "exact"
    max_new_tokens = 40
    packages = ("sacrebleu",)

    def size(self, split: str) -> int:
        return split_sizes()[split]

    def draw(self, rng: np.random.Generator) -> Sentence:
        return draw_sentence(rng)

    def put_into_words(self, rng: np.random.Generator, problem: Sentence, id: str) -> Example:
        wordings = in_english(problem)
        # indented, so that a root is the same tokens at the start of a line and inside one
        return Example(
            id=id,
            messages=[{"role": "user", "content": f"{INSTRUCTION} {in_rilo(problem)}"}],
            reference=pick(rng, tuple(wordings)),
            meta={"source": in_rilo(problem), "references": wordings},
        )

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`exact` (1 for any valid wording; letter case and the last mark do not count), and
        `bleu` and `chrf` of the sentence against all valid wordings.
        """
        wordings = example.meta["references"]
        exact = any(exact_match(_plain(completion_text), _plain(text)) for text in wordings)
        return {"exact": float(exact), **translation_scores(completion_text, wordings)}

    def corpus_scores(
        self, examples: Sequence[Example], texts: Sequence[str]
    ) -> dict[str, dict[str, float | str]]:
        """Corpus BLEU and chrF against all valid wordings, with sacrebleu's signature."""
        return corpus_translation_scores(texts, [e.meta["references"] for e in examples])


def _plain(text: str) -> str:
    """A question stays one: only a full stop may be missing."""
    return text.strip().removesuffix(".").lower()
