"""The translation task: a language that must be learnt, and every valid wording of its English."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from skd_lab.cli.frame import main
from skd_lab.errors import UsageError
from skd_lab.loading import load_tokenizer
from skd_lab.metrics import (
    bleu,
    chrf,
    corpus_translation_scores,
    require_packages,
    translation_scores,
)
from skd_lab.models import BUNDLED
from skd_lab.tasks import Example, get_task
from skd_lab.tasks import translation_words as words
from skd_lab.tasks.translation_grammar import (
    Phrase,
    Sentence,
    draw_sentence,
    in_english,
    in_rilo,
    split_sizes,
)

TASK = get_task("translation")
GIFT = Sentence(Phrase("dog", adjective="big"), "give", Phrase("book"), Phrase("man"), tense="past")
SCORED = Example(id="x", prompt="?", meta={"references": in_english(GIFT)})


def test_sentences_repeat_by_seed_and_grow_by_prefix():
    assert TASK.load("train", 20) == TASK.load("train", 50)[:20]
    assert TASK.load("train", 20) != TASK.load("train", 20, seed=1)
    assert len({e.meta["source"] for e in TASK.load("test", 800)}) == 800


def test_the_text_is_pinned():
    """Models are trained on this very text: a change needs new models."""
    text = json.dumps([(e.messages, e.reference) for e in TASK.load("train", 100)])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "00acaf9f7bed2a8f"


def test_who_does_what_to_whom_is_never_in_two_splits():
    rng = np.random.default_rng(0)
    found = Counter()
    core = {}
    for _ in range(3000):
        sentence = draw_sentence(rng)
        found[sentence.split] += 1
        who = (sentence.subject.noun, sentence.verb, sentence.object.noun)
        assert core.setdefault(who, sentence.split) == sentence.split
    assert 0.7 < found["train"] / 3000 < 0.9 and min(found.values()) > 150
    # and what decides is nothing else
    assert GIFT.split == Sentence(Phrase("dog", True), "give", Phrase("book"), denied=True).split


def test_the_sizes_of_the_splits_are_those_of_the_grammar(monkeypatch):
    assert sum(split_sizes().values()) > 10**12
    pools = {
        "BEINGS": ["man", "boy", "dog"],
        "THINGS": ["egg"],
        "PLACES": ["park"],
        "TIMES": ["now"],
        "NUMBERS": ["two"],
        "VERBS": ["see"],
        "ADJECTIVES": [],
        "DETERMINERS": ["the", "a"],
        "TENSES": ["past"],
    }
    for pool, names in pools.items():
        few = {name: getattr(words, pool)[name] for name in names}
        monkeypatch.setattr(f"skd_lab.tasks.translation_grammar.{pool}", few)
    monkeypatch.setattr("skd_lab.tasks.translation_grammar.pick", pick_or_nothing)
    split_sizes.cache_clear()
    sizes = split_sizes()
    split_sizes.cache_clear()
    every = every_small_sentence(pools["BEINGS"], "egg")
    assert dict(Counter(sentence.split for sentence in every)) == sizes
    rng = np.random.default_rng(0)
    assert {draw_sentence(rng) for _ in range(2000)} < every


def pick_or_nothing(rng, values):
    return values[int(rng.random() * len(values))] if values else ""


def every_small_sentence(beings, thing):
    """All there are with the words of the test above."""

    def phrases(noun, owners=()):
        bare = {
            Phrase(noun, many, determiner, number)
            for many in (False, True)
            for determiner in ("the", "a")
            for number in ("", "two")
            if not number or (many and determiner == "the")
        }
        owned = {replace(p, owner=o) for p in bare if p.determiner == "the" for o in owners}
        return bare | owned

    found = set()
    for subject in beings:
        for what in {*beings, thing} - {subject}:
            pairs = product(phrases(subject), phrases(what, {*beings} - {subject, what}))
            extras = [(None, ""), (Phrase("park"), ""), (None, "now")]
            found |= {
                Sentence(s, "see", o, None, place, time, "past", denied, asked)
                for (s, o), (place, time) in product(pairs, extras)
                for denied in (False, True)
                for asked in (False, True)
            }
    return found


def test_rilo_says_different_things_differently():
    rng = np.random.default_rng(1)
    said: dict[str, set] = {}
    for _ in range(6000):
        sentence = draw_sentence(rng)
        said.setdefault(in_rilo(sentence), set()).add(tuple(sorted(in_english(sentence))))
    assert len(said) > 5000
    assert all(len(meanings) == 1 for meanings in said.values())


def test_english_by_hand():
    assert in_rilo(GIFT) == "sege tup gatiig kameke bohaap"
    assert in_english(GIFT) == [
        "The big dog gave the man the book.",
        "The big dog gave the book to the man.",
    ]
    sentence = Sentence(
        Phrase("boy", many=True, number="two"),
        "see",
        Phrase("egg", determiner="a", adjective="old", owner=""),
        place=Phrase("city"),
        denied=True,
    )
    assert in_rilo(sentence) == "tegoim pum tomoide putuke kal maf hadi hok"
    assert in_english(sentence) == [
        "The two boys do not see an old egg in the city.",
        "In the city, the two boys do not see an old egg.",
    ]
    sentence = Sentence(
        Phrase("cat", determiner="this"),
        "take",
        Phrase("fish", many=True, owner="mother"),
        time="now",
        tense="future",
        asked=True,
    )
    assert in_english(sentence) == [
        "Will this cat take the mother's fish now?",
        "Will this cat take the fish of the mother now?",
    ]
    past = Sentence(Phrase("man", many=True, determiner="this"), "know", Phrase("dog", True, "a"))
    assert in_english(past) == ["These men know some dogs."]


def test_every_reference_is_right_and_every_wording_gets_its_turn():
    examples = TASK.load("validation", 400)
    for example in examples:
        assert TASK.score(example, example.reference) == pytest.approx(
            {"exact": 1.0, "bleu": 1.0, "chrf": 1.0}
        )
        text = example.reference
        assert text[0].isupper() and text[-1] in ".?" and "  " not in text
    places = [
        e.meta["references"].index(e.reference) for e in examples if len(e.meta["references"]) == 4
    ]
    assert set(places) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "text", ["the big dog gave  the man the book", " The big dog gave the book to the man. "]
)
def test_other_right_wordings_are_right(text):
    assert TASK.score(SCORED, text)["exact"] == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "The big dog gave the man the book?",
        "The big dog gave the man the books.",
        "The big dog gives the man the book.",
        "The dog gave the man the big book.",
        "The big dog gave the book the man.",
        "The big dog gave the man the book. The big dog gave the man the book.",
        "The big dog gave the man to the book.",
        "Not: The big dog gave the man the book.",
    ],
)
def test_what_is_wrong_is_wrong(text):
    scores = TASK.score(SCORED, text)
    assert scores["exact"] == 0.0 and all(0 <= value <= 1 for value in scores.values())


def test_the_bundled_tokenizer_cuts_words_where_the_grammar_does():
    tokenizer = load_tokenizer(BUNDLED / "tiny-qwen3" / "student")

    def cut(root, *endings):
        pieces = tokenizer.tokenize(f" {root}")
        assert len(pieces) == 2, root
        assert tokenizer.tokenize(f" {root}{''.join(endings)}") == [*pieces, *endings]

    roles = ("", words.OBJECT, words.RECIPIENT, words.OWNER, words.PLACE)
    for noun in [*words.BEINGS.values(), *words.THINGS.values(), *words.PLACES.values()]:
        for role in roles:
            cut(noun.rilo, *filter(None, [role]))
            cut(noun.rilo, words.PLURAL, *filter(None, [role]))
    for adjective in words.ADJECTIVES.values():
        cut(adjective, words.PLURAL)
    for verb in words.VERBS.values():
        for ending in words.TENSES.values():
            cut(verb.rilo, *filter(None, [ending]))
    pools = (words.DETERMINERS, words.NUMBERS, words.TIMES)
    particles = [words.NOT, words.ASKS, *(w for pool in pools for w in pool.values() if w)]
    for particle in particles:
        cut(particle)
    roots = [n.rilo for p in (words.BEINGS, words.THINGS, words.PLACES) for n in p.values()]
    roots += [verb.rilo for verb in words.VERBS.values()]
    roots += [*words.ADJECTIVES.values(), *particles]
    assert len(set(roots)) == len(roots) == 58
    examples = TASK.load("validation", 300)
    answers = [len(tokenizer(e.reference)["input_ids"]) for e in examples]
    assert sum(answers) / 300 < 16
    longest = max(len(tokenizer(t)["input_ids"]) for e in examples for t in e.meta["references"])
    assert longest < TASK.max_new_tokens


def test_corpus_scores_come_with_sacrebleus_signature():
    texts = ["the cat sat on a mat", "a b c d"]
    references = [["the cat sat on the mat", "x"], ["a b c d"]]
    found = corpus_translation_scores(texts, references)
    assert found["bleu"]["value"] == bleu(texts, references)
    assert found["chrf"]["value"] == chrf(texts, references)
    assert "tok:13a" in found["bleu"]["signature"] and "version:" in found["bleu"]["signature"]
    assert "nc:6" in found["chrf"]["signature"]
    scores = TASK.corpus_scores([SCORED], ["The big dog gave the man the book."])
    assert scores["bleu"]["value"] == pytest.approx(1.0)


def test_sentence_bleu_by_hand():
    # 1-grams 3/4, 2-grams 2/3, 3-grams 1/2, 4-grams 0 smoothed to 1/2: equal lengths
    value = translation_scores("a b c x", ["a b c d"])["bleu"]
    assert value == pytest.approx((3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25)
    # only the lengths there are count, for a text of one word
    assert translation_scores("a", ["a"])["bleu"] == pytest.approx(1.0)
    assert translation_scores("", ["a"]) == {"bleu": 0.0, "chrf": 0.0}


def test_a_metric_package_that_is_missing_is_named_with_the_cure(monkeypatch):
    require_packages(TASK.packages, "task translation")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="task translation is scored.*pip install sacrebleu"):
        require_packages(TASK.packages, "task translation")


def test_a_file_and_too_many_sentences_are_refused():
    with pytest.raises(UsageError, match="task translation makes its own examples"):
        TASK.load("train", 1, data_path="x.jsonl")
    with pytest.raises(UsageError, match="different problems"):
        TASK.load("test", 10**15)


def test_evaluate_shows_corpus_scores_with_their_signature(capsys):
    words = ["evaluate", "--task", "translation", "--pair", "tiny-qwen3", "--n", "2"]
    assert main([*words, "--max-new-tokens", "8"]) == 0
    assert re.search(r"corpus bleu +[\d.]+%   nrefs:var\|.*version:", capsys.readouterr().out)
    assert main([*words, "--max-new-tokens", "8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["corpus"]) == {"bleu", "chrf"} and found["n"] == 2
