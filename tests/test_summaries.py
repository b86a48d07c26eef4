"""The summaries task: splits that share nothing, dialogues, and which summaries are right."""

import hashlib
import json

import numpy as np
import pytest

from skd_lab.errors import UsageError
from skd_lab.tasks import TASKS, Example
from skd_lab.tasks.summaries import WORDINGS, Problem, Summaries, draw_problem, valid_summaries
from skd_lab.tasks.summary_dialogues import (
    CHANGES,
    DIALOGUES,
    REFUSALS,
    full_dialogue,
    plain_dialogue,
)
from skd_lab.tasks.summary_facts import KINDS, POOLS, facts_exact

MEET = dict(a="Anna", b="Ben", activity="fly kites", place="in the park", day="Friday", time="3 pm")
RIDE = dict(a="Anna", b="Ben", goal="the bank", day="Friday", time="3 pm")


def keys(examples: list[Example]) -> set[tuple]:
    return {(e.meta["kind"], *e.meta["facts"].values()) for e in examples}


def test_summaries_repeat_by_seed_and_grow_by_prefix():
    task = TASKS["summaries"]
    assert task.load("train", 20) == task.load("train", 50)[:20]
    assert len(keys(task.load("train", 50, seed=0)) & keys(task.load("train", 50, seed=1))) < 5


def test_summaries_text_is_pinned():
    """The bundled models were trained on this very text: a change needs new models."""
    first = TASKS["summaries"].load("test", 1)[0]
    assert first.messages == [
        {
            "role": "user",
            "content": "Summarize the dialogue.\n Chen: Let's play tennis on Wednesday at 10 am.\n"
            " Hugo: Sure! In the garden?\n Chen: Yes.\n Hugo: Can we change it to Sunday?\n"
            " Chen: No, I work on Sunday.",
        }
    ]
    assert first.reference == "Chen and Hugo will play tennis in the garden on Wednesday at 10 am."
    assert first.meta["beside"] == {"day": "Sunday"}
    text = json.dumps([(e.messages, e.reference) for e in TASKS["summaries"].load("train", 100)])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "b5fe722691ec2243"


def test_summaries_splits_share_no_problem_whatever_the_seeds():
    task = TASKS["summaries"]
    parts = {split: keys(task.load(split, 400, seed=7)) for split in task.splits}
    parts["train"] |= keys(task.load("train", 400, seed=8))
    assert all(len(found) >= 400 for found in parts.values())
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["validation"]
    assert not parts["validation"] & parts["test"]


def test_summaries_split_is_decided_by_the_facts_alone():
    shares = [draw_problem(np.random.default_rng(i)).split for i in range(2000)]
    assert 0.07 < shares.count("test") / 2000 < 0.13
    assert Problem("ride", RIDE).split == Problem("ride", dict(reversed(RIDE.items()))).split


def test_references_use_every_wording_and_are_all_right():
    examples = TASKS["summaries"].load("train", 600)
    seen: dict[str, set[int]] = {kind: set() for kind in KINDS}
    for example in examples:
        problem = Problem(example.meta["kind"], example.meta["facts"])
        options = valid_summaries(problem)
        assert len(set(options)) >= 3
        for option in options:
            assert facts_exact(problem.kind, problem.facts, option)
        seen[problem.kind].add(options.index(example.reference))
    assert all(len(seen[kind]) == len(WORDINGS[kind]) for kind in KINDS)


def test_dialogues_hold_every_fact_and_two_to_eight_turns():
    rng = np.random.default_rng(0)
    turns = set()
    for _ in range(300):
        problem = draw_problem(rng)
        plain = plain_dialogue(rng, problem.kind, problem.facts)
        full, beside = full_dialogue(rng, problem.kind, problem.facts, often=1)
        assert 2 <= len(plain.split("\n")) <= 4
        turns.add(len(full.split("\n")))
        for dialogue in (plain, full):
            for slot, value in problem.facts.items():
                assert value.lower() in dialogue.lower(), (slot, value, dialogue)
        assert all(value.lower() in full.lower() for value in beside.values())
        assert not set(beside.values()) & set(problem.facts.values())
    assert turns == set(range(2, 9))
    assert all(len(templates) >= 3 for templates in DIALOGUES.values())


def test_what_is_said_besides_is_drawn_as_often_as_asked():
    shares = {}
    for often in (0, 0.3, 1):
        examples = Summaries(often).load("train", 600)
        shares[often] = sum(bool(e.meta["beside"]) for e in examples) / 600
    assert shares[0] == 0 and 0.2 < shares[0.3] < 0.33 and 0.65 < shares[1] < 0.85
    assert Summaries(0.3).load("train", 20) == TASKS["summaries"].load("train", 20)


def test_a_changed_fact_has_its_last_value_and_a_refused_change_leaves_it():
    rng = np.random.default_rng(1)
    seen = {"changed": 0, "refused": 0}
    for _ in range(600):
        problem = draw_problem(rng)
        text, beside = full_dialogue(rng, problem.kind, problem.facts, often=1)
        for slot in set(beside) & set(problem.facts):
            first = text.lower().index(beside[slot].lower())
            if f"I work at {beside[slot]}. Is {problem.facts[slot]} okay?" in text:
                # the value that was given up stood in the core, the fact stands behind it
                assert first < text.index(problem.facts[slot])
                seen["changed"] += 1
            if f"change it to {beside[slot]}?" in text:
                assert text.index(problem.facts[slot]) < text.index(f"change it to {beside[slot]}")
                seen["refused"] += 1
    assert min(seen.values()) > 10
    slots = {slot for kind in KINDS.values() for slot in kind.slots} - {"a", "b"}
    assert set(CHANGES) == set(REFUSALS) == slots


def test_no_summary_with_a_value_said_besides_is_right():
    wrong = 0
    for example in Summaries(often=1).load("test", 200):
        kind, facts, beside = (example.meta[key] for key in ("kind", "facts", "beside"))
        slots = KINDS[kind].slots
        for pool, value in beside.items():
            for slot in (slot for slot in slots if slots[slot] == pool):
                for wording in WORDINGS[kind]:
                    assert not facts_exact(kind, facts, wording.format(**{**facts, slot: value}))
                    wrong += 1
            # beside the right facts it is wrong, too
            for more in (f" {value}", f", {value}", f" not {value}", f". {value}", f" or {value}"):
                assert not facts_exact(kind, facts, example.reference.rstrip(".") + more)
    assert wrong > 200


def test_slots_of_one_pool_never_share_a_value():
    rng = np.random.default_rng(0)
    for _ in range(300):
        problem = draw_problem(rng)
        assert len(set(problem.facts.values())) == len(problem.facts)


@pytest.mark.parametrize(
    ("kind", "facts", "text"),
    [
        ("meet", MEET, "Anna and Ben will fly kites in the park on Friday at 3 pm."),
        ("meet", MEET, "ben and anna plan to fly kites on friday at 3 pm in the park"),
        ("meet", MEET, "Anna invites Ben to fly kites on Friday. They meet at 3 pm in the park."),
        ("meet", MEET, "On Friday, at 3 pm, Ben will fly kites with Anna in the park."),
        ("ride", RIDE, "On Friday at 3 pm, Ben gets a ride from Anna to the bank."),
    ],
)
def test_facts_exact_takes_other_right_wordings(kind, facts, text):
    assert facts_exact(kind, facts, text)


@pytest.mark.parametrize(
    ("kind", "facts", "text"),
    [
        ("meet", MEET, ""),
        ("meet", MEET, "."),
        ("meet", MEET, " \n "),
        ("meet", MEET, "Anna and Ben will fly kites in the park on Friday."),
        ("meet", MEET, "Anna and Ben will fly kites in the park on Monday at 3 pm."),
        ("meet", MEET, "Anna and Ben will fly kites in the park on Friday at 3 pmx."),
        ("meet", MEET, "Anna and Ben will not fly kites in the park on Friday at 3 pm."),
        ("meet", MEET, "Anna and Ben will fly kites in the park on Friday at 3 pm at 5 pm."),
        ("meet", MEET, "Anna and Ben will fly kites in the park on Friday at 3 pm at 3 pm."),
        ("meet", MEET, "Anna and Ben will fly kites in the park on Friday at 3 pm. They meet. "
         "They meet."),
        ("meet", MEET, "Anna and Ben will fly kites in the park on Friday at 3 pm. Leo is busy."),
        ("meet", MEET, "Ben invites Anna to fly kites. They meet in the park on Friday at 3 pm."),
        ("meet", MEET, "Anna and Anna will fly kites in the park on Friday at 3 pm."),
        ("meet", MEET, "on Friday at 3 pm in the park"),
        ("meet", MEET, "Anna and Ben will fly kites in the park on Friday at 3 pm, or not."),
        ("meet", MEET, "Anna and Ben will fly kites in the park on Friday at 13 pm."),
        ("ride", RIDE, "Ben will drive Anna to the bank on Friday at 3 pm."),
        ("ride", RIDE, "Ben gets a ride to the bank on Friday at 3 pm."),
    ],
)  # fmt: skip
def test_facts_exact_refuses_what_is_wrong_or_missing_or_more(kind, facts, text):
    assert not facts_exact(kind, facts, text)


def test_facts_exact_sees_every_single_wrong_value():
    for kind, facts in (("meet", MEET), ("ride", RIDE)):
        for slot, pool in KINDS[kind].slots.items():
            other = next(value for value in POOLS[pool] if value not in facts.values())
            for wording in WORDINGS[kind]:
                assert not facts_exact(kind, facts, wording.format(**{**facts, slot: other}))


def test_summaries_score_puts_the_headline_first():
    task = TASKS["summaries"]
    example = task.load("test", 1)[0]
    scores = task.score(example, example.reference)
    assert list(scores) == [task.headline, "rouge_l"] and set(scores.values()) == {1.0}
    assert task.score(example, "") == {"facts_exact": 0.0, "rouge_l": 0.0}


def test_summaries_refuse_more_problems_than_there_are(monkeypatch):
    monkeypatch.setattr(type(TASKS["summaries"]), "_patience", 50)
    with pytest.raises(UsageError, match="different problems, got a request for 20000"):
        TASKS["summaries"].load("test", 20_000)


def test_summaries_refuse_a_file():
    with pytest.raises(UsageError, match="reads no file"):
        TASKS["summaries"].load("train", 1, data_path="x.jsonl")
