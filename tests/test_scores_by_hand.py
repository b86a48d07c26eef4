"""ROUGE of words, and BLEU of a corpus and of a sentence, against numbers worked out by hand."""

import math

import pytest

from skd_lab.metrics import bleu, rouge, translation_scores


def test_rouge_counts_words_and_pairs():
    # single words: 3 of 4 are shared. Pairs: "the gunman" of 3 and 3. Case and marks are no words
    found = rouge("Police kill the gunman!", "police killed the gunman")
    assert found == pytest.approx({"rouge_l": 3 / 4, "rouge_1": 3 / 4, "rouge_2": 1 / 3})
    # a word counts as often as both have it: precision 1/3, recall 1/2
    assert rouge("a a a", "a b")["rouge_1"] == pytest.approx(2 / (3 + 2))
    assert set(rouge("", "police").values()) == {0.0}


def test_a_short_corpus_pays_the_brevity_penalty():
    # every n-gram of the 5 words is right, the reference has 7: exp(1 - 7/5)
    value = bleu(["the cat sat on the"], [["the cat sat on the red mat"]])
    assert value == pytest.approx(math.exp(1 - 7 / 5))


def test_bleu_adds_up_n_grams_before_it_divides():
    # of both sentences: 6 of 8 words, 4 of 6 pairs, 2 of 5 triples, 1 of 4 longer ones
    value = bleu(["the cat sat on a mat b", "c"], [["the cat sat on the mat b"], ["d"]])
    assert value == pytest.approx((6 / 8 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25)


def test_bleu_of_a_sentence_counts_the_lengths_it_has():
    # two words right, no longer n-grams: the mean of 1-grams and 2-grams alone
    found = translation_scores("the cat", ["the cat"])
    assert found["bleu"] == pytest.approx(1.0) and found["chrf"] == pytest.approx(1.0)
    # no pair is right: exponential smoothing gives it half a match
    half = translation_scores("the dog", ["the cat"])["bleu"]
    assert half == pytest.approx(math.sqrt(1 / 2 * 1 / 2))
