"""The student as a draft for the teacher: the lossless rule beside SKD's top-K rule."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skd_lab.app.asks import Ask
from skd_lab.records import Trace, is_replaced

if TYPE_CHECKING:
    from skd_lab.models import Pair

LOSSLESS = "Lossless rule: exactly the teacher's own text"
TOP_K = "Top-K rule (SKD): the text the student learns from"


def draft(pair: "Pair", ask: Ask) -> list[Trace]:
    """One prompt under both rules, with the same random numbers.

    Args:
        pair: loaded.
        ask: checked.

    Returns:
        The lossless text and the top-K text.
    """
    from skd_lab.encode import encode_prompt
    from skd_lab.recording import record_traces
    from skd_lab.sampling import draw_uniforms
    from skd_lab.speculative import interleaved_rollout, speculative_rollout

    policies: dict[str, Any] = {
        "student_policy": ask.student_policy,
        "teacher_policy": ask.teacher_policy,
        "gamma": ask.gamma,
    }
    k = min(ask.accept_top_k, pair.vocab_size)
    uniforms = draw_uniforms(ask.seed, 1, ask.max_new_tokens)
    prompts = [encode_prompt(pair.tokenizer, ask.prompt, pair.vocab_size)]
    settings: dict[str, Any] = {
        **policies,
        "max_new_tokens": ask.max_new_tokens,
        "eos_token_ids": pair.eos_token_ids,
        "uniforms": uniforms,
        "vocab_size": pair.vocab_size,
    }
    lossless = speculative_rollout(pair.student, pair.teacher, prompts, **settings)
    top_k = interleaved_rollout(pair.student, pair.teacher, prompts, accept_top_k=k, **settings)
    recorded: dict[str, Any] = {**policies, "uniforms": uniforms, "seed": ask.seed}
    first = record_traces(pair, lossless, rule="lossless", **recorded)[0]
    second = record_traces(pair, top_k, accept_top_k=k, **recorded)[0]
    first.header["label"], second.header["label"] = LOSSLESS, TOP_K
    return [first, second]


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
