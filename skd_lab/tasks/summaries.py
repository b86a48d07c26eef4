"""Generated dialogue summaries: 2-4 turns between two people, one or two sentences about them.

An example of the kind `meet`::

    Anna: Let's fly kites on Friday at 3 pm.     Anna and Ben will fly kites in the park on Friday
    Ben: Sure! In the park?                      at 3 pm.
    Anna: Yes.

Every problem has several valid summaries and the reference is one of them, drawn at random: a
student that only ever sees references sees one wording a prompt, the teacher knows them all.
`summary_facts` decides whether a summary states every fact, and nothing else.
"""

import itertools
from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np

from skd_lab.metrics import rouge_l
from skd_lab.tasks.base import Example
from skd_lab.tasks.generated import Generated, pick, split_by_hash
from skd_lab.tasks.summary_facts import KINDS, POOLS, facts_exact

INSTRUCTION = "Summarize the dialogue.\n"
AGREEMENTS = ("Sure", "Okay", "Great", "Yes", "Good idea", "Gladly")

# Speaker and line. A capital ({Place}) starts a sentence.
DIALOGUES: dict[str, tuple[str, ...]] = {
    "meet": (
        "{a}: Shall we {activity} on {day}?\n{b}: {Agree}. Where?\n{a}: {Place}, at {time}.",
        "{a}: Do you want to {activity} {place}?\n{b}: {Agree}, when?\n"
        "{a}: On {day}, at {time}.\n{b}: See you there!",
        "{a}: Let's {activity} on {day} at {time}.\n{b}: {Agree}! {Place}?\n{a}: Yes.",
        "{a}: I will {activity} {place} on {day} at {time}. Will you come?\n{b}: {Agree}!",
    ),
    "ride": (
        "{b}: Can you drive me to {goal} on {day}?\n{a}: {Agree}, when?\n{b}: At {time}.",
        "{b}: I need to go to {goal} on {day}.\n{a}: I can drive you. At {time}?\n"
        "{b}: {Agree}, thanks!",
        "{a}: Do you need a ride on {day}?\n{b}: Yes, to {goal}.\n"
        "{a}: I will come at {time}.\n{b}: Thanks!",
    ),
}

# The reference is one of these; `summary_facts` accepts more.
WORDINGS: dict[str, tuple[str, ...]] = {
    "meet": (
        "{a} and {b} will {activity} {place} on {day} at {time}.",
        "{a} invites {b} to {activity}. They meet {place} on {day} at {time}.",
        "On {day} at {time}, {a} and {b} will {activity} {place}.",
    ),
    "ride": (
        "{a} will drive {b} to {goal} on {day} at {time}.",
        "{b} gets a ride to {goal} from {a} on {day} at {time}.",
        "{b} needs to go to {goal} on {day}. {a} will drive at {time}.",
    ),
}


@dataclass(frozen=True)
class Problem:
    """The facts of one dialogue: its kind, and a value for each slot of that kind."""

    kind: str
    facts: dict[str, str]

    @property
    def split(self) -> str:
        """The one split this problem can appear in, by a hash of its facts (80:10:10)."""
        facts = [f"{slot}={self.facts[slot]}" for slot in sorted(self.facts)]
        return split_by_hash("|".join([self.kind, *facts]))

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for dialogues with the same facts, in whatever words."""
        return (self.kind, *self.facts.values())


def draw_problem(rng: np.random.Generator) -> Problem:
    """One problem of any split; slots of the same pool (people, things) never share a value."""
    kind = pick(rng, tuple(KINDS))
    facts: dict[str, str] = {}
    for slot, pool in KINDS[kind].slots.items():
        taken = [facts[other] for other in facts if KINDS[kind].slots[other] == pool]
        facts[slot] = pick(rng, tuple(value for value in POOLS[pool] if value not in taken))
    return Problem(kind, facts)


@cache
def split_sizes() -> dict[str, int]:
    """How many problems each split has, by going through all of them."""
    sizes: Counter[str] = Counter()
    for kind, about in KINDS.items():
        for values in itertools.product(*(POOLS[pool] for pool in about.slots.values())):
            # slots of one pool never share a value, and no two pools do
            if len(set(values)) == len(values):
                facts = dict(zip(about.slots, values, strict=True))
                sizes[Problem(kind, facts).split] += 1
    return dict(sizes)


def draw_dialogue(rng: np.random.Generator, problem: Problem) -> str:
    """A dialogue of 2-4 turns that ends in the problem's facts."""
    words = dict(problem.facts)
    words["Agree"] = pick(rng, AGREEMENTS)
    if "place" in words:
        words["Place"] = words["place"][0].upper() + words["place"][1:]
    lines = pick(rng, DIALOGUES[problem.kind]).format(**words).split("\n")
    # Indented, so that a name is the same token at the start of a line and inside one.
    return "\n".join(f" {line}" for line in lines)


def valid_summaries(problem: Problem) -> list[str]:
    """Every wording the reference may have."""
    return [wording.format(**problem.facts) for wording in WORDINGS[problem.kind]]


class Summaries(Generated[Problem]):
    """Dialogue summarisation with facts that can be checked; generated, seeded, offline."""

    name = "summaries"
    description = "Summarise a short generated dialogue in one or two sentences."
    headline = "facts_exact"
    max_new_tokens = 48

    def size(self, split: str) -> int:
        return split_sizes()[split]

    def draw(self, rng: np.random.Generator) -> Problem:
        return draw_problem(rng)

    def put_into_words(self, rng: np.random.Generator, problem: Problem, id: str) -> Example:
        dialogue = draw_dialogue(rng, problem)
        return Example(
            id=id,
            messages=[{"role": "user", "content": INSTRUCTION + dialogue}],
            reference=pick(rng, tuple(valid_summaries(problem))),
            meta={"kind": problem.kind, "facts": problem.facts},
        )

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`facts_exact` (1 if every fact is right and nothing else is said) and `rouge_l`."""
        exact = facts_exact(example.meta["kind"], example.meta["facts"], completion_text)
        return {
            "facts_exact": float(exact),
            "rouge_l": rouge_l(completion_text, example.reference or ""),
        }
