"""Two or three texts on one prompt, written one after the other with the same random numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING

from skd_lab.app.asks import Ask
from skd_lab.app.branching import first_difference
from skd_lab.app.forced import forced
from skd_lab.app.models import Models, PairChoice
from skd_lab.app.writing import write
from skd_lab.errors import UsageError
from skd_lab.records import Trace

if TYPE_CHECKING:
    from skd_lab.models import Pair

BY_K = "three values of K"
BY_METHOD = "three ways to get training texts"
BY_WRITER = "together, and each model alone"
BY_STUDENT = "two students"
BY_ROLE = "roles swapped"
MODES = (BY_K, BY_METHOD, BY_WRITER, BY_STUDENT, BY_ROLE)
"""What may be compared."""

UNLIMITED = 10**9
"""A K that lets everything pass; cut to the vocabulary where it is used."""


@dataclass(frozen=True)
class Way:
    """One of the texts: who writes it, and what it is called."""

    label: str
    choice: PairChoice
    accept_top_k: int | None = None
    """Student and teacher write together with this K; None: see the next two."""
    reference: str | None = None
    """A given text, judged; if None too, the teacher writes alone."""


def ways(
    mode: str, ask: Ask, choice: PairChoice, other: PairChoice | None, reference: str
) -> list[Way]:
    """The texts that a mode compares.

    Raises:
        UsageError: for an unknown mode, or one that lacks its reference or second student.
    """
    k = ask.accept_top_k
    together = Way(f"Together, K = {k}", choice, k)
    if mode == BY_K:
        return [
            Way("K = 1: only the teacher's first choice passes", choice, 1),
            replace(together, label=f"K = {k}"),
            Way("No limit: the student alone", choice, UNLIMITED),
        ]
    if mode == BY_METHOD:
        if not reference.strip():
            raise UsageError(
                "Supervised training learns from a reference answer, and that box is empty. Write "
                "one, or take an example prompt: it comes with its answer."
            )
        return [
            Way("Supervised: the reference answer", choice, reference=reference),
            replace(together, label=f"SKD: together, K = {k}"),
            Way("On-policy: the student alone", choice, UNLIMITED),
        ]
    if mode == BY_WRITER:
        return [
            Way("The student alone", choice, UNLIMITED),
            together,
            Way("The teacher alone", choice),
        ]
    if mode == BY_STUDENT:
        if other is None or other == choice:
            raise UsageError(
                "Choose two different students: the second one in the list beside this button. "
                "Students come from the package and from training runs."
            )
        return [Way(one.name, one, k) for one in (choice, other)]
    if mode == BY_ROLE:
        swapped = replace(choice, name=f"{choice.name}, roles swapped", swapped=True)
        return [
            replace(together, label="The student proposes, the teacher judges"),
            Way("The teacher proposes, the student judges", swapped, k),
        ]
    raise UsageError(f"Choose what to compare: {', '.join(MODES)}. Got {mode!r}.")


def compare(
    models: Models, ask: Ask, wanted: list[Way], stop: Event
) -> Iterator[tuple[list[Trace], str, bool]]:
    """Write the texts one after the other.

    Args:
        models: of the app; the ways may use different pairs.
        ask: prompt, numbers and seed that all share.
        wanted: from `ways`.
        stop: when set, what is there is all there will be.

    Yields:
        The traces so far, the last of them growing; a sentence; whether that is all.
    """
    done: list[Trace] = []
    for way in wanted:
        if stop.is_set():
            break
        yield done, f"{way.label}: loading {way.choice.name}.", False
        with models.use(way.choice) as pair:
            for trace, last in _text(pair, ask, way, stop):
                trace.header["label"] = way.label
                if last:
                    done = [*done, _marked(trace, done)]
                    break
                yield [*done, trace], f"{way.label}: token {len(trace.tokens)}.", False
    short = "" if len(done) == len(wanted) and not stop.is_set() else "Stopped. "
    yield done, short + _sentence(done), True


def _text(pair: "Pair", ask: Ask, way: Way, stop: Event) -> Iterator[tuple[Trace, bool]]:
    """The way's text as it grows; True with the last."""
    if way.accept_top_k is not None:
        for progress in write(pair, replace(ask, accept_top_k=way.accept_top_k), stop):
            yield progress.trace, progress.done
    elif way.reference is not None:
        from skd_lab.encode import encode_prompt

        options = {"add_special_tokens": False, "split_special_tokens": True}
        ids = list(pair.tokenizer(way.reference, **options)["input_ids"])[: ask.max_new_tokens]
        prompt = encode_prompt(pair.tokenizer, ask.prompt, pair.vocab_size)
        yield forced(pair, prompt, ids, label=way.label, seed=ask.seed), True
    else:
        yield _alone(pair, ask, way), True


def _alone(pair: "Pair", ask: Ask, way: Way) -> Trace:
    """The teacher's own text."""
    from skd_lab.encode import encode_prompt
    from skd_lab.rollout import teacher_rollout
    from skd_lab.sampling import draw_uniforms

    uniforms = draw_uniforms(ask.seed, 1, ask.max_new_tokens)
    prompt = encode_prompt(pair.tokenizer, ask.prompt, pair.vocab_size)
    rollout = teacher_rollout(
        pair.teacher,
        [prompt],
        max_new_tokens=ask.max_new_tokens,
        policy=ask.teacher_policy,
        uniforms=uniforms[1],
        eos_token_ids=pair.eos_token_ids,
        vocab_size=pair.vocab_size,
    )[0]
    ids = rollout.completion_ids.tolist()
    return forced(pair, prompt, ids, label=way.label, uniforms=uniforms[:, :, : len(ids)])


def _marked(trace: Trace, before: list[Trace]) -> Trace:
    """The trace with the place where it leaves the first text, if it does."""
    if before:
        first, own = ([token["kept_id"] for token in one.tokens] for one in (before[0], trace))
        place = first_difference(first, own)
        if place is not None:
            trace.header["diverges_at"] = place
    return trace


def _sentence(traces: list[Trace]) -> str:
    parts = []
    for n, trace in enumerate(traces[1:], start=2):
        place = trace.header.get("diverges_at")
        parts.append(
            f"text {n} is the same as text 1"
            if place is None
            else f"text {n} parts from text 1 at token {place}"
        )
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}." if said else "No text was written."
