"""Generated word problems of one or two steps, solved in GSM8K's manner.

An example of the kind `more_then_less`::

    Anna has 12 eggs, buys 3 more and gives 4 to Ben.      There are 12+3=15 eggs.
    How many are left?                                     Then 15-4=11 are left.
                                                           #### 11

The answer is one number; the way to it can be put in several ways, and the reference is one of
them, drawn at random. A story never meets in a test the numbers it had in training, so the answers
cannot be remembered.
"""

import itertools
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

from skd_lab.metrics import numeric_match
from skd_lab.tasks.answers import final_answer
from skd_lab.tasks.arithmetic_steps import read_steps, steps_hold
from skd_lab.tasks.arithmetic_stories import BOXES, ITEMS, LARGEST, PEOPLE, STORIES
from skd_lab.tasks.base import Example
from skd_lab.tasks.generated import Generated, pick, split_by_hash


@dataclass(frozen=True)
class WordProblem:
    """A story's kind, its numbers, and who and what it is about."""

    kind: str
    numbers: dict[str, int]
    words: dict[str, str]

    @property
    def key(self) -> tuple[str | int, ...]:
        """Equal for problems that tell of the same things, in whatever words.

        Where a wording leaves a person out, two problems can still read the same (2 in 1,000).
        """
        return (self.kind, *self.numbers.values(), *self.words.values())

    @property
    def split(self) -> str:
        """By a hash of the kind and its numbers: another name makes no other problem of it."""
        numbers = ",".join(f"{name}={self.numbers[name]}" for name in sorted(self.numbers))
        return split_by_hash(f"{self.kind}|{numbers}")


def solve(kind: str, numbers: dict[str, int]) -> dict[str, tuple[str, int]] | None:
    """The equation ("12+3=15") and the result of every step; None if a result cannot be asked for.

    A result that can is a whole number from 2 to LARGEST.
    """
    values, solved = dict(numbers), {}
    for step in STORIES[kind].steps:
        name, _, left, operation, right = step.split()
        a, b = values[left], values[right]
        result = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[operation]
        if (operation == "/" and a % b) or not 2 <= result <= LARGEST:
            return None
        values[name] = result
        solved[name] = (f"{a}{operation}{b}={result}", result)
    return solved


def draw_problem(rng: np.random.Generator) -> WordProblem:
    """One problem of any split."""
    kind = pick(rng, tuple(STORIES))
    numbers: dict[str, int] = {}
    while not numbers or solve(kind, numbers) is None:
        numbers = {
            name: low + int(rng.random() * (high - low + 1))
            for name, (low, high) in STORIES[kind].numbers.items()
        }
    first = pick(rng, PEOPLE)
    second = pick(rng, tuple(person for person in PEOPLE if person != first))
    words = {"A": first, "B": second, "items": pick(rng, ITEMS), "boxes": pick(rng, BOXES)}
    return WordProblem(kind, numbers, words)


@cache
def split_sizes() -> dict[str, int]:
    """How many problems each split has: kinds with their numbers, times whom and what they name.

    The second person is left out: it stands in some of the wordings only.
    """
    sizes: Counter[str] = Counter()
    for kind, story in STORIES.items():
        ranges = [range(low, high + 1) for low, high in story.numbers.values()]
        for values in itertools.product(*ranges):
            numbers = dict(zip(story.numbers, values, strict=True))
            if solve(kind, numbers) is not None:
                sizes[WordProblem(kind, numbers, {}).split] += len(PEOPLE) * len(ITEMS)
    return dict(sizes)


def valid_solutions(problem: WordProblem) -> list[str]:
    """Every wording the reference may have."""
    steps = solve(problem.kind, problem.numbers)
    assert steps is not None
    equations = {name: equation for name, (equation, _) in steps.items()}
    return [
        f"{wording.format(**problem.words, **equations)}\n#### {answer_of(problem)}"
        for wording in STORIES[problem.kind].solutions
    ]


def answer_of(problem: WordProblem) -> int:
    """The result of the last step."""
    steps = solve(problem.kind, problem.numbers)
    assert steps is not None
    return list(steps.values())[-1][1]


class Arithmetic(Generated[WordProblem]):
    """Word problems with worked steps; generated, seeded, offline."""

    name = "arithmetic"
    description = "Solve a short generated word problem step by step."
    headline = "answer_exact"
    max_new_tokens = 48

    def size(self, split: str) -> int:
        return split_sizes()[split]

    def draw(self, rng: np.random.Generator) -> WordProblem:
        return draw_problem(rng)

    def put_into_words(self, rng: np.random.Generator, problem: WordProblem, id: str) -> Example:
        wording = pick(rng, STORIES[problem.kind].problems)
        return Example(
            id=id,
            messages=[
                {"role": "user", "content": wording.format(**problem.words, **problem.numbers)}
            ],
            reference=pick(rng, tuple(valid_solutions(problem))),
            meta={
                "kind": problem.kind,
                "numbers": problem.numbers,
                "answer": str(answer_of(problem)),
            },
        )

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`answer_exact` (the number behind the last `####` is right) and `steps_exact`.

        `steps_exact` is 1 if, besides, every worked step is true, uses only numbers of the
        problem and earlier results, and the last one gives the answer: no right answer by luck.
        """
        said, right = final_answer(completion_text) or "", example.meta["answer"]
        answer = numeric_match(said, right)
        steps = read_steps(completion_text) if answer else None
        given = example.meta["numbers"].values()
        held = steps is not None and steps_hold(steps, given, Fraction(right))
        return {"answer_exact": answer, "steps_exact": float(held)}
