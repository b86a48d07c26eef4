"""Generated dialogue summaries: 2-4 turns between two people, one or two sentences about them.

An example of the kind `meet`::

    Anna: Let's fly kites on Friday at 3 pm.     Anna and Ben will fly kites in the park on Friday
    Ben: Sure! In the park?                      at 3 pm.
    Anna: Yes.

Every problem has several valid summaries and the reference is one of them, drawn at random: a
student that only ever sees references sees one wording a prompt, the teacher knows them all.
`summary_facts` decides whether a summary states every fact, and nothing else.
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
    words = dict(problem.facts)
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
    _patience = 1000  # draws in a row that give nothing new

    def load(
        self,
        split: str,
        n: int | None = None,
        seed: int = 0,
        data_path: str | Path | None = None,
    ) -> list[Example]:
        """Other examples for every seed; splits share no problem, whatever the seeds.

        Within one call no problem comes twice.
        """
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
        missed = 0
        while len(examples) < (n or self.default_n):
            problem = draw_problem(rng)
            key = (problem.kind, *problem.facts.values())
            if problem.split != split or key in examples:
                missed += 1
                if missed == self._patience:
                    raise UsageError(
                        f"split {split} of task summaries has about {len(examples)} different "
                        f"problems, got a request for {n}. Ask for fewer."
                    )
                continue
            missed = 0
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
