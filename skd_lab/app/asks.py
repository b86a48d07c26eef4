"""What a person asks the models for, checked on the server whatever the page let through."""

import math
from dataclasses import dataclass
from typing import Any

from skd_lab.errors import UsageError
from skd_lab.sampling import SamplingPolicy

MAX_PROMPT_CHARACTERS = 2000
MAX_TEXT_CHARACTERS = 4000
"""Of a pasted text."""
MAX_NEW_TOKENS = 256
MAX_GAMMA = 32
MAX_SECONDS = 60.0
"""A run that takes longer is stopped and kept as far as it came."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One text to be written.

    Raises:
        UsageError: for a value that cannot be; says what to do.
    """

    prompt: str
    accept_top_k: int = 3
    gamma: int = 5
    max_new_tokens: int = 64
    seed: int = 0
    student_policy: SamplingPolicy = SamplingPolicy()
    teacher_policy: SamplingPolicy = SamplingPolicy()

    def __post_init__(self) -> None:
        check_text(self.prompt, "prompt", MAX_PROMPT_CHARACTERS)
        _within("K", self.accept_top_k, 1, None)
        _within("The draft length", self.gamma, 1, MAX_GAMMA)
        _within("The number of new tokens", self.max_new_tokens, 1, MAX_NEW_TOKENS)
        _within("The seed", self.seed, 0, 2**63 - 1)


def check_text(text: Any, what: str, limit: int) -> str:
    """The text, if there is one and it is not too long.

    Raises:
        UsageError: otherwise.
    """
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"The {what} is empty. Write something in the box, or take an example.")
    if len(text) > limit:
        raise UsageError(
            f"The {what} has {len(text):,} characters; at most {limit:,} are taken. Shorten it."
        )
    return text


def whole(name: str, value: Any) -> int:
    """A whole number from a control, which may have sent anything.

    Raises:
        UsageError: if it is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value != int(value):
        raise UsageError(f"{name} must be a whole number, got {value!r}.")
    return int(value)


def policy(role: str, temperature: Any, top_p: Any, greedy: Any) -> SamplingPolicy:
    """A sampling policy from three controls; top_p 1 keeps every token.

    Raises:
        UsageError: for a number that cannot be; names whose it is.
    """
    for name, value in (("temperature", temperature), ("top-p", top_p)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"The {role}'s {name} must be a number, got {value!r}.")
    try:
        return SamplingPolicy(
            temperature=float(temperature),
            top_p=None if top_p == 1 else float(top_p),
            greedy=bool(greedy),
        )
    except UsageError as error:
        raise UsageError(f"The {role}'s {error}") from error


def _within(name: str, value: int, low: int, high: int | None) -> None:
    if not isinstance(value, int) or value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UsageError(f"{name} must be a whole number, {limits}; got {value}.")
