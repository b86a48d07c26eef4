"""Exercises of the course: what is asked, the right answer, and the wrong ones people give.

An exercise knows plausible mistakes as values or functions of their own, each with a hint. An
answer that behaves like one of them gets its hint; any other wrong answer sees the first case that
differs.
"""

import contextlib
import io
import math
import numbers
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from skd_lab.errors import UsageError


@dataclass(frozen=True)
class Mistake:
    """A wrong answer somebody is likely to give, and what to tell them."""

    answer: Any
    """A value, or a function that behaves as the mistaken one does."""
    hint: str


@dataclass(frozen=True)
class Case:
    """One call of the reader's function."""

    name: str
    """What it shows, as in "the last token counts too"."""
    args: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One thing asked of the reader, such as "02.3".

    Raises:
        UsageError: if there are fewer than three mistakes: a check without hints says too little.
    """

    number: str
    asks: str
    """One line: what to hand in."""
    answer: Any
    """The right value, or the function that solves it. Its source becomes the solution file."""
    mistakes: tuple[Mistake, ...]
    cases: tuple[Case, ...] = ()
    """Calls that a function must answer; none for a value."""
    options: Mapping[str, str] | None = None
    """Of a question with choices: letter to its explanation; `answer` is the right letter."""
    tolerance: float = 1e-6
    """Relative and absolute, for numbers."""
    holds: Callable[[Any], str | None] | None = None
    """More that must hold of the answer: gives a hint where it does not."""

    def __post_init__(self) -> None:
        if self.options is None and len(self.mistakes) < 3:
            raise UsageError(f"Exercise {self.number} needs three mistakes with hints.")


EXERCISES: dict[str, Exercise] = {}
"""All exercises by number."""


def add(exercise: Exercise) -> Exercise:
    """Put an exercise on the list.

    Raises:
        UsageError: if its number is taken.
    """
    if exercise.number in EXERCISES:
        raise UsageError(f"There are two exercises {exercise.number}.")
    EXERCISES[exercise.number] = exercise
    return exercise


def add_question(number: str, asks: str, right: str, options: Mapping[str, str]) -> Exercise:
    """A question with choices: every choice is explained, right or wrong.

    Args:
        number: such as "03.2".
        asks: the question in one line.
        right: the letter of the right choice.
        options: letter to what is said to somebody who chose it.
    """
    mistakes = tuple(Mistake(letter, why) for letter, why in options.items() if letter != right)
    return add(Exercise(number=number, asks=asks, answer=right, mistakes=mistakes, options=options))


def judge(exercise: Exercise, answer: Any) -> str | None:
    """What is wrong with an answer, in a sentence or two; None if it is right."""
    if exercise.options is not None:
        return _wrong_choice(exercise, answer)
    if exercise.cases and not callable(answer):
        return (
            f"wants a function, and got {show(answer)}. Hand in the name of your function, "
            "without brackets behind it."
        )
    if not exercise.cases and callable(answer) and not callable(exercise.answer):
        return "wants a value, and got a function. Call it, and hand in what it gives."
    wrong = _first_difference(exercise, answer)
    if wrong is None:
        return exercise.holds(answer) if exercise.holds else None
    for mistake in exercise.mistakes:
        if _behaves_like(exercise, answer, mistake.answer):
            return f"{wrong} {mistake.hint}"
    return wrong


def same(mine: Any, right: Any, tolerance: float = 1e-6) -> bool:
    """Equality as a reader means it: numbers nearly, sequences item by item, tensors by value."""
    mine, right = _plain(mine), _plain(right)
    if isinstance(right, bool) or isinstance(mine, bool):
        return mine is right or (mine == right and type(mine) is type(right))
    if isinstance(right, numbers.Number) and isinstance(mine, numbers.Number):
        if isinstance(mine, complex) or isinstance(right, complex):
            return mine == right
        a, b = float(mine), float(right)  # type: ignore[arg-type]
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(right, Mapping) and isinstance(mine, Mapping):
        return set(mine) == set(right) and all(same(mine[k], right[k], tolerance) for k in right)
    if _is_list(mine) and _is_list(right):
        pairs = zip(mine, right, strict=False)
        return len(mine) == len(right) and all(same(a, b, tolerance) for a, b in pairs)
    return type(mine) is type(right) and mine == right


def _plain(value: Any) -> Any:
    """Tensors and arrays as numbers or nested lists."""
    return value.tolist() if hasattr(value, "tolist") else value


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _outcomes(exercise: Exercise, answer: Any) -> Iterable[tuple[str, Any]]:
    """What the answer gives: a value for each case, or an exception, as ("case", outcome)."""
    if not exercise.cases:
        yield "", answer
        return
    for case in exercise.cases:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # called often: prints would pile up
                outcome = answer(*case.args)
        except Exception as error:  # the reader's own code may raise anything
            outcome = error
        yield case.name, outcome


def untouched(exercise: Exercise, answer: Any) -> bool:
    """Whether the reader has not begun: nothing handed in, or a function that gives nothing."""
    if answer is ... or answer is None or answer == "":
        return True
    if not exercise.cases or not callable(answer):
        return False
    outcomes = [outcome for _, outcome in _outcomes(exercise, answer)]
    return all(outcome is None or outcome is ... for outcome in outcomes)


def _first_difference(exercise: Exercise, answer: Any) -> str | None:
    rights = _outcomes(exercise, exercise.answer)
    for case, (mine, right) in enumerate(zip(_outcomes(exercise, answer), rights, strict=True)):
        (name, got), (_, wanted) = mine, right
        if not isinstance(got, Exception) and same(got, wanted, exercise.tolerance):
            continue
        at = f"case {case + 1} ({name}): " if name else ""
        if isinstance(got, Exception):
            return f"{at}your function stopped with {_where(got)}."
        if (odd := _odd_kind(got, wanted)) is not None:
            return f"{at}{odd}"
        if not name:  # a number to work out is not given away
            return f"{show(got)} is not it."
        return f"{at}yours gives {show(got)}, expected {show(wanted)}."
    return None


def _odd_kind(got: Any, wanted: Any) -> str | None:
    """A sentence where the answer is of another kind or length than what is asked for."""
    mine, right = _plain(got), _plain(wanted)
    if got is None:
        return "your function gives nothing back. Is there a return?"
    if _is_list(right) and _is_list(mine) and len(mine) != len(right):
        return f"{len(mine)} values where {len(right)} are asked for."
    kinds = [_kind(mine), _kind(right)]
    return None if kinds[0] == kinds[1] else f"wants {kinds[1]}, and got {kinds[0]} ({show(got)})."


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "True or False"
    if isinstance(value, numbers.Number):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "a dictionary"
    return "a list" if _is_list(value) else f"a {type(value).__name__}"


def _behaves_like(exercise: Exercise, answer: Any, mistake: Any) -> bool:
    mine, theirs = _outcomes(exercise, answer), _outcomes(exercise, mistake)
    return all(
        type(a) is type(b)
        if isinstance(a, Exception) or isinstance(b, Exception)
        else same(a, b, exercise.tolerance)
        for (_, a), (_, b) in zip(mine, theirs, strict=True)
    )


def _wrong_choice(exercise: Exercise, answer: Any) -> str | None:
    options = exercise.options or {}
    letter = answer.strip().lower() if isinstance(answer, str) else answer
    if letter == exercise.answer:
        return None
    if not isinstance(letter, str) or letter not in options:
        return f"wants one of the letters {', '.join(options)}, and got {show(answer)}."
    return f"not {letter}: {options[letter]}"


def show(value: Any) -> str:
    """A value as a check's sentence names it: short, numbers to six digits, fractions kept."""
    if isinstance(value, Fraction):
        return str(value)
    value = _plain(value)
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _where(error: Exception) -> str:
    """The error and the line of the reader's own cell."""
    lines = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in lines if not frame.filename.endswith("exercises.py")]
    line = f" (line {own[0].lineno} of the cell)" if own else ""
    return f"{type(error).__name__}: {error}{line}"
