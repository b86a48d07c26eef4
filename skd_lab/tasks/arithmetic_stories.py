"""The stories of the arithmetic task: what happens, in which words, and the steps that solve it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

PEOPLE = tuple("Anna Ben Chen Diego Emma Fatima Grace Hugo".split())
ITEMS = tuple("apples books coins eggs kites letters pears pens".split())
BOXES = ("boxes", "bags")
LARGEST = 40
"""No result is larger, so that a model of this size can learn sums, differences and products."""


@dataclass(frozen=True)
class Story:
    """One kind of problem.

    Attributes:
        numbers: what the problem gives, by name, each from low to high.
        steps: `result = left operation right`, results named x and then y; the last one is asked
            for. Every result is a whole number from 2 to LARGEST.
        problems: wordings. {A} and {B} are people, {items} what they count.
        sentence: one wording of the solution; `solutions` has more. {x} stands for the whole
            equation of the step x.
    """

    numbers: Mapping[str, tuple[int, int]]
    steps: tuple[str, ...]
    problems: tuple[str, ...]
    sentence: str

    @cached_property
    def solutions(self) -> tuple[str, ...]:
        """Every wording a reference may have, without the line of the answer."""
        if len(self.steps) == 1:
            return ("{x}", self.sentence)
        return ("{x}\n{y}", "First {x}.\nThen {y}.", self.sentence)


_SOME, _FEW = (3, 30), (2, 15)

STORIES: dict[str, Story] = {
    "more": Story(
        numbers={"a": _SOME, "b": _FEW},
        steps=("x = a + b",),
        problems=(
            "{A} has {a} {items} and buys {b} more. How many {items} does {A} have?",
            "{A} had {a} {items}. Then {B} gave {A} {b} more. How many does {A} have?",
            "{A} has {a} {items} and {B} has {b}. How many {items} do they have in all?",
        ),
        sentence="In all there are {x} {items}.",
    ),
    "less": Story(
        numbers={"a": _SOME, "b": _FEW},
        steps=("x = a - b",),
        problems=(
            "{A} has {a} {items} and gives {b} to {B}. How many {items} are left?",
            "{A} had {a} {items} and sold {b}. How many {items} does {A} have?",
            "There were {a} {items}. {A} and {B} took {b} of them. How many are left?",
        ),
        sentence="{A} has {x} {items} left.",
    ),
    "more_then_less": Story(
        numbers={"a": _SOME, "b": _FEW, "c": _FEW},
        steps=("x = a + b", "y = x - c"),
        problems=(
            "{A} has {a} {items}, buys {b} more and gives {c} to {B}. How many are left?",
            "{A} had {a} {items}. {B} gave {A} {b} more. Then {A} sold {c}. How many {items} "
            "does {A} have?",
            "{A} has {a} {items} and {B} has {b}. They sell {c} of them. How many are left?",
        ),
        sentence="There are {x} {items}.\nThen {y} are left.",
    ),
    "less_then_more": Story(
        numbers={"a": _SOME, "b": _FEW, "c": _FEW},
        steps=("x = a - b", "y = x + c"),
        problems=(
            "{A} has {a} {items}, sells {b} and buys {c}. How many {items} does {A} have?",
            "{A} had {a} {items} and gave {b} to {B}. Then {A} found {c} more. How many {items} "
            "does {A} have?",
            "There were {a} {items}. {A} took {b} of them and {B} put in {c} more. How many "
            "{items} are there?",
        ),
        sentence="{x} {items} are left.\nThen there are {y}.",
    ),
    "boxes_and_more": Story(
        numbers={"p": (2, 5), "q": (2, 8), "c": _FEW},
        steps=("x = p * q", "y = x + c"),
        problems=(
            "{A} has {p} {boxes} with {q} {items} each and buys {c} {items} more. How many "
            "{items} does {A} have?",
            "{A} has {c} {items} and buys {p} {boxes} of {q}. How many {items} does {A} have?",
            "There are {q} {items} in each of {p} {boxes}. {A} has {c} more. How many {items} are "
            "there in all?",
        ),
        sentence="The {boxes} have {x} {items}.\nIn all there are {y}.",
    ),
    "boxes_and_less": Story(
        numbers={"p": (2, 5), "q": (2, 8), "c": _FEW},
        steps=("x = p * q", "y = x - c"),
        problems=(
            "{A} has {p} {boxes} with {q} {items} each and gives {c} {items} to {B}. How many are "
            "left?",
            "{A} had {p} {boxes} of {q} {items} and sold {c} {items}. How many {items} does {A} "
            "have?",
            "There were {q} {items} in each of {p} {boxes}. {A} took {c} of them. How many {items} "
            "are left?",
        ),
        sentence="The {boxes} have {x} {items}.\nThen {y} are left.",
    ),
    "has_more_than": Story(
        numbers={"a": _SOME, "b": _FEW},
        steps=("x = a + b", "y = a + x"),
        problems=(
            "{A} has {a} {items}. {B} has {b} more than {A}. How many {items} do they have in all?",
            "{A} has {a} {items} and {B} has {b} more. How many do {A} and {B} have in all?",
        ),
        sentence="{B} has {x} {items}.\nIn all they have {y}.",
    ),
    "has_less_than": Story(
        numbers={"a": _SOME, "b": _FEW},
        steps=("x = a - b", "y = a + x"),
        problems=(
            "{A} has {a} {items}. {B} has {b} less than {A}. How many {items} do they have in all?",
            "{A} has {a} {items} and {B} has {b} less. How many do {A} and {B} have in all?",
        ),
        sentence="{B} has {x} {items}.\nIn all they have {y}.",
    ),
    "shared": Story(
        numbers={"a": _SOME, "b": _FEW, "p": (2, 5)},
        steps=("x = a + b", "y = x / p"),
        problems=(
            "{A} has {a} {items} and buys {b} more. {A} puts them in {p} {boxes}, as many in each. "
            "How many {items} are in each?",
            "{A} has {a} {items} and {B} has {b}. They put them in {p} {boxes}, as many in each. "
            "How many {items} are in each?",
        ),
        sentence="There are {x} {items}.\nIn each are {y}.",
    ),
    "change": Story(
        numbers={"a": _SOME, "p": (2, 5), "q": (2, 8)},
        steps=("x = p * q", "y = a - x"),
        problems=(
            "{A} has {a} dollars and buys {p} {items} for {q} dollars each. How many dollars does "
            "{A} have left?",
            "{A} buys {p} {items} at {q} dollars each. {A} had {a} dollars. How many are left?",
        ),
        sentence="The {items} cost {x} dollars.\n{A} has {y} left.",
    ),
}
