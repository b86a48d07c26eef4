"""Corpus BLEU of the Multi30k results: sacrebleu's own, with intervals over runs and sentences."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from benchmarks.multi30k import build_parser
from benchmarks.multi30k_table import bleu_counts, bleu_of, bleu_table, crossed_bleu, to_page
from skd_lab.files import read_jsonl

RESULTS = Path(__file__).parent.parent / "results"
WORDS = "a man in the red hat is on street with two dogs .".split()


def corpus(rng, sentences, kept):
    references = [" ".join(rng.choice(WORDS, rng.integers(4, 13))) for _ in range(sentences)]
    texts = [" ".join(w for w in line.split() if rng.random() < kept) for line in references]
    return texts, references


def counts(rng, sentences, kept):
    return np.array(bleu_counts(*corpus(rng, sentences, kept)))


def test_summed_counts_give_sacrebleus_corpus_bleu():
    texts, references = corpus(np.random.default_rng(0), 200, 0.8)
    texts[:4] = ["", "a", "a man", "in the red"]  # too short for longer n-grams
    sums = np.array(bleu_counts(texts, references)).sum(axis=0).tolist()
    assert bleu_of(sums) == pytest.approx(BLEU().corpus_score(texts, [references]).score / 100)


def test_the_interval_is_that_of_sacrebleus_own_bootstrap():
    texts, references = corpus(np.random.default_rng(1), 200, 0.8)
    found = crossed_bleu(np.array([bleu_counts(texts, references)]))
    score = BLEU().corpus_score(texts, [references], n_bootstrap=1000)
    # sacrebleu gives half the width of its interval
    assert (found["high"] - found["low"]) / 2 == pytest.approx(score._ci / 100, rel=0.1)
    assert found["low"] < found["value"] < found["high"]


def test_a_difference_is_paired_by_seed_and_sentence():
    rng = np.random.default_rng(2)
    worse = [counts(np.random.default_rng(n), 100, 0.75) for n in range(3)]
    better = [counts(np.random.default_rng(n), 100, 0.9) for n in range(3)]
    found = crossed_bleu(np.array(better), np.array(worse))
    assert 0 < found["minus_low"] < found["minus"] < found["minus_high"] and found["p"] < 0.01
    same = crossed_bleu(np.array(worse), np.array(worse))
    assert same["minus"] == same["minus_low"] == same["minus_high"] == 0.0 and same["p"] == 1.0
    # more runs that differ make the mean no surer than they are
    spread = np.array([counts(rng, 100, kept) for kept in (0.6, 0.95)])
    assert crossed_bleu(spread)["high"] - crossed_bleu(spread)["low"] > 0.2


def row(method, seed, kept, start="sft10"):
    found = {
        "cell": f"{method}-{seed}",
        "status": "done",
        "task": "multi30k",
        "method": method,
        "prompts": 10,
        "metric": "chrf",
        "metrics": {"chrf": {"value": kept}},
        "n": 50,
        "scores": [kept] * 50,
        "seconds": 1.0,
        "corpus": {"chrf": {"value": kept}, "bleu": {"value": kept}},
        "bleu_counts": counts(np.random.default_rng(seed), 50, kept).tolist(),
    }
    return found if method == "teacher" else {**found, "start": start, "seed": seed}


def test_the_table_has_a_line_a_method_and_the_teacher_in_every_group():
    rows = [
        *(row("start", seed, 0.5) for seed in (0, 1)),
        *(row("supervised_kd", seed, 0.7) for seed in (0, 1)),
        *(row("skd", seed, 0.8) for seed in (0, 1)),
        row("skd", 0, 0.9, start="sft99"),
        row("teacher", 0, 0.95),
    ]
    table = bleu_table(rows)
    assert [(line["start"], line["method"], line["runs"]) for line in table] == [
        ("sft10", "start", 2),
        ("sft10", "supervised_kd", 2),
        ("sft10", "skd", 2),
        ("sft10", "teacher", 1),
        ("sft99", "skd", 1),
        ("sft99", "teacher", 1),
    ]
    assert table[1]["minus"] < 0 and "minus" not in table[2] and "minus" not in table[3]
    page = to_page(rows)
    assert page.count("\n| skd | ") == 2 and "### start sft10\n" in page


def test_the_committed_page_is_that_of_the_committed_rows():
    rows = read_jsonl(RESULTS / "multi30k" / "rows.jsonl", tolerate_truncated_tail=False)
    written = (RESULTS / "multi30k" / "table.md").read_text(encoding="utf-8")
    assert written == to_page(rows)
    # what sacrebleu said of the texts, which are not kept, is what their counts say
    for row in rows:
        sums = np.array(row["bleu_counts"]).sum(axis=0).tolist()
        assert bleu_of(sums) == pytest.approx(row["corpus"]["bleu"]["value"])


def test_the_page_has_the_command_that_made_them():
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    section = page.split("## multi30k\n")[1].split("\n## ")[0]
    command = shlex.split(section.split("```sh\n")[1].split("\n```")[0])
    assert command[:3] == ["python", "-m", "benchmarks.multi30k"]
    asked = build_parser().parse_args(command[3:])
    rows = read_jsonl(RESULTS / "multi30k" / "rows.jsonl", tolerate_truncated_tail=False)
    trained = {(row["prompts"], row["seed"]) for row in rows if "prompts" in row}
    assert trained <= {(prompts, seed) for prompts in asked.prompts for seed in asked.seeds}
