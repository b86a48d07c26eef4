"""Generated dialogue summaries: 2-8 turns between two people, one or two sentences about them.

An example of the kind `meet`::

    Anna: Did you see Hugo on Monday?            Anna and Ben will fly kites in the park on Friday
    Ben: Yes, at the lake.                       at 3 pm.
    Anna: Let's fly kites on Friday at 9 am.
    Ben: Sure! In the park?
    Anna: Yes.
    Ben: I work at 9 am. Is 3 pm okay?
    Anna: Gladly.

What was said besides (somebody else, a plan that was changed, one that was refused) is no fact.
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
from skd_lab.tasks.summary_dialogues import full_dialogue, plain_dialogue
from skd_lab.tasks.summary_facts import KINDS, POOLS, facts_exact

INSTRUCTION = "Summarize the dialogue.\n"
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


def valid_summaries(problem: Problem) -> list[str]:
    """Every wording the reference may have."""
    return [wording.format(**problem.facts) for wording in WORDINGS[problem.kind]]


class Summaries(Generated[Problem]):
    """Dialogue summarisation with facts that can be checked; generated, seeded, offline."""

    name = "summaries"
    description = "Summarise a short generated dialogue in one or two sentences."
    headline = "facts_exact"
    max_new_tokens = 48

    def __init__(self, often: float = 0.3) -> None:
        """With other dialogues than the task's: how often something is said besides, 0 to 1."""
        self.often = often

    def size(self, split: str) -> int:
        return split_sizes()[split]

    def draw(self, rng: np.random.Generator) -> Problem:
        return draw_problem(rng)

    def put_into_words(self, rng: np.random.Generator, problem: Problem, id: str) -> Example:
        beside: dict[str, str] = {}
        if not self.often:
            dialogue = plain_dialogue(rng, problem.kind, problem.facts)
        else:
            dialogue, beside = full_dialogue(rng, problem.kind, problem.facts, self.often)
        return Example(
            id=id,
            messages=[{"role": "user", "content": INSTRUCTION + dialogue}],
            reference=pick(rng, tuple(valid_summaries(problem))),
            meta={"kind": problem.kind, "facts": problem.facts, "beside": beside},
        )

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`facts_exact` (1 if every fact is right and nothing else is said) and `rouge_l`."""
        exact = facts_exact(example.meta["kind"], example.meta["facts"], completion_text)
        return {
            "facts_exact": float(exact),
            "rouge_l": rouge_l(completion_text, example.reference or ""),
        }
