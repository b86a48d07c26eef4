"""Generated instructions of one to three steps over a list of words, numbers or letters.

An example::

    Words: cat fish eggs                              Reverse: eggs fish cat
    First reverse it. Then add dog at the end.        Add: eggs fish cat dog
                                                      #### eggs fish cat dog

An instruction is a composition of steps. Some pairs of steps that follow one another are held out:
training and validation never have them, and the part of the test that does (six in ten, marked
`meta["unseen"]`, alone in the split `unseen`) asks whether steps are understood or remembered.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise, permutations
from math import perm
from pathlib import Path

import numpy as np

from skd_lab.metrics import exact_match
from skd_lab.tasks.answers import final_answer
from skd_lab.tasks.base import Example
from skd_lab.tasks.generated import Generated, pick, split_by_hash
from skd_lab.tasks.instruction_steps import KINDS, LARGEST, SPELLED, STEPS, WORDS, Items, results

MOST_STEPS = 3
_LENGTHS = (3, 4)
_SHARES = (0.5, 0.35)
"""Of lists of words and of numbers; the rest is letters."""


def is_held_out(first: str, second: str) -> bool:
    """Whether training never has the second step right behind the first: 14 pairs of 99."""
    return hashlib.sha256(f"{first}>{second}".encode()).digest()[0] % 9 == 0


@dataclass(frozen=True)
class Instruction:
    """A list, and the steps to do with it."""

    kind: str
    items: Items
    composition: tuple[str, ...]
    values: tuple[Items, ...]
    """Of each step, what it takes."""

    @property
    def key(self) -> "Instruction":
        return self

    @property
    def unseen(self) -> bool:
        """Whether training never has a pair of its steps."""
        return any(is_held_out(*pair) for pair in pairwise(self.composition))

    @property
    def split(self) -> str:
        """Test if a pair of steps is held out; else by a hash of the list and the steps' names."""
        if self.unseen:
            return "test"
        return split_by_hash("|".join([self.kind, *self.items, ">", *self.composition]))


def draw_instruction(rng: np.random.Generator) -> Instruction:
    """One instruction of any split."""
    draw = rng.random()
    kind = KINDS[sum(draw >= share for share in accumulate(_SHARES))]
    if kind == "letters":
        items: Items = tuple(pick(rng, SPELLED))
    else:
        items = ()
        length = _LENGTHS[int(rng.random() * len(_LENGTHS))]
        while len(items) < length:
            new = _new(rng, kind)
            items += () if new in items else (new,)
    wanted = 1 + int(rng.random() * MOST_STEPS)
    composition: list[str] = []
    values: list[Items] = []
    current = items
    while len(composition) < wanted:
        name = pick(rng, tuple(STEPS))
        step = STEPS[name]
        ends_early = step.ends and len(composition) + 1 < wanted
        if name in composition or kind not in step.kinds or len(current) < step.least or ends_early:
            continue
        given = tuple(_value(rng, what, kind, current) for what in step.takes)
        composition.append(name)
        values.append(given)
        current = step.does(current, given)
    return Instruction(kind, items, tuple(composition), tuple(values))


def _new(rng: np.random.Generator, kind: str) -> str:
    if kind == "numbers":
        return str(1 + int(rng.random() * LARGEST))
    return pick(rng, WORDS if kind == "words" else tuple("abcdefghklmnopst"))


def _value(rng: np.random.Generator, what: str, kind: str, items: Items) -> str:
    if what == "one":
        return pick(rng, items)
    return str(1 + int(rng.random() * 9)) if what == "number" else _new(rng, kind)


def valid_answers(problem: Instruction) -> list[str]:
    """Every wording the reference may have: steps by name, by number, or bare."""
    steps = results(problem.items, problem.composition, problem.values)
    lines = [" ".join(items) for items in steps]
    names = [STEPS[name].label for name in problem.composition]
    spelled = [" ".join(problem.items)] if problem.kind == "letters" else []
    end = f"#### {lines[-1]}"
    named = [f"{name}: {line}" for name, line in zip(names, lines, strict=True)]
    numbered = [f"{n}. {line}" for n, line in enumerate(lines, start=1)]
    # indented, so that an item is the same token at the start of a line and inside one
    bare = [f" {line}" for line in [*spelled, *lines]]
    texts = (
        [*(f"Letters: {line}" for line in spelled), *named, end],
        [*(f"0. {line}" for line in spelled), *numbered, end],
        [*bare, end],
    )
    return ["\n".join(text) for text in texts]


@cache
def split_sizes() -> dict[str, int]:
    """About how many problems a split has: lists times compositions, the steps' values left out."""
    lists = sum(perm(pool, length) for pool in (len(WORDS), LARGEST) for length in _LENGTHS)
    both = [name for name, step in STEPS.items() if set(step.kinds) == set(KINDS)]
    compositions = [
        names
        for length in range(1, MOST_STEPS + 1)
        for names in permutations(both, length)
        if not any(STEPS[name].ends for name in names[:-1])
    ]
    unseen = sum(any(is_held_out(*pair) for pair in pairwise(names)) for names in compositions)
    seen = (len(compositions) - unseen) * lists
    return {
        "train": seen * 8 // 10,
        "validation": seen // 10,
        "test": seen // 10 + unseen * lists,
        "unseen": unseen * lists,
    }


class InstructionTask(Generated[Instruction]):
    """Instructions of up to three steps, with pairs of steps that training never has."""

    name = "instruction"
    description = "Follow a composed instruction over a short list, step by step."
    headline = "answer_exact"
    max_new_tokens = 96
    splits = ("train", "validation", "test", "unseen")

    def size(self, split: str) -> int:
        return split_sizes()[split]

    def draw(self, rng: np.random.Generator) -> Instruction:
        return draw_instruction(rng)

    def load(
        self,
        split: str,
        n: int | None = None,
        seed: int = 0,
        data_path: str | Path | None = None,
    ) -> list[Example]:
        """As every generated task; `unseen` is the test's part with held-out pairs of steps."""
        if split != "unseen":
            return super().load(split, n, seed, data_path)
        self.check_request(split, n)
        wanted = n or self.default_n
        found: list[Example] = []
        size = wanted
        while len(found) < wanted:
            size *= 2
            examples = super().load("test", size, seed, data_path)
            found = [example for example in examples if example.meta["unseen"]]
        return found[:wanted]

    def put_into_words(self, rng: np.random.Generator, problem: Instruction, id: str) -> Example:
        asked = [
            pick(rng, STEPS[name].asked).format(**dict(zip("xy", given, strict=False)))
            for name, given in zip(problem.composition, problem.values, strict=True)
        ]
        end = results(problem.items, problem.composition, problem.values)
        return Example(
            id=id,
            messages=[{"role": "user", "content": f"{_list(problem)}\n{_ask(rng, asked)}"}],
            reference=pick(rng, tuple(valid_answers(problem))),
            meta={
                "kind": problem.kind,
                "composition": list(problem.composition),
                "unseen": problem.unseen,
                "steps": [" ".join(items) for items in end],
                "spelled": " ".join(problem.items) if problem.kind == "letters" else None,
            },
        )

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`answer_exact` (what stands behind the last `####`) and `steps_exact`.

        `steps_exact` is 1 if, besides, the lines before it are the list after each step, in order,
        with a name, a number or nothing in front: no right answer by luck.
        """
        steps = example.meta["steps"]
        answer = exact_match(final_answer(completion_text) or "", steps[-1])
        held = answer and _worked(completion_text) in (steps, [example.meta["spelled"], *steps])
        return {"answer_exact": answer, "steps_exact": float(held)}


def _list(problem: Instruction) -> str:
    if problem.kind == "letters":
        return f"Letters: {''.join(problem.items)}"
    return f"{problem.kind.capitalize()}: {' '.join(problem.items)}"


def _ask(rng: np.random.Generator, asked: list[str]) -> str:
    """The steps in one of three layouts."""
    layout = pick(rng, ("then", "first", "numbers"))
    if layout == "numbers":
        return "\n".join(f"{n}. {step}" for n, step in enumerate(asked, start=1))
    if layout == "then" or len(asked) == 1:
        text = ", then ".join(asked)
        return f"{text[0].upper()}{text[1:]}."
    return " ".join([f"First {asked[0]}.", *(f"Then {step}." for step in asked[1:])])


def _worked(text: str) -> list[str]:
    """The lists on the lines before the last `####`, without the names in front of them."""
    lines = text[: text.rindex("####")].split("\n")
    bare = [re.sub(r"^\s*(?:[A-Za-z]+:|\d+\.)\s", "", line) for line in lines]
    return [" ".join(line.split()) for line in bare if line.strip()]
