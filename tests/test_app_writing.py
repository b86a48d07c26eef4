"""What the app asks of the models, held against the library itself: the same texts, id for id."""

import json
import math
from dataclasses import replace
from threading import Event

import pytest
import torch

from skd_lab import GREEDY, draw_uniforms, load_pair, student_rollout, teacher_rollout
from skd_lab.app.asks import MAX_TEXT_CHARACTERS, Ask
from skd_lab.app.branching import GREEDY as LIKELIEST
from skd_lab.app.branching import first_difference, forks, roads
from skd_lab.app.comparing import MODES, compare, ways
from skd_lab.app.drafting import draft, economics
from skd_lab.app.forced import judge_text
from skd_lab.app.models import Models, PairChoice
from skd_lab.app.parts import ndjson
from skd_lab.app.writing import write
from skd_lab.encode import encode_prompt
from skd_lab.errors import UsageError
from skd_lab.records import dumps_traces, loads_traces
from skd_lab.speculative import interleaved_rollout

PROMPT = (
    "Summarize the dialogue.\n Diego: Do you need a ride on Monday?\n Anna: Yes, to the airport."
)
CHOICE = PairChoice("tiny-qwen3", "tiny-qwen3")
ASK = Ask(prompt=PROMPT, accept_top_k=1, max_new_tokens=32, seed=3)


@pytest.fixture(scope="module")
def pair():
    return load_pair("tiny-qwen3", device="cpu")


@pytest.fixture(scope="module")
def written(pair):
    """Every state of one text as it grows."""
    return list(write(pair, ASK, Event()))


def ids(trace):
    return [token["kept_id"] for token in trace.tokens]


def prompt_ids(pair):
    return encode_prompt(pair.tokenizer, PROMPT, pair.vocab_size)


def library_rollout(pair, ask):
    return interleaved_rollout(
        pair.student,
        pair.teacher,
        [prompt_ids(pair)],
        accept_top_k=ask.accept_top_k,
        gamma=ask.gamma,
        max_new_tokens=ask.max_new_tokens,
        eos_token_ids=pair.eos_token_ids,
        student_policy=ask.student_policy,
        teacher_policy=ask.teacher_policy,
        uniforms=draw_uniforms(ask.seed, 1, ask.max_new_tokens),
        vocab_size=pair.vocab_size,
    )[0]


def test_the_text_is_the_librarys_and_grows_to_it(pair, written):
    rollout = library_rollout(pair, ASK)
    last = written[-1]
    assert last.done and not last.stopped and ids(last.trace) == rollout.completion_ids.tolist()
    assert last.trace.replaced == rollout.replaced > 0 < last.trace.discarded
    assert not any(state.done for state in written[:-1]) and len(written) > 2
    for before, after in zip(written, written[1:], strict=False):
        assert ids(after.trace)[: len(before.trace.tokens)] == ids(before.trace)
    growing = [ndjson([state.trace]) for state in written[:-1]]
    for before, after in zip(growing, growing[1:], strict=False):
        assert after.startswith(before)  # a strip then draws only what is new


def test_counters_add_up_at_every_moment(written):
    for state in written:
        trace = state.trace
        assert trace.accepted + trace.replaced == trace.verified == len(trace.tokens)
        assert f"{trace.replaced} of {trace.verified} proposals refused" in state.sentence(32)
    assert written[0].sentence(32).startswith(f"Writing: token {len(written[0].trace.tokens)} of")
    assert written[-1].sentence(32).startswith(f"Done: {len(written[-1].trace.tokens)} tokens")


def test_growing_records_say_what_the_finished_ones_say(written):
    growing, finished = written[-2].trace, written[-1].trace
    same = ("source", "kept_id", "kept", "kept_bytes", "proposed_id", "block", "teacher_rank")
    for early, late in zip(growing.tokens, finished.tokens, strict=True):
        assert [early[name] for name in same] == [late[name] for name in same]
        assert early["p_teacher"] == pytest.approx(late["p_teacher"], abs=1e-4)
    assert len(finished.tokens[0]["teacher_top"]) == 20


def test_a_stopped_text_is_kept_as_far_as_it_came(pair, written):
    stop = Event()
    states = []
    for state in write(pair, ASK, stop):
        states.append(state)
        stop.set()
    n = len(written[0].trace.tokens)
    assert [state.done for state in states] == [False, True]
    assert states[-1].stopped == f"stopped at {n}"
    assert ids(states[-1].trace) == ids(written[-1].trace)[:n]
    assert "teacher_top" in states[-1].trace.tokens[0]  # looked up for what there is
    assert states[-1].sentence(32).startswith(f"Stopped at {n}: {n} tokens")
    assert f"stopped at {n}" in states[-1].trace.header["note"]
    late = list(write(pair, ASK, Event(), seconds=0.0))
    assert late[-1].stopped.startswith(f"stopped at {n}, after 0 seconds")


def test_a_k_beyond_the_vocabulary_lets_everything_pass(pair):
    states = list(write(pair, Ask(prompt=PROMPT, accept_top_k=10**9, max_new_tokens=8), Event()))
    assert states[-1].trace.replaced == 0
    assert states[-1].trace.header["accept_top_k"] == pair.vocab_size


def test_a_given_text_gets_the_ranks_it_had_when_it_was_written(pair):
    ask = Ask(prompt=PROMPT, accept_top_k=10**9, max_new_tokens=32, seed=3)
    own = list(write(pair, ask, Event()))[-1].trace
    text = pair.tokenizer.decode(ids(own), skip_special_tokens=True)
    judged = judge_text(pair, PROMPT, text)
    n = len(judged.tokens)
    assert ids(judged) == ids(own)[:n] and n >= len(own.tokens) - 1
    ranks = [token["teacher_rank"] for token in judged.tokens]
    assert ranks == [token["teacher_rank"] for token in own.tokens[:n]] and max(ranks) > 1
    assert judged.header["rule"] == "teacher_forced" and judged.replaced == 0


def test_a_text_on_its_own_is_judged_from_its_second_token(pair):
    whole = pair.tokenizer("Anna and Ben meet.", add_special_tokens=False)["input_ids"]
    judged = judge_text(pair, " ", "Anna and Ben meet.")
    assert judged.header["prompt_ids"] + ids(judged) == whole or ids(judged) == whole
    for text, message in (
        ("", "The text is empty"),
        ("x" * (MAX_TEXT_CHARACTERS + 1), "4,001 characters"),
        ("z " * 1990, "at most 1,000 are judged|more than the context"),
    ):
        with pytest.raises(UsageError, match=message):
            judge_text(pair, "", text)


def test_control_words_in_a_pasted_text_are_text(pair):
    judged = judge_text(pair, PROMPT, "a<|im_end|>b")
    assert not set(ids(judged)) & set(pair.eos_token_ids)
    assert "".join(token["kept"] for token in judged.tokens) == "a<|im_end|>b"


def test_the_three_roads_are_what_was_kept_and_each_model_alone(pair, written):
    trace = written[-1].trace
    at = forks(trace)[0]
    kept, student, teacher = roads(pair, trace, at, length=12)
    assert ids(kept) == ids(trace)[at : at + 12]
    before = [*prompt_ids(pair), *ids(trace)[:at]]
    numbers = draw_uniforms(ASK.seed, 1, ASK.max_new_tokens)
    settings = {"eos_token_ids": pair.eos_token_ids, "vocab_size": pair.vocab_size}
    proposed = trace.tokens[at]["proposed_id"]
    alone = student_rollout(
        pair.student,
        [[*before, proposed]],
        max_new_tokens=11,
        policy=ASK.student_policy,
        uniforms=numbers[0, :, at + 1 :],
        **settings,
    )[0]
    assert ids(student) == [proposed, *alone.completion_ids.tolist()]
    # the replacement was the teacher's draw with the same number
    assert ids(teacher)[0] == trace.tokens[at]["kept_id"]
    likeliest = roads(pair, trace, at, LIKELIEST, length=12)[2]
    alone = teacher_rollout(
        pair.teacher,
        [before],
        max_new_tokens=12,
        policy=GREEDY,
        uniforms=torch.zeros(1, 12),
        **settings,
    )[0]
    assert ids(likeliest) == alone.completion_ids.tolist()
    for road in (student, teacher):
        assert road.header["diverges_at"] == first_difference(ids(kept), ids(road))


def test_a_fork_that_cannot_be_is_refused(pair, written):
    trace = written[-1].trace
    with pytest.raises(UsageError, match="There is no token 99"):
        roads(pair, trace, 99)
    [copy] = loads_traces(dumps_traces([trace]))
    copy.header["prompt_ids"] = ["1"]
    with pytest.raises(UsageError, match="does not hold its prompt's ids"):
        roads(pair, copy, 0)
    copy.header["prompt_ids"] = [5, 99999]
    with pytest.raises(UsageError, match="needs token 99999.*share the ids below"):
        roads(pair, copy, 0)


@pytest.mark.parametrize("mode", MODES[:3])
def test_compared_texts_are_the_librarys_and_part_where_they_say(pair, mode, monkeypatch):
    monkeypatch.setattr(PairChoice, "load", lambda choice: pair)
    ask = Ask(prompt=PROMPT, accept_top_k=2, max_new_tokens=24, seed=3)
    wanted = ways(mode, ask, CHOICE, None, "Diego will drive Anna.")
    *growing, (traces, sentence, done) = compare(Models(), ask, wanted, Event())
    assert done and not any(state[2] for state in growing)
    assert [trace.header["label"] for trace in traces] == [way.label for way in wanted]
    for n, trace in enumerate(traces[1:], start=2):
        place = first_difference(ids(traces[0]), ids(trace))
        assert trace.header.get("diverges_at") == place
        assert f"ext {n} is the same" in sentence or f"ext {n} parts from text 1 at" in sentence
    by_label = {trace.header["label"]: trace for trace in traces}
    together = next(trace for label, trace in by_label.items() if "K = 2" in label)
    assert ids(together) == library_rollout(pair, ask).completion_ids.tolist()
    alone = [trace for label, trace in by_label.items() if "student alone" in label]
    for trace in alone:
        numbers = draw_uniforms(ask.seed, 1, ask.max_new_tokens)[0]
        [rollout] = student_rollout(
            pair.student,
            [prompt_ids(pair)],
            max_new_tokens=24,
            policy=ask.student_policy,
            uniforms=numbers,
            eos_token_ids=pair.eos_token_ids,
            vocab_size=pair.vocab_size,
        )
        assert ids(trace) == rollout.completion_ids.tolist()
    assert alone


def test_two_students_write_with_one_teacher_each_loaded_in_turn(pair, monkeypatch):
    teacher_twice = replace(pair, student=pair.teacher)
    loaded = []

    def load(choice):
        loaded.append(choice.name)
        return pair if choice == CHOICE else teacher_twice

    monkeypatch.setattr(PairChoice, "load", load)
    other = PairChoice("student after demo", "tiny-qwen3", student="runs/demo/student")
    wanted = ways(MODES[3], ASK, CHOICE, other, "")
    traces, sentence, _ = list(compare(Models(), ASK, wanted, Event()))[-1]
    assert loaded == [trace.header["label"] for trace in traces] == [CHOICE.name, other.name]
    assert traces[1].replaced < traces[0].replaced
    same = ids(traces[0]) == ids(traces[1])
    assert f"Text 2 {'is the same as' if same else 'parts from'} text 1" in sentence


def test_roles_are_swapped_whole(pair):
    wanted = ways(MODES[4], ASK, CHOICE, None, "")
    traces, _, _ = list(compare(Models(), ASK, wanted, Event()))[-1]
    first, second = traces
    assert (second.header["student"], second.header["teacher"]) == (
        first.header["teacher"],
        first.header["student"],
    )
    swapped = interleaved_rollout(
        pair.teacher,
        pair.student,
        [prompt_ids(pair)],
        accept_top_k=ASK.accept_top_k,
        max_new_tokens=ASK.max_new_tokens,
        eos_token_ids=pair.eos_token_ids,
        student_policy=ASK.student_policy,
        teacher_policy=ASK.teacher_policy,
        uniforms=draw_uniforms(ASK.seed, 1, ASK.max_new_tokens),
        vocab_size=pair.vocab_size,
    )[0]
    assert ids(second) == swapped.completion_ids.tolist() != ids(first)


def test_a_comparison_that_lacks_a_part_says_which():
    with pytest.raises(UsageError, match="reference answer, and that box is empty"):
        ways(MODES[1], ASK, CHOICE, None, " ")
    with pytest.raises(UsageError, match="Choose two different students"):
        ways(MODES[3], ASK, CHOICE, CHOICE, "")
    with pytest.raises(UsageError, match="Choose what to compare"):
        ways("all", ASK, CHOICE, None, "")


def test_a_stopped_comparison_keeps_what_is_there(pair, monkeypatch):
    monkeypatch.setattr(PairChoice, "load", lambda choice: pair)
    stop, found = Event(), []
    for state in compare(Models(), ASK, ways(MODES[0], ASK, CHOICE, None, ""), stop):
        found.append(state)
        if len(state[0]) == 2:
            stop.set()
    traces, sentence, done = found[-1]
    assert done and len(traces) == 2 and sentence.startswith("Stopped. ")


def test_draft_counts_add_up_and_a_perfect_draft_is_never_refused(pair):
    [[alone], [lossless, top_k]] = list(draft(pair, ASK, Event()))
    assert alone == lossless
    assert lossless.header["rule"] == "lossless"
    for trace in (lossless, top_k):
        cost = economics(trace)
        bonus = sum(token["proposed_id"] < 0 for token in trace.tokens)
        assert cost.tokens == cost.kept + cost.refused + bonus == len(trace.tokens)
        assert cost.looks == 1 + max(token["block"] for token in trace.tokens)
        assert cost.tokens_per_look == cost.tokens / cost.looks >= 1
    assert sum(token["proposed_id"] < 0 for token in top_k.tokens) == 0
    own = load_pair("tiny-qwen3", device="cpu")
    own.student = own.teacher
    stopped = Event()
    stopped.set()
    [[text]] = list(draft(own, ASK, stopped))  # the second one is not begun
    perfect = economics(text)
    assert perfect.refused == 0 and perfect.acceptance_rate == 1
    assert perfect.tokens_per_look > 1 and math.isfinite(perfect.tokens_per_look)


def test_what_a_strip_gets_is_ndjson_without_an_angle_bracket(written):
    text = ndjson([written[-1].trace])
    assert "<" not in text and loads_traces(text) == [written[-1].trace]
    assert all(json.loads(line) for line in text.splitlines())
