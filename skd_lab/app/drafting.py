"""The student as a draft for the teacher: the lossless rule beside SKD's top-K rule."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from skd_lab.app.asks import Ask
from skd_lab.records import Rollout, Trace, is_replaced

if TYPE_CHECKING:
    from skd_lab.models import Pair

LOSSLESS = "Lossless rule: exactly the teacher's own text"
TOP_K = "Top-K rule (SKD): the text the student learns from"


def draft(pair: "Pair", ask: Ask, stop: Event) -> Iterator[list[Trace]]:
    """One prompt under both rules, with the same random numbers.

    Args:
        pair: loaded.
        ask: checked.
        stop: when set, the second text is not begun.

    Yields:
        The lossless text, then both texts.
    """
    from skd_lab.encode import encode_prompt
    from skd_lab.recording import record_traces
    from skd_lab.sampling import draw_uniforms
    from skd_lab.speculative import interleaved_rollout, speculative_rollout

    uniforms = draw_uniforms(ask.seed, 1, ask.max_new_tokens)
    prompts = [encode_prompt(pair.tokenizer, ask.prompt, pair.vocab_size)]
    common: dict[str, Any] = {
        "student_policy": ask.student_policy,
        "teacher_policy": ask.teacher_policy,
        "gamma": ask.gamma,
        "uniforms": uniforms,
    }
    limits: dict[str, Any] = {
        "max_new_tokens": ask.max_new_tokens,
        "eos_token_ids": pair.eos_token_ids,
        "vocab_size": pair.vocab_size,
    }
    top_k: dict[str, Any] = {"accept_top_k": min(ask.accept_top_k, pair.vocab_size)}
    traces: list[Trace] = []
    rules: list[tuple[str, Callable[..., list[Rollout]], Literal["lossless", "top_k"], Any]] = [
        (LOSSLESS, speculative_rollout, "lossless", {}),
        (TOP_K, interleaved_rollout, "top_k", top_k),
    ]
    for label, write, rule, own in rules:
        if traces and stop.is_set():
            return
        rollouts = write(pair.student, pair.teacher, prompts, **common, **limits, **own)
        [trace] = record_traces(pair, rollouts, rule=rule, seed=ask.seed, **common, **own)
        trace.header["label"] = label
        traces = [*traces, trace]
        yield traces


@dataclass(frozen=True)
class Economics:
    """What a text cost, and what the drafts spared."""

    tokens: int
    looks: int
    """Forwards of the teacher, one a draft block."""
    kept: int
    refused: int
    thrown_away: int

    @property
    def tokens_per_look(self) -> float:
        """1 would be the teacher writing alone."""
        return self.tokens / max(self.looks, 1)

    @property
    def acceptance_rate(self) -> float:
        """Kept / judged proposals."""
        return self.kept / max(self.kept + self.refused, 1)


def economics(trace: Trace) -> Economics:
    """Counted from the records; proposed = kept + refused + thrown away."""
    refused = sum(is_replaced(token) for token in trace.tokens)
    return Economics(
        tokens=len(trace.tokens),
        looks=len({token["block"] for token in trace.tokens}),
        kept=trace.accepted,
        refused=refused,
        thrown_away=trace.discarded,
    )
