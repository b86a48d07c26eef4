"""Tasks: what they load, which splits share nothing, and what a completion scores."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from skd_lab.errors import DataError, UsageError
from skd_lab.tasks import TASKS, Example, Gsm8k, get_task
from skd_lab.tasks.rows import held_out_split
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


def write(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_example_is_prompt_or_messages():
    with pytest.raises(UsageError, match="both"):
        Example(id="x", prompt="a", messages=[])
    with pytest.raises(UsageError, match="neither"):
        Example(id="x")


def test_unknown_task_is_refused_with_the_names():
    with pytest.raises(UsageError, match=r"'sums'.*arithmetic, .*dialogsum, .*jsonl, .*summaries"):
        get_task("sums")


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_refuses_a_wrong_split_and_number(name):
    task = TASKS[name]
    assert task.name == name and task.description and task.max_new_tokens > 0
    with pytest.raises(UsageError, match="train, validation, test"):
        task.load("dev")
    with pytest.raises(UsageError, match="at least 1, got 0"):
        task.load("train", 0)


# --- summaries


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


# --- gsm8k


def problem(number: int) -> dict[str, str]:
    return {
        "question": f"Ann has {number} pens and buys 1. How many?",
        "answer": f"{number}+1 = <<{number}+1={number + 1}>>{number + 1} pens.\n#### {number + 1}",
    }


def test_gsm8k_strips_or_keeps_calculator_marks(tmp_path):
    path = write(tmp_path / "a.jsonl", [problem(2)])
    example = Gsm8k().load("train", data_path=path)[0]
    assert example.reference == "2+1 = 3 pens.\n#### 3"
    assert example.messages == [{"role": "user", "content": "Ann has 2 pens and buys 1. How many?"}]
    kept = Gsm8k(calculator_marks="keep").load("train", data_path=path)[0]
    assert kept.reference == problem(2)["answer"]
    with pytest.raises(UsageError, match="strip or keep"):
        Gsm8k(calculator_marks="maybe")


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        ("so\n#### 1250", 1.0),
        ("#### $1,250.", 1.0),
        ("#### 1250.00", 1.0),
        ("#### 3\nno, rather\n#### 1250", 1.0),
        ("#### 1250\n#### 3", 0.0),
        ("1250", 0.0),
        ("#### 1250 pens", 1.0),
        ("#### 1250 or 1251", 0.0),
        ("####", 0.0),
        ("", 0.0),
        ("#### 1,251", 0.0),
    ],
)
def test_gsm8k_scores_the_number_behind_the_last_marks(completion, right):
    example = Example(id="x", prompt="?", meta={"answer": "1,250"})
    assert TASKS["gsm8k"].score(example, completion) == {"accuracy": right}


def test_gsm8k_single_file_is_split_without_overlap(tmp_path):
    path = write(tmp_path / "a.jsonl", [problem(i) for i in range(50)] + [problem(0)])
    parts = {
        split: TASKS["gsm8k"].load(split, data_path=path)
        for split in ("train", "validation", "test")
    }
    questions = {s: {e.meta["question"] for e in found} for s, found in parts.items()}
    assert {s: len(found) for s, found in questions.items()} == {
        "train": 40,
        "validation": 5,
        "test": 5,
    }
    assert len(set.union(*questions.values())) == 50
    assert sum(map(len, parts.values())) == 51
    assert (
        TASKS["gsm8k"].load("train", 3, seed=1, data_path=path)
        == (TASKS["gsm8k"].load("train", 9, seed=1, data_path=path)[:3])
    )
    assert TASKS["gsm8k"].load("train", 9, seed=2, data_path=path) != (
        TASKS["gsm8k"].load("train", 9, seed=1, data_path=path)
    )


def test_gsm8k_folder_keeps_its_own_test(tmp_path):
    write(tmp_path / "train.jsonl", [problem(i) for i in range(20)])
    write(tmp_path / "test.jsonl", [problem(i) for i in range(100, 103)])
    sizes = {
        split: len(TASKS["gsm8k"].load(split, data_path=tmp_path))
        for split in ("train", "validation", "test")
    }
    assert sizes == {"train": 18, "validation": 2, "test": 3}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?"}, 'line 2: no text in field "answer"'),
        ({"question": " ", "answer": "#### 1"}, 'line 2: no text in field "question"'),
        ({"question": "?", "answer": "It is 3."}, "line 2: the answer must end in ####"),
    ],
)
def test_gsm8k_names_the_bad_line(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        TASKS["gsm8k"].load("train", data_path=write(tmp_path / "a.jsonl", [problem(1), row]))


def test_gsm8k_without_a_network_says_what_to_do(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def offline(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(DataError, match="openai/gsm8k.*no route.*--data-path"):
        TASKS["gsm8k"].load("test", 1)


def test_gsm8k_by_hub_name_takes_its_main_set(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name, config, *, split):
        asked.append((name, config, split))
        return [problem(i) for i in range(10)]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(TASKS["gsm8k"].load("test")) == 10
    assert len(TASKS["gsm8k"].load("train")) == 9
    assert asked == [("openai/gsm8k", "main", "test"), ("openai/gsm8k", "main", "train")]


# --- jsonl


def test_jsonl_reads_prompts_and_chats(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
    answer = [{"role": "assistant", "content": "4"}]
    path = write(
        tmp_path / "a.jsonl",
        [
            {"prompt": "Q:", "completion": " A"},
            {"prompt": "only"},
            {"messages": turns + answer},
            {"messages": turns},
        ],
    )
    found = {e.id: e for e in TASKS["jsonl"].load("train", data_path=path)}
    assert (found["line-1"].prompt, found["line-1"].reference) == ("Q:", " A")
    assert (found["line-2"].prompt, found["line-2"].reference) == ("only", None)
    assert (found["line-3"].messages, found["line-3"].reference) == (turns, "4")
    assert (found["line-4"].messages, found["line-4"].reference) == (turns, None)


def test_jsonl_scores():
    task = TASKS["jsonl"]
    example = Example(id="x", prompt="?", reference="a b c d")
    assert task.score(example, " a b  c d\n") == {"exact_match": 1.0, "rouge_l": 1.0}
    # longest common subsequence a b: precision 2/2, recall 2/4
    assert task.score(example, "a b") == {"exact_match": 0.0, "rouge_l": pytest.approx(2 / 3)}
    assert list(task.score(Example(id="x", prompt="?"), "a")) == ["exact_match", "rouge_l"]


def test_jsonl_small_files_hold_nothing_out_and_folders_have_their_own(tmp_path):
    path = write(tmp_path / "train.jsonl", [{"prompt": str(i)} for i in range(9)])
    sizes = [len(TASKS["jsonl"].load(s, data_path=path)) for s in TASKS["jsonl"].splits]
    assert sizes == [9, 0, 0]
    write(tmp_path / "test.jsonl", [{"prompt": "t"}])
    assert [e.prompt for e in TASKS["jsonl"].load("test", data_path=tmp_path)] == ["t"]
    write(path, [{"prompt": str(i)} for i in range(10)])
    sizes = [len(TASKS["jsonl"].load(s, data_path=path)) for s in TASKS["jsonl"].splits]
    assert sizes == [8, 1, 1]


def test_held_out_split_does_not_depend_on_the_order():
    names = [f"k{i}" for i in range(30)]
    split = held_out_split(names)
    backwards = held_out_split(names[::-1])
    for part in split:
        assert {names[i] for i in split[part]} == {names[::-1][i] for i in backwards[part]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.jsonl is empty"),
        ("\n \n", r"a\.jsonl is empty"),
        ('{"prompt": "a"}\n{"prompt": ', "line 2"),
        ('{"prompt": "a"}\n\n[1]', "line 3"),
        ('{"prompt": "a"}\n{"text": "a"}', 'line 2.*"prompt"'),
        ('{"prompt": 3}', 'line 1.*"prompt"'),
        ('{"prompt": "  "}', "line 1: the prompt is empty"),
        ('{"prompt": "a", "completion": 3}', 'line 1: "completion" must be text, got int'),
        ('{"prompt": "a", "completion": ""}', "line 1: the completion is empty"),
        ('{"prompt": "a", "messages": []}', "line 1: both"),
    ],
)
def test_jsonl_names_the_bad_line(tmp_path, text, message):
    path = tmp_path / "a.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        TASKS["jsonl"].load("train", data_path=path)


def test_jsonl_needs_a_file(tmp_path):
    with pytest.raises(UsageError, match="--data-path"):
        TASKS["jsonl"].load("train")
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        TASKS["jsonl"].load("train", data_path=tmp_path / "gone.jsonl")
