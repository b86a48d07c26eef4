"""What two people say to each other in the summaries task: how they agree, and what is beside it.

A dialogue is a core, in which they agree; it may begin with talk of something else, and it may go
on with a change of one fact, a change that is refused, or a word about somebody who is not part of
it. Whatever is said besides names people, days and places of its own: the facts cannot be picked
out by their looks.
"""

from collections.abc import Mapping

import numpy as np

from skd_lab.tasks.generated import pick
from skd_lab.tasks.summary_facts import KINDS, POOLS

AGREEMENTS = ("Sure", "Okay", "Great", "Yes", "Good idea", "Gladly")
_OPENING, _CHANGE, _REFUSAL, _THIRD = 0.35, 0.3, 0.2, 0.15
"""How often where `often` is 1; at most one of the last three."""

# Speaker and line. A capital ({Place}) starts a sentence.
DIALOGUES: Mapping[str, tuple[str, ...]] = {
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

# {f} speaks first in the core, {s} is the other one, {c} is nobody of the two. A 2 behind a slot
# is another value than the fact's.
OPENINGS = (
    "{f}: How are you, {s}?\n{s}: Good, thanks.",
    "{f}: How was your {day2}?\n{s}: Great! {c} and I went to {goal2}.",
    "{f}: Did you see {c} on {day2}?\n{s}: Yes, {place2}.",
    "{f}: Will {c} {activity2} on {day2}?\n{s}: Yes, at {time2}.",
)

# {l} spoke last in the core, {o} is the other one. The core had the value with the 2.
CHANGES: Mapping[str, tuple[str, ...]] = {
    "day": (
        "{o}: I work on {day2}. Is {day} okay?\n{l}: {Agree}.",
        "{o}: Can we change the day?\n{l}: Then on {day}.",
    ),
    "time": (
        "{o}: I work at {time2}. Is {time} okay?\n{l}: {Agree}.",
        "{o}: Can we change the time?\n{l}: Then at {time}.",
    ),
    "place": (
        "{o}: There are too many people {place2}. {Place}?\n{l}: {Agree}.",
        "{o}: Can we change the place?\n{l}: Then {place}.",
    ),
    "activity": (
        "{o}: Let's {activity} and not {activity2}.\n{l}: {Agree}.",
        "{o}: I do not want to {activity2}.\n{l}: Then let's {activity}.",
    ),
    "goal": (
        "{o}: To {goal2}?\n{l}: No, to {goal}.",
        "{o}: Not to {goal2}, but to {goal}.\n{l}: {Agree}.",
    ),
}

# Here the core had the fact, and stays right.
REFUSALS: Mapping[str, tuple[str, ...]] = {
    "day": ("{o}: Can we change it to {day2}?\n{l}: No, I work on {day2}.",),
    "time": ("{o}: Can we change it to {time2}?\n{l}: No, I work at {time2}.",),
    "place": ("{o}: Or {place2}?\n{l}: No, {place}.",),
    "activity": ("{o}: Or shall we {activity2}?\n{l}: No, there is no time.",),
    "goal": ("{o}: {c} has to go to {goal2}, too.\n{l}: Not with us.",),
}
THIRDS = (
    "{o}: Will {c} come, too?\n{l}: No, {c} has to work.",
    "{o}: {c} will be {place2} on {day2}.\n{l}: I know.",
    "{o}: {c} and I will {activity2} at {time2}.\n{l}: Good!",
)


def plain_dialogue(rng: np.random.Generator, kind: str, facts: Mapping[str, str]) -> str:
    """A dialogue of 2-4 turns that says the facts and nothing else."""
    words = {**facts, "Agree": pick(rng, AGREEMENTS)}
    return _indented(_fill(pick(rng, DIALOGUES[kind]), words))


def full_dialogue(
    rng: np.random.Generator, kind: str, facts: Mapping[str, str], often: float = 0.3
) -> tuple[str, dict[str, str]]:
    """A dialogue of 2-8 turns that ends in the facts, and what else was said.

    Args:
        often: 0.3: one dialogue in four says something besides; 1: three
            quarters do.

    Returns:
        The text; and by pool of values (person, day, ...) the value in it that is no fact.
    """
    two = (facts["a"], facts["b"])
    others = {name: _another(rng, name, facts) for name in POOLS}
    words = {f"{name}2": value for name, value in others.items()} | {"c": others["person"]}
    core, about = pick(rng, DIALOGUES[kind]), pick(rng, tuple(KINDS[kind].slots)[2:])
    first, last = (facts[line[1]] for line in (core.split("\n")[0], core.split("\n")[-1]))
    words |= {"f": first, "s": _other(first, two), "l": last, "o": _other(last, two)}
    said, more, draw = dict(facts), "", rng.random() / often
    if draw < _CHANGE:
        said[about] = others[about]
        # who needs the ride says where to
        fitting = CHANGES[about] if about != "goal" else CHANGES[about][last != two[1] :][:1]
        more = pick(rng, fitting)
    elif draw < _CHANGE + _REFUSAL:
        more = pick(rng, REFUSALS[about])
    elif draw < _CHANGE + _REFUSAL + _THIRD:
        more = pick(rng, THIRDS)
    opening = pick(rng, OPENINGS) if rng.random() < often * _OPENING else ""
    parts = [
        _fill(opening, words),
        _fill(core, {**words, **said, "Agree": pick(rng, AGREEMENTS)}),
        _fill(more, {**words, **facts, "Agree": pick(rng, AGREEMENTS)}),
    ]
    text = "\n".join(part for part in parts if part)
    beside = {name: value for name, value in others.items() if value.lower() in text.lower()}
    return _indented(text), beside


def _another(rng: np.random.Generator, name: str, facts: Mapping[str, str]) -> str:
    """A value of a pool that is no fact."""
    return pick(rng, tuple(value for value in POOLS[name] if value not in facts.values()))


def _other(person: str, two: tuple[str, str]) -> str:
    return two[1] if person == two[0] else two[0]


def _fill(text: str, words: Mapping[str, str]) -> str:
    place = words.get("place", "")
    return text.format(**words, Place=f"{place[:1].upper()}{place[1:]}")


def _indented(text: str) -> str:
    # so that a name is the same token at the start of a line and inside one
    return "\n".join(f" {line}" for line in text.split("\n"))
