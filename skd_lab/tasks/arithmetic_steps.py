"""Worked steps in a text, such as 12+3=15, and whether they hold."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction

_NUMBER = r"\d+(?:\.\d+)?"
_STEP = re.compile(
    rf"({_NUMBER}(?:\s*[-+*/]\s*{_NUMBER})+)\s*=\s*(-?{_NUMBER})(?![\d.]*\s*[-+*/=])"
)


@dataclass(frozen=True)
class Step:
    """One equation as written: the numbers on its left side, their value, and what it claims."""

    numbers: tuple[Fraction, ...]
    value: Fraction | None
    """Of the left side; None where it divides by zero."""
    claimed: Fraction

    @property
    def is_true(self) -> bool:
        """Whether the left side has the value it claims."""
        return self.value == self.claimed


def read_steps(text: str) -> list[Step] | None:
    """Every equation of a text in order, or None if one of its `=` belongs to none.

    A left side is numbers joined by + - * /, with * and / first.
    """
    found = list(_STEP.finditer(text))
    if text.count("=") != len(found):
        return None
    return [_step(*match.groups()) for match in found]


def steps_hold(steps: Collection[Step], given: Collection[int], answer: Fraction) -> bool:
    """Whether steps lead from the given numbers to the answer.

    There is a step, every step is true and uses nothing but given numbers and earlier results,
    and the last one gives the answer. Steps in another order than the reference's may hold.
    """
    known = {Fraction(number) for number in given}
    last = None
    for step in steps:
        if not step.is_true or not set(step.numbers) <= known:
            return False
        known.add(step.claimed)
        last = step.claimed
    return last == answer


def _step(left: str, claimed: str) -> Step:
    numbers = tuple(Fraction(number) for number in re.findall(_NUMBER, left))
    operations = re.findall(r"[-+*/]", left)
    return Step(numbers, _value(numbers, operations), Fraction(claimed))


def _value(numbers: tuple[Fraction, ...], operations: list[str]) -> Fraction | None:
    terms = [numbers[0]]
    for operation, number in zip(operations, numbers[1:], strict=True):
        if operation == "*":
            terms[-1] *= number
        elif operation == "/":
            if number == 0:
                return None
            terms[-1] /= number
        else:
            terms.append(number if operation == "+" else -number)
    return sum(terms, Fraction(0))
