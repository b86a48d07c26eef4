"""`check`: what a reader calls to hear what is right or wrong about an answer."""

import os
from typing import Any

from skd_lab.course import (
    chapter_00,
    chapter_01,
    chapter_02,
    chapter_03,
    chapter_04,
    chapter_05,
    chapter_06,
    chapter_07,
    chapter_08,
    chapter_09,
    chapter_10,
    chapter_11,
    chapter_12,
)
from skd_lab.course.exercises import EXERCISES, Exercise, judge, untouched
from skd_lab.errors import UsageError

CHAPTERS = (
    *(chapter_00, chapter_01, chapter_02, chapter_03, chapter_04, chapter_05, chapter_06),
    *(chapter_07, chapter_08, chapter_09),
    *(chapter_10, chapter_11, chapter_12),
)
"""The rooms whose exercises are on the list; importing them puts them there."""


class NotSolved(AssertionError):
    """Raised by `check` for anything but a right answer, when SKD_CHECK is "strict"."""


def check(number: str, answer: Any = ...) -> None:
    """Look at an answer and say what is right or wrong about it. Never raises by itself.

    Args:
        number: the exercise's number, such as "02.3".
        answer: a value or a function, whatever the exercise asks for; `...` is "not yet".

    Raises:
        UsageError: for a number that is no exercise.
        NotSolved: for anything but a right answer if the environment has SKD_CHECK=strict.
    """
    if number not in EXERCISES:
        near = [known for known in EXERCISES if known[:2] == str(number)[:2]]
        raise UsageError(
            f"There is no exercise {number!r}. "
            + (f"In this notebook: {', '.join(near)}." if near else f"All: {', '.join(EXERCISES)}.")
        )
    exercise = EXERCISES[number]
    if untouched(exercise, answer):
        said, solved = f"○ {number} not attempted yet: {exercise.asks}", False
    elif wrong := judge(exercise, answer):
        said, solved = f"✗ {number} {wrong}", False
    else:
        said, solved = f"✓ {number} {_praise(exercise)}", True
    print(said)
    if not solved and os.environ.get("SKD_CHECK") == "strict":
        raise NotSolved(said)


def _praise(exercise: Exercise) -> str:
    if exercise.options is not None:
        return f"yes, {exercise.answer}: {exercise.options[exercise.answer]}"
    if not exercise.cases:
        return "right."
    names = "; ".join(case.name for case in exercise.cases)
    return f"{len(exercise.cases)} cases passed: {names}."
