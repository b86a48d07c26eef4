"""Trace records: what both models thought at every token, checked against plain forwards."""

import math

import pytest
import torch

import skd_lab as skd
from skd_lab.encode import encode_prompt
from skd_lab.presets import with_preset
from skd_lab.recording import WATCHED_ROW, record_prompts, record_traces
from skd_lab.records import dumps_traces, loads_traces
from skd_lab.sampling import GREEDY, SamplingPolicy, draw_uniforms, sample, teacher_rank
from skd_lab.speculative import interleaved_rollout, speculative_rollout
from skd_lab.token_text import TokenText

PROMPT = "Summarize the dialogue.\n Anna: Let's fly kites on Friday at 3 pm.\n Ben: Sure! Where?"
WARM = SamplingPolicy(temperature=1.5)


@pytest.fixture(scope="module")
def pair():
    return skd.load_pair("tiny-qwen3", device="cpu")


@pytest.fixture(scope="module")
def prompt(pair):
    return encode_prompt(pair.tokenizer, PROMPT)


UNIFORMS = draw_uniforms(3, 2, 24)


def write(pair, prompt, rollout=interleaved_rollout, **changes):
    asked = dict(gamma=4, student_policy=WARM, teacher_policy=WARM, uniforms=UNIFORMS) | changes
    rollouts = rollout(
        pair.student, pair.teacher, [prompt, prompt], max_new_tokens=24,
        eos_token_ids=pair.eos_token_ids, vocab_size=pair.vocab_size, **asked,
    )  # fmt: skip
    return rollouts, asked


def logits_of(model, rollout):
    ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids.tolist()])
    with torch.no_grad():
        return model(ids).logits[0, len(rollout.prompt_ids) - 1 : -1]


def test_probabilities_ranks_and_draws_are_the_models(pair, prompt):
    rollouts, asked = write(pair, prompt, accept_top_k=2)
    assert sum(rollout.replaced for rollout in rollouts) > 2
    traces = record_traces(pair, rollouts, seed=3, **asked)
    for row, (rollout, trace) in enumerate(zip(rollouts, traces, strict=True)):
        student, teacher = logits_of(pair.student, rollout), logits_of(pair.teacher, rollout)
        assert (trace.accepted, trace.replaced, trace.discarded) == (
            rollout.accepted, rollout.replaced, rollout.discarded,
        )  # fmt: skip
        for t, token in enumerate(trace.tokens):
            p, q = teacher[t].softmax(-1), student[t].softmax(-1)
            kept, proposed = token["kept_id"], token["proposed_id"]
            assert token["p_teacher"] == pytest.approx(float(p[kept]), rel=1e-3)
            assert token["proposed_p_student"] == pytest.approx(float(q[proposed]), rel=1e-3)
            assert token["teacher_rank"] == int(teacher_rank(teacher[t], torch.tensor(proposed)))
            assert token["kl"] == pytest.approx(float((p * (p / q).log()).sum()), abs=1e-3)
            assert [best[0] for best in token["teacher_top"]] == p.topk(20).indices.tolist()
            assert (token["u_student"], token["u_teacher"]) == tuple(UNIFORMS[:, row, t].tolist())
            draw = int(sample(teacher[t][None], WARM, UNIFORMS[1, row, t][None])[0])
            assert token["teacher_draw"]["id"] == draw
            assert token["source"] == "student" or kept == draw


def test_the_draw_on_record_is_the_one_of_the_replacement_asked_for(pair, prompt):
    rollouts, asked = write(pair, prompt, accept_top_k=2, replacement="student_in_top_k")
    for rollout, trace in zip(
        rollouts, record_traces(pair, rollouts, seed=3, **asked), strict=True
    ):
        teacher = logits_of(pair.teacher, rollout)
        drawn = torch.tensor([token["teacher_draw"]["id"] for token in trace.tokens])
        assert int(teacher_rank(teacher, drawn).max()) <= 2
        assert trace.header["policies"]["replacement"] == "student_in_top_k"


def test_a_bonus_token_has_no_proposal(pair, prompt):
    rollouts, asked = write(pair, prompt, speculative_rollout)
    traces = record_traces(pair, rollouts, rule="lossless", seed=3, **asked)
    bonus = [token for trace in traces for token in trace.tokens if token["proposed_id"] == -1]
    assert bonus
    for token in bonus:
        assert (token["proposed"], token["proposed_bytes"], token["teacher_rank"]) == ("", "", 0)
        assert token["proposed_p_student"] is None and token["proposed_p_teacher"] is None
        assert token["source"] == "teacher" and token["p_teacher"] > 0
    assert traces[0].header["rule"] == "lossless" and traces[0].header["accept_top_k"] is None
    back = loads_traces(dumps_traces(traces), name="here")
    assert [t.tokens for t in back] == [t.tokens for t in traces]


def test_a_text_by_one_hand_can_be_recorded(pair, prompt):
    asked = dict(max_new_tokens=24, eos_token_ids=pair.eos_token_ids, vocab_size=pair.vocab_size)
    alone = skd.teacher_rollout(
        pair.teacher, [prompt], policy=GREEDY, uniforms=UNIFORMS[1, :1], **asked
    )
    (trace,) = record_traces(
        pair, alone, uniforms=UNIFORMS[:, :1], gamma=1, student_policy=WARM,
        teacher_policy=GREEDY, seed=3,
    )  # fmt: skip
    assert (trace.verified, trace.replaced) == (0, 0)
    assert all(token["teacher_top"][0][0] == token["kept_id"] for token in trace.tokens)
    assert all(math.isfinite(token["kl"]) for token in trace.tokens)


def test_a_line_of_k_is_on_record_place_by_place(pair, prompt):
    line = [1, 2, 3] + [4] * 21
    rollouts, asked = write(pair, prompt, accept_top_k=line)
    traces = record_traces(pair, rollouts, seed=3, **asked)
    assert traces[0].header["accept_top_k"] == line
    for trace in traces:
        for t, token in enumerate(trace.tokens):
            assert (token["teacher_rank"] <= line[t]) == (token["source"] == "student")
    rollouts, asked = write(pair, prompt, accept_top_k=[4] * 24)
    assert record_traces(pair, rollouts, seed=3, **asked)[0].header["accept_top_k"] == 4


def test_watched_prompts_have_numbers_that_no_training_row_uses(pair):
    task = skd.get_task("summaries")
    report = skd.encode_examples(pair.tokenizer, task.load("validation", 2), max_prompt_tokens=256)
    config = with_preset({"accept_top_k": "updates:1..1024", "steps": 11, "max_new_tokens": 16})
    early = record_prompts(pair, report.encoded, config, step=0, run="r")
    late = record_prompts(pair, report.encoded, config, step=11, run="r")
    numbers = draw_uniforms(config.seed, 2, 16, first_row=WATCHED_ROW)
    for row, trace in enumerate(early):
        used = [token["u_student"] for token in trace.tokens]
        assert used == numbers[0, row, : len(used)].tolist()
    assert [trace.header["accept_top_k"] for trace in (*early, *late)] == [1, 1, 1024, 1024]
    assert sum(trace.replaced for trace in late) == 0 < sum(trace.replaced for trace in early)
    again = record_prompts(pair, report.encoded, config, step=0, run="r")
    assert dumps_traces(again) == dumps_traces(early)


def test_bytes_are_right_where_a_character_is_split(pair):
    text = TokenText(pair.tokenizer)
    ids = pair.tokenizer("a \U0001f642 b", add_special_tokens=False).input_ids
    assert b"".join(text.bytes_of(token) for token in ids) == "a \U0001f642 b".encode()
    assert any("\ufffd" in text.of(token) for token in ids)
    assert text.bytes_of(pair.eos_token_ids[0]) == b"<|im_end|>"
