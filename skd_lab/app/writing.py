"""Writing a text with the models, block by block, as traces that a strip can show at once.

While the text grows its records hold what the rollout itself knows: ids, verdicts, ranks and the
kept token's two probabilities. Both models' distributions need one more forward of each over the
whole text, so they are looked up once, when the text has ended or was stopped.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from skd_lab.app.asks import MAX_SECONDS, Ask
from skd_lab.records import Rollout, Trace

if TYPE_CHECKING:
    from skd_lab.models import Pair


@dataclass(frozen=True)
class Progress:
    """How far a text has come."""

    trace: Trace
    done: bool
    """False while the text grows; the last one has both models' distributions."""
    stopped: str = ""
    """Why it ended before its end, as "stopped at 84"; "" if it did not."""
    seconds: float = 0.0

    def sentence(self, limit: int) -> str:
        """For the line under the buttons."""
        trace = self.trace
        n, speed = len(trace.tokens), len(trace.tokens) / max(self.seconds, 1e-6)
        refused = f"{trace.replaced} of {trace.verified} proposals refused"
        if not self.done:
            return f"Writing: token {n} of at most {limit}, {refused}, {speed:.1f} tokens a second."
        state = self.stopped[:1].upper() + self.stopped[1:] if self.stopped else "Done"
        return f"{state}: {n} tokens, {refused}."


def write(pair: "Pair", ask: Ask, stop: Event, seconds: float = MAX_SECONDS) -> Iterator[Progress]:
    """Let student and teacher write together (Algorithm 1).

    Args:
        pair: loaded.
        ask: checked.
        stop: when set, the text ends after the block in hand.
        seconds: wall clock after which it ends likewise.

    Yields:
        The text so far after every block; the last one has `done`.

    Raises:
        UsageError: if the prompt cannot be used with this pair.
    """
    from skd_lab.encode import encode_prompt
    from skd_lab.sampling import draw_uniforms
    from skd_lab.speculative import stream_rollout

    asked: dict[str, Any] = {
        "accept_top_k": min(ask.accept_top_k, pair.vocab_size),
        "gamma": ask.gamma,
        "student_policy": ask.student_policy,
        "teacher_policy": ask.teacher_policy,
    }
    uniforms = draw_uniforms(ask.seed, 1, ask.max_new_tokens)
    begun = time.monotonic()
    stream = stream_rollout(
        pair.student,
        pair.teacher,
        encode_prompt(pair.tokenizer, ask.prompt, pair.vocab_size),
        max_new_tokens=ask.max_new_tokens,
        eos_token_ids=pair.eos_token_ids,
        uniforms=uniforms,
        vocab_size=pair.vocab_size,
        **asked,
    )
    growing, stopped, rollout = Growing(pair, ask, asked), "", None
    for rollout in stream:
        spent = time.monotonic() - begun
        yield Progress(growing.trace(rollout), False, seconds=spent)
        if stop.is_set():
            stopped = f"stopped at {len(rollout.completion_ids)}"
        elif spent > seconds:
            stopped = f"stopped at {len(rollout.completion_ids)}, after {seconds:.0f} seconds"
        if stopped:
            break
    assert rollout is not None, "every stream has a block"
    trace = record(pair, rollout, asked, ask.seed, uniforms)
    if stopped:
        trace.header["note"] = f"This text was {stopped}."
    yield Progress(trace, True, stopped, time.monotonic() - begun)


def record(
    pair: "Pair", rollout: Rollout, asked: dict[str, Any], seed: int, uniforms: Any
) -> Trace:
    """The rollout's full trace."""
    from skd_lab.recording import record_traces

    return record_traces(pair, [rollout], uniforms=uniforms, seed=seed, **asked)[0]


class Growing:
    """A rollout that grows, as a trace that grows with it: no token is made a record twice."""

    def __init__(self, pair: "Pair", ask: Ask, asked: dict[str, Any]) -> None:
        from skd_lab.token_text import TokenText

        self._text = TokenText(pair.tokenizer)
        self._tokens: list[dict[str, Any]] = []
        self._header = {
            "schema": "skd-trace/1",
            "prompt": ask.prompt,
            "accept_top_k": asked["accept_top_k"],
            "gamma": asked["gamma"],
            "student": pair.names["student"],
            "teacher": pair.names["teacher"],
            "vocab_size": pair.vocab_size,
            "seed": ask.seed,
            "method": "skd",
        }

    def trace(self, rollout: Rollout) -> Trace:
        """The records of the rollout so far."""
        seen, text = rollout.trace, self._text
        for i in range(len(self._tokens), len(seen)):
            kept, proposed = int(seen.kept_id[i]), int(seen.proposed_id[i])
            self._tokens.append(
                {
                    "i": i,
                    "source": seen.source[i],
                    "kept_id": kept,
                    "kept": text.of(kept),
                    "kept_bytes": text.bytes_of(kept).hex(),
                    "proposed_id": proposed,
                    "proposed": text.of(proposed) if proposed >= 0 else "",
                    "proposed_bytes": text.bytes_of(proposed).hex() if proposed >= 0 else "",
                    "block": int(seen.block[i]),
                    "teacher_rank": int(seen.teacher_rank[i]),
                    "p_student": _probability(seen.student_log_prob[i]),
                    "p_teacher": _probability(seen.teacher_log_prob[i]),
                    "discarded": [[token, text.of(token)] for token in seen.discarded[i]],
                }
            )
        return Trace(header=self._header, tokens=list(self._tokens))


def _probability(log_prob: Any) -> float | None:
    value = math.exp(float(log_prob))
    return value if math.isfinite(value) else None
