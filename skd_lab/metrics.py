"""Scores from texts and counts, each in [0, 1], and bootstrap intervals for their means."""

import importlib.util
import math
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from skd_lab.errors import UsageError

if TYPE_CHECKING:
    from skd_lab.records import Rollout

_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9,]*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def exact_match(text: str, reference: str) -> float:
    """1.0 if the texts are equal but for white space at the ends and runs of it inside."""
    return float(" ".join(text.split()) == " ".join(reference.split()))


def parse_number(text: str) -> float | None:
    """The one number a text consists of, or None.

    Thousands separators, a currency sign, a percent sign, a trailing full stop and spaces are
    allowed: "$1,250." is 1250.
    """
    cleaned = text.strip().removesuffix(".").strip().rstrip("%").strip()
    cleaned = re.sub(r"^([-+]?)[$€£]", r"\1", cleaned)
    if _NUMBER.fullmatch(cleaned) is None:
        return None
    value = float(cleaned.replace(",", ""))
    return value if math.isfinite(value) else None


def numeric_match(text: str, reference: str) -> float:
    """1.0 if both texts are numbers (`parse_number`) and equal: "1,250.00" matches "$1250"."""
    got, expected = parse_number(text), parse_number(reference)
    return float(got is not None and expected is not None and got == expected)


@cache
def _rouge_scorer(*kinds: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # slow to import; most runs never score by it

    return RougeScorer(kinds, use_stemmer=False)


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L F1 of one text: longest common subsequence of words (Lin 2004), by rouge-score."""
    return float(_rouge_scorer("rougeL").score(reference, text)["rougeL"].fmeasure)


def rouge(text: str, reference: str) -> dict[str, float]:
    """`rouge_l`, `rouge_1` and `rouge_2` of one text, F1 of words as `rouge_l` (Lin 2004)."""
    found = _rouge_scorer("rougeL", "rouge1", "rouge2").score(reference, text)
    names = {"rouge_l": "rougeL", "rouge_1": "rouge1", "rouge_2": "rouge2"}
    return {name: float(found[kind].fmeasure) for name, kind in names.items()}


def _check_corpus(texts: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not texts or len(texts) != len(references):
        raise UsageError(
            f"a corpus score needs one list of references for each text and at least one text, "
            f"got {len(texts)} texts and {len(references)} lists of references."
        )


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU in [0, 1] by sacrebleu (13a tokens, exponential smoothing).

    Args:
        texts: the completions.
        references: the valid references of each text, one or more.
    """
    return float(corpus_translation_scores(texts, references)["bleu"]["value"])


def chrf(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus chrF2 in [0, 1] (character n-grams, Popovic 2015) by sacrebleu."""
    return float(corpus_translation_scores(texts, references)["chrf"]["value"])


def corpus_translation_scores(
    texts: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, dict[str, float | str]]:
    """Corpus `bleu` and `chrf` in [0, 1], each with sacrebleu's signature.

    A corpus BLEU is no mean of sentences, so it has no interval here; the sentence scores of
    `translation_scores` have one.
    """
    _check_corpus(texts, references)
    found: dict[str, dict[str, float | str]] = {}
    for name, metric in _sacrebleu(sentence=False).items():
        score = metric.corpus_score(list(texts), _transposed(references))
        found[name] = {"value": float(score.score) / 100, "signature": str(metric.get_signature())}
    return found


def translation_scores(text: str, references: Sequence[str]) -> dict[str, float]:
    """`bleu` and `chrf` of one text in [0, 1], against its valid references.

    Sentence BLEU counts only the n-gram lengths that the text has (sacrebleu's effective order).
    """
    return {
        name: float(metric.sentence_score(text, list(references)).score) / 100
        for name, metric in _sacrebleu(sentence=True).items()
    }


def _sacrebleu(sentence: bool) -> dict[str, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    return {"bleu": BLEU(effective_order=sentence), "chrf": CHRF()}


def require_packages(names: Iterable[str], what: str) -> None:
    """Raise UsageError if a package that a metric needs is not installed.

    Args:
        names: as they are imported.
        what: needs them, for the message.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UsageError(
                f"{what} is scored by the package {name}, which is not installed. It comes with "
                f"skd-lab: pip install {name.replace('_', '-')}, or install skd-lab again."
            )


def _transposed(references: Sequence[Sequence[str]]) -> list[Any]:
    """sacrebleu's shape: one stream for the first references, one for the second, None for gaps."""
    width = max(len(row) for row in references)
    return [[row[i] if i < len(row) else None for row in references] for i in range(width)]


def acceptance_rate(rollouts: Iterable["Rollout"]) -> float:
    """Accepted proposals / verified proposals, over all tokens. NaN if nothing was verified.

    Proposals thrown away behind a replaced one were not verified and do not count.
    """
    accepted = verified = 0
    for rollout in rollouts:
        accepted += rollout.accepted
        verified += rollout.verified
    return accepted / verified if verified else math.nan


def replacement_rate(rollouts: Iterable["Rollout"]) -> float:
    """Teacher tokens / completion tokens, over all tokens. NaN if there are no tokens."""
    replaced = tokens = 0
    for rollout in rollouts:
        replaced += rollout.replaced
        tokens += len(rollout.completion_ids)
    return replaced / tokens if tokens else math.nan


def written_tokens(rollouts: Iterable["Rollout"]) -> dict[str, float]:
    """What sampling cost: `student_tokens`, those the student drew (refused and thrown away ones
    among them), and `teacher_tokens`, those the teacher drew."""
    student = teacher = 0
    for rollout in rollouts:
        student += int((rollout.trace.proposed_id >= 0).sum()) + rollout.discarded
        teacher += rollout.trace.source.count("teacher")
    return {"student_tokens": float(student), "teacher_tokens": float(teacher)}


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, seed: int, confidence: float = 0.95, draws: int = 2000
) -> tuple[float, float]:
    """Percentile bootstrap interval for the mean of independent values.

    Args:
        values: one value an example, at least one.
        seed: of the resampling; the same seed gives the same interval.
        confidence: share of the bootstrap means inside, strictly between 0 and 1.
        draws: number of resamples.

    Returns:
        (low, high) in the unit of the values.

    Raises:
        UsageError: no values, a value that is not finite, or a confidence outside (0, 1).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise UsageError(
            f"a bootstrap needs a list of one or more finite numbers, got shape {array.shape} "
            f"with {int((~np.isfinite(array)).sum())} that are not finite."
        )
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must be in (0, 1), got {confidence}. Usual is 0.95.")
    rng = np.random.Generator(np.random.Philox(seed))
    means = array[rng.integers(0, array.size, (draws, array.size))].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], seed: int, confidence: float = 0.95, draws: int = 2000
) -> tuple[float, float, float]:
    """Mean of a - b with its interval, for two systems scored on the same examples.

    Returns:
        (difference, low, high).

    Raises:
        UsageError: unequal lengths, or as `bootstrap_interval`.
    """
    if len(a) != len(b):
        raise UsageError(
            f"a paired comparison needs scores of the same examples, got {len(a)} and {len(b)}."
        )
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    low, high = bootstrap_interval(differences, seed, confidence, draws)
    return float(differences.mean()), low, high


def crossed_bootstrap(
    values: Sequence[Sequence[float]] | np.ndarray,
    seed: int,
    confidence: float = 0.95,
    draws: int = 2000,
) -> tuple[float, float, float, float]:
    """Interval of a mean over two things that were both sampled: runs and prompts.

    Runs and prompts are drawn with replacement, each on its own, so the interval holds both the
    luck of the seeds and that of the test set (Owen 2007, the pigeonhole bootstrap; for a mean it
    is on the wide side). With one run only the prompts are drawn.

    Args:
        values: [runs, prompts]; every run was scored on the same prompts. For a paired comparison
            the differences of two methods.
        seed: of the resampling.
        confidence: share of the bootstrap means inside, strictly between 0 and 1.
        draws: number of resamples.

    Returns:
        (mean, low, high, p): p is the two-sided p-value of a mean of 0, not under 1 / draws.

    Raises:
        UsageError: no values, rows of different lengths, or one that is not finite.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except ValueError as error:
        raise UsageError("every run must be scored on the same prompts.") from error
    if array.ndim != 2 or array.size == 0 or not np.isfinite(array).all():
        raise UsageError(
            f"a crossed bootstrap needs runs x prompts of finite numbers, got shape {array.shape}."
        )
    runs, prompts = array.shape
    rng = np.random.Generator(np.random.Philox(seed))
    # How often each run and each prompt was drawn: their product weighs every value. Whole numbers
    # until the end, so that the sums of right and wrong answers are exact, and ties with 0 stay
    # ties however many threads add them up.
    of_runs = rng.multinomial(runs, np.full(runs, 1 / runs), draws).astype(np.float64)
    of_prompts = rng.multinomial(prompts, np.full(prompts, 1 / prompts), draws).astype(np.float64)
    sums = np.einsum("dr,rp,dp->d", of_runs, array, of_prompts, optimize=True)
    means = sums / (runs * prompts)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    beside = min(float((means <= 0).mean()), float((means >= 0).mean()))
    p = min(1.0, max(2 * beside, 1 / draws))
    return float(array.mean()), float(low), float(high), p
