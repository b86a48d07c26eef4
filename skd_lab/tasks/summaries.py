"""Generated dialogue summaries: 2-4 turns between two people, one or two sentences about them.

An example of the kind `meet`::

    Anna: Let's fly kites on Friday at 4 pm.     Anna and Ben will fly kites in the park on Friday
    Ben: Sure! In the park?                      at 4 pm.
    Anna: Yes.

Every problem has several valid summaries and the reference is one of them, drawn at random: a
student that only ever sees references sees one wording a prompt, the teacher knows them all.
Some dialogues change their mind on the way ("I am busy then. On Monday?"); only the last word
counts. `summary_facts` decides whether a summary states every fact, and nothing else.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skd_lab.errors import UsageError
from skd_lab.metrics import rouge_l
from skd_lab.tasks.base import Example, Task
from skd_lab.tasks.summary_facts import KINDS, POOLS, facts_exact

INSTRUCTION = "Summarize the dialogue.\n"
AGREEMENTS = ("Sure", "Okay", "Great", "Yes", "Good idea", "Gladly")

# Speaker and line; {day0} is a day that is not {day}: what was said before they changed their
# mind. A capital ({Place}) starts a sentence.
DIALOGUES: dict[str, tuple[str, ...]] = {
    "meet": (
        "{a}: Shall we {activity} on {day}?\n{b}: {Agree}. Where?\n{a}: {Place}, at {time}.",
        "{a}: Do you want to {activity} {place}?\n{b}: {Agree}, when?\n"
        "{a}: On {day}, at {time}.\n{b}: See you there!",
        "{a}: Let's {activity} on {day} at {time}.\n{b}: {Agree}! {Place}?\n{a}: Yes.",
        "{a}: Let's {activity} {place} on {day0}.\n{b}: I am busy then. On {day}?\n"
        "{a}: {Agree}, at {time}.",
        "{a}: Can we {activity} on {day} at {time0}?\n{b}: I am busy then. At {time}?\n"
        "{a}: {Agree}, {place}.",
        "{a}: I will {activity} {place} on {day} at {time}. Will you come?\n{b}: {Agree}!",
    ),
    "lend": (
        "{a}: Can I borrow your {item} for {purpose}?\n{b}: {Agree}, but I need it back on {day}.",
        "{a}: I need a {item} for {purpose}.\n{b}: Take mine.\n"
        "{a}: Thanks! You get it back on {day}.",
        "{a}: Do you have a {item}? It is for {purpose}.\n"
        "{b}: {Agree}, you can have it until {day}.\n{a}: Thanks!",
        "{a}: Can I borrow your {item} until {day0}?\n"
        "{b}: Only until {day}. What is it for?\n{a}: For {purpose}.",
        "{b}: Do you need a {item} for {purpose}?\n{a}: Yes! Can I have it until {day}?\n"
        "{b}: {Agree}.",
        "{a}: Can I borrow your {item0} for {purpose}?\n{b}: No, but take my {item}.\n"
        "{a}: Thanks! Until {day}?\n{b}: {Agree}.",
    ),
    "bring": (
        "{a}: {c} has a {event} on {day}. I will bring {x}.\n{b}: Then I will bring {y}.",
        "{a}: What do we bring to {c}'s {event}?\n{b}: I can bring {y}.\n"
        "{a}: And I bring {x}. It is on {day}.",
        "{a}: Will you come to {c}'s {event} on {day}?\n{b}: {Agree}, with {y}.\n"
        "{a}: Then I will bring {x}.",
        "{a}: I will bring {y} to {c}'s {event} on {day}.\n{b}: No, I have {y}.\n"
        "{a}: Then I will bring {x}.",
        "{b}: {c}'s {event} is on {day0}?\n{a}: No, on {day}. I bring {x}.\n{b}: And I bring {y}.",
    ),
    "ride": (
        "{b}: Can you drive me to {goal} on {day}?\n{a}: {Agree}, when?\n{b}: At {time}.",
        "{b}: I need to go to {goal} on {day}.\n{a}: I can drive you. At {time}?\n"
        "{b}: {Agree}, thanks!",
        "{b}: Can you drive me to {goal} on {day} at {time0}?\n"
        "{a}: I am busy then. At {time}?\n{b}: {Agree}.",
        "{a}: Do you need a ride on {day}?\n{b}: Yes, to {goal}.\n"
        "{a}: I will come at {time}.\n{b}: Thanks!",
        "{b}: Will you drive me to {goal} on {day0}?\n{a}: Only on {day}, at {time}.\n"
        "{b}: {Agree}, thanks!",
    ),
}

# The reference is one of these; `summary_facts` accepts more.
WORDINGS: dict[str, tuple[str, ...]] = {
    "meet": (
        "{a} and {b} will {activity} {place} on {day} at {time}.",
        "{a} invites {b} to {activity}. They meet {place} on {day} at {time}.",
        "On {day} at {time}, {a} and {b} will {activity} {place}.",
    ),
    "lend": (
        "{a} borrows {b}'s {item} for {purpose} and will return it on {day}.",
        "{b} lends {a} a {item} for {purpose} until {day}.",
        "{a} needs a {item} for {purpose}. {b} lends one until {day}.",
    ),
    "bring": (
        "{a} brings {x} and {b} brings {y} to {c}'s {event} on {day}.",
        "For {c}'s {event} on {day}, {a} brings {x} and {b} brings {y}.",
        "{c} has a {event} on {day}. {a} will bring {x} and {b} will bring {y}.",
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
        key = "|".join([self.kind, *(f"{slot}={self.facts[slot]}" for slot in sorted(self.facts))])
        bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 10
        return {0: "test", 1: "validation"}.get(bucket, "train")


def _pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.random() * len(values))]


def _pick_other(rng: np.random.Generator, values: tuple[str, ...], *taken: str) -> str:
    return _pick(rng, tuple(value for value in values if value not in taken))


def draw_problem(rng: np.random.Generator) -> Problem:
    """One problem of any split; slots of the same pool (people, things) never share a value."""
    kind = _pick(rng, tuple(KINDS))
    facts: dict[str, str] = {}
    for slot, pool in KINDS[kind].slots.items():
        taken = [facts[other] for other in facts if KINDS[kind].slots[other] == pool]
        facts[slot] = _pick_other(rng, POOLS[pool], *taken)
    return Problem(kind, facts)


def draw_dialogue(rng: np.random.Generator, problem: Problem) -> str:
    """A dialogue of 2-4 turns that ends in the problem's facts."""
    slots = KINDS[problem.kind].slots
    words = dict(problem.facts)
    for slot, pool in slots.items():
        words[f"{slot}0"] = _pick_other(rng, POOLS[pool], problem.facts[slot])
    words["Agree"] = _pick(rng, AGREEMENTS)
    if "place" in words:
        words["Place"] = words["place"][0].upper() + words["place"][1:]
    lines = _pick(rng, DIALOGUES[problem.kind]).format(**words).split("\n")
    # Indented, so that a name is the same token at the start of a line and inside one.
    return "\n".join(f" {line}" for line in lines)


def valid_summaries(problem: Problem) -> list[str]:
    """Every wording the reference may have."""
    return [wording.format(**problem.facts) for wording in WORDINGS[problem.kind]]


class Summaries(Task):
    """Dialogue summarisation with facts that can be checked; generated, seeded, offline."""

    name = "summaries"
    description = "Summarise a short generated dialogue in one or two sentences."
    headline = "facts_exact"
    max_new_tokens = 48
    default_n = 1000

    def load(
        self,
        split: str,
        n: int | None = None,
        seed: int = 0,
        data_path: str | Path | None = None,
    ) -> list[Example]:
        """Fresh examples for every seed; splits share no problem, whatever the seeds."""
        self.check_request(split, n)
        if data_path is not None:
            raise UsageError(
                f"task summaries makes its own examples and reads no file, got data_path "
                f"{str(data_path)!r}. Leave it out, or use task jsonl for a file of your own."
            )
        # Philox: counter-based, so the stream is the same on every machine.
        entropy = np.random.SeedSequence([seed, self.splits.index(split)])
        rng = np.random.Generator(np.random.Philox(entropy))
        examples: dict[tuple[str, ...], Example] = {}
        while len(examples) < (n or self.default_n):
            problem = draw_problem(rng)
            key = (problem.kind, *problem.facts.values())
            if problem.split != split or key in examples:
                continue
            dialogue = draw_dialogue(rng, problem)
            examples[key] = Example(
                id=f"summaries-{split}-{seed}-{len(examples)}",
                messages=[{"role": "user", "content": INSTRUCTION + dialogue}],
                reference=_pick(rng, tuple(valid_summaries(problem))),
                meta={"kind": problem.kind, "facts": problem.facts},
            )
        return list(examples.values())

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`facts_exact` (1 if every fact is right and nothing else is said) and `rouge_l`."""
        exact = facts_exact(example.meta["kind"], example.meta["facts"], completion_text)
        return {
            "facts_exact": float(exact),
            "rouge_l": rouge_l(completion_text, example.reference or ""),
        }
