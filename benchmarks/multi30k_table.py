"""Corpus BLEU with intervals over seeds and sentences, and the folder of results."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU

from skd_lab.files import read_jsonl, write_json_atomic, write_text_atomic
from skd_lab.records import to_json
from skd_lab.views import plot_grid_curves, plot_grid_scores

BASELINE = "skd"
DRAWS = 2000
MEANS = ("kl_references", "kl_samples", "replacement_rate", "cpu_seconds")
"""Of a row, beside its scores: nats a token twice, a share of tokens, seconds of the updates."""
NOTES = """\
Greedy translations of the 1,000 sentences of test_2016_flickr; corpus scores by sacrebleu (BLEU
13a, chrF2). BLEU has 95% intervals over runs and sentences, both drawn anew 2,000 times; of one run
they are over sentences alone and know nothing of how runs differ. "minus skd" is paired: the same
start, seed, pairs and sentences. KL is KL(teacher || student) in nats a token; "replaced" is the
share of tokens that the teacher refuses at K = 5; CPU seconds are of the updates.
"""
Rows = Sequence[Mapping[str, Any]]


def bleu_counts(texts: Sequence[str], references: Sequence[str]) -> list[list[int]]:
    """Of every sentence: its n-grams that match, all of its n-grams (n = 1 to 4), and the length of
    its reference in words. Summed over sentences they give corpus BLEU.
    """
    metric = BLEU()
    found = []
    for text, reference in zip(texts, references, strict=True):
        score = metric.corpus_score([text], [[reference]])
        found.append([*score.counts, *score.totals, score.ref_len])
    return found


def bleu_of(sums: Sequence[int]) -> float:
    """Corpus BLEU in [0, 1] of summed `bleu_counts`, as sacrebleu computes it by default."""
    correct, total, reference = list(sums[:4]), list(sums[4:8]), sums[8]
    score = BLEU.compute_bleu(correct, total, total[0], reference, smooth_method="exp")
    return float(score.score) / 100


def crossed_bleu(counts: np.ndarray, base: np.ndarray | None = None) -> dict[str, Any]:
    """Mean over runs of corpus BLEU, with its interval, and minus that of a baseline.

    Runs and sentences are drawn with replacement, each on their own, as in
    `skd_lab.metrics.crossed_bootstrap`; a corpus BLEU is computed of every run of every draw.

    Args:
        counts: [runs, sentences, 9] of `bleu_counts`.
        base: the same of the baseline, on the same seeds and sentences.

    Returns:
        value, low, high; with a baseline minus, minus_low, minus_high and a two-sided p.
    """
    runs, sentences, _ = counts.shape
    rng = np.random.Generator(np.random.Philox(0))
    of_runs = rng.multinomial(runs, np.full(runs, 1 / runs), DRAWS)
    of_sentences = rng.multinomial(sentences, np.full(sentences, 1 / sentences), DRAWS)
    drawn = _drawn(counts, of_runs, of_sentences)
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = float(np.mean([bleu_of(run.sum(axis=0).tolist()) for run in counts]))
    found = {"value": value, "low": float(low), "high": float(high)}
    if base is not None:
        differences = drawn - _drawn(base, of_runs, of_sentences)
        low, high = np.quantile(differences, [0.025, 0.975])
        beside = min((differences <= 0).mean(), (differences >= 0).mean())
        found |= {
            "minus": value - float(np.mean([bleu_of(run.sum(axis=0).tolist()) for run in base])),
            "minus_low": float(low),
            "minus_high": float(high),
            "p": min(1.0, max(2 * float(beside), 1 / DRAWS)),
        }
    return found


def _drawn(counts: np.ndarray, of_runs: np.ndarray, of_sentences: np.ndarray) -> np.ndarray:
    """Mean BLEU of the drawn runs, each on the drawn sentences."""
    sums = np.einsum("ds,rsk->drk", of_sentences, counts)
    each = np.array([[bleu_of(run) for run in draw] for draw in sums.tolist()])
    return (each * of_runs).sum(axis=1) / of_runs.sum(axis=1)


def bleu_table(rows: Rows) -> list[dict[str, Any]]:
    """A row for each start and method, over its seeds, with BLEU against the baseline's."""
    table = []
    starts = list(dict.fromkeys(row["start"] for row in rows if "start" in row))
    for start in starts:
        members = [r for r in rows if r.get("start", start) == start and r["status"] == "done"]
        base = {row["seed"]: row for row in members if row["method"] == BASELINE}
        for method in dict.fromkeys(row["method"] for row in members):
            found = [row for row in members if row["method"] == method]
            shared = [row for row in found if row.get("seed") in base and method != BASELINE]
            made = {
                "start": start,
                "method": method,
                "runs": len(found),
                **crossed_bleu(_counts(found)),
                "chrf": float(np.mean([row["corpus"]["chrf"]["value"] for row in found])),
                **{name: _mean(row.get(name) for row in found) for name in MEANS},
            }
            if shared:
                against = _counts([base[row["seed"]] for row in shared])
                paired = crossed_bleu(_counts(shared), against)
                made |= {name: paired[name] for name in ("minus", "minus_low", "minus_high", "p")}
            table.append(made)
    return table


def _counts(rows: Rows) -> np.ndarray:
    return np.array([row["bleu_counts"] for row in rows], dtype=np.int64)


def to_page(rows: Rows) -> str:
    """table.md: a table a start, for people."""
    head = (
        f"| | runs | BLEU | minus {BASELINE} | p | chrF | KL on references | KL on own samples "
        "| replaced | CPU seconds |"
    )
    parts, table = [], bleu_table(rows)
    for start in dict.fromkeys(row["start"] for row in table):
        lines = [f"### start {start}", "", head, "|---|" + "---:|" * (head.count("|") - 2)]
        lines += [_line(row) for row in table if row["start"] == start]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, NOTES])


def _line(row: Mapping[str, Any]) -> str:
    cells = [row["method"], str(row["runs"]), _interval(row["value"], row["low"], row["high"])]
    if "minus" in row:
        cells.append(_interval(row["minus"], row["minus_low"], row["minus_high"], sign="+"))
        cells.append(f"{row['p']:.3f}" if row["p"] > 1 / DRAWS else f"< {1 / DRAWS:.4f}")
    else:
        cells += ["", ""]
    cells.append(f"{100 * row['chrf']:.1f}")
    for name, form in zip(MEANS, (".3f", ".3f", ".1%", ".0f"), strict=True):
        cells.append("" if row[name] is None else format(row[name], form))
    return "| " + " | ".join(cells) + " |"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    return " ".join(
        [f"{100 * value:{sign}.1f}", f"[{100 * low:{sign}.1f} to {100 * high:{sign}.1f}]"]
    )


def write_results(rows: Rows, about: Mapping[str, Any], folder: Path) -> None:
    """rows.jsonl, about.json, table.md and figures."""
    write_text_atomic(folder / "rows.jsonl", "".join(to_json(dict(row)) + "\n" for row in rows))
    write_json_atomic(folder / "about.json", about)
    rows = read_jsonl(folder / "rows.jsonl", tolerate_truncated_tail=False)
    write_text_atomic(folder / "table.md", to_page(rows))
    for name, plot in (("scores", plot_grid_scores), ("curves", plot_grid_curves)):
        plot(rows).savefig(folder / f"{name}.png", dpi=110, facecolor="white")
