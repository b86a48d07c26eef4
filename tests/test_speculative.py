"""The interleaved sampler beyond its text: its law, its records, the modes it leaves as found."""

import itertools

import pytest
import torch
from oracle import next_logits
from tables import STUDENT_TABLE, TEACHER_TABLE, TableModel, excess, law_of
from tiny import ARCHITECTURES, tiny_model

from skd_lab.errors import SkdError, UsageError
from skd_lab.projection import Projection
from skd_lab.rollout import reference_rollout, student_rollout, teacher_rollout
from skd_lab.sampling import GREEDY, SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout

PLAIN = SamplingPolicy()
PROMPTS = [[5, 6, 7], [9], [3, 4, 5, 6, 7, 8, 9, 10], [20, 21]]


def roll(student, teacher, prompts=PROMPTS, **changes):
    settings = dict(
        accept_top_k=4, gamma=3, max_new_tokens=12, eos_token_ids=[1, 2],
        student_policy=PLAIN, teacher_policy=PLAIN,
    ) | changes  # fmt: skip
    settings.setdefault("uniforms", draw_uniforms(3, len(prompts), settings["max_new_tokens"]))
    return interleaved_rollout(student, teacher, prompts, **settings)


def algorithm_1_keeps(k):
    """q inside the teacher's top K, and of the rest a draw from p."""

    def keep(q, p, place):
        top = sorted(range(4), key=lambda i: (-p[i], i))[:k]
        refused = sum(q[i] for i in range(4) if i not in top)
        return [(q[i] if i in top else 0.0) + refused * p[i] for i in range(4)]

    return keep


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("gamma", [1, 3])
def test_kept_tokens_follow_the_law_computed_by_hand(k, gamma):
    rows, length, eos = 6_000, 3, 1
    rollouts = roll(
        TableModel(STUDENT_TABLE), TableModel(TEACHER_TABLE), [[0]] * rows,
        accept_top_k=k, gamma=gamma, max_new_tokens=length, eos_token_ids=[eos],
    )  # fmt: skip
    assert excess(rollouts, law_of(algorithm_1_keeps(k), length, eos)) < 5
    # and the test has teeth: the law of another K is far off
    assert excess(rollouts, law_of(algorithm_1_keeps(k + 1), length, eos)) > 20


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_teacher_hidden_states_are_those_of_a_full_forward(architecture):
    student = tiny_model(architecture, seed=1)
    teacher = tiny_model(architecture, seed=2, hidden_size=24)
    for rollout in roll(student, teacher, keep_teacher_hidden=True):
        assert rollout.teacher_hidden.shape == (len(rollout.completion_ids), 24)
        made = Projection.of(teacher).logits(rollout.teacher_hidden)
        for t in range(len(rollout.completion_ids)):
            prefix = rollout.prompt_ids + rollout.completion_ids[:t].tolist()
            # gemma2's eager softmax runs in float32 also in a float64 model
            torch.testing.assert_close(made[t], next_logits(teacher, prefix), rtol=0, atol=1e-4)
            expected = made[t].detach().log_softmax(-1)[rollout.completion_ids[t]]
            assert abs(float(rollout.trace.teacher_log_prob[t] - expected)) < 1e-5


def test_log_probs_on_record_are_those_of_the_kept_token():
    student, teacher = tiny_model("qwen3", seed=1), tiny_model("qwen3", seed=2)
    for rollout in roll(student, teacher):
        for t, kept in enumerate(rollout.completion_ids.tolist()):
            prefix = rollout.prompt_ids + rollout.completion_ids[:t].tolist()
            for model, seen in (
                (student, rollout.trace.student_log_prob),
                (teacher, rollout.trace.teacher_log_prob),
            ):
                expected = next_logits(model, prefix).log_softmax(-1)[kept]
                assert abs(float(seen[t] - expected)) < 1e-5


def test_an_eos_in_mid_block_drops_the_tail():
    # the student always counts on: 0 1 2 3 0 1 ...; the teacher agrees
    def certain(i):
        return [0.97 if token == (i + 1) % 4 else 0.01 for token in range(4)]

    model = TableModel([certain(i) for i in range(4)])
    (rollout,) = roll(
        model, model, [[0]], gamma=8, eos_token_ids=[2], max_new_tokens=20, student_policy=GREEDY
    )
    assert rollout.completion_ids.tolist() == [1, 2]
    assert rollout.finished and rollout.discarded == 0  # the student itself stops at its eos


def test_any_of_several_eos_ids_ends_a_row_and_the_others_go_on():
    student, teacher = tiny_model("llama", seed=1), tiny_model("llama", seed=2)
    free = roll(student, teacher, eos_token_ids=[])
    assert {len(r.completion_ids) for r in free} == {12} and not any(r.finished for r in free)
    texts = [r.completion_ids.tolist() for r in free]
    eos = [texts[0][3], texts[2][6]]
    for rollout, text in zip(roll(student, teacher, eos_token_ids=eos), texts, strict=True):
        ends = [t for t, token in enumerate(text) if token in eos]
        assert rollout.completion_ids.tolist() == (text[: ends[0] + 1] if ends else text)
        assert rollout.finished == bool(ends)


def test_padding_ids_are_never_sampled_nor_ranked():
    # the last ids of the embedding are padding; both models are made to love them
    student = tiny_model("qwen3", seed=1, vocab_size=40)
    teacher = tiny_model("qwen3", seed=2, vocab_size=48)
    with torch.no_grad():
        for model in (student, teacher):
            model.lm_head.weight[32:] = 50 * torch.randn(model.lm_head.weight[32:].shape)
    prompts = [[3, 4], [5]]
    rollouts = roll(student, teacher, prompts, vocab_size=32, accept_top_k=32, eos_token_ids=[])
    for rollout in rollouts:
        assert int(rollout.completion_ids.max()) < 32
        assert int(rollout.trace.teacher_rank.max()) <= 32
    with pytest.raises(UsageError, match="40 logits and the teacher 48"):
        roll(student, teacher, prompts)
    with pytest.raises(UsageError, match="between 1 and 40"):
        roll(student, teacher, prompts, vocab_size=41)


@pytest.mark.parametrize("training", [False, True])
def test_modes_are_left_as_found_even_after_an_error(training):
    student, teacher = tiny_model("qwen3", seed=1), tiny_model("qwen3", seed=2)
    student.train(training)
    student.model.layers[1].eval()
    found = [m.training for m in itertools.chain(student.modules(), teacher.modules())]
    roll(student, teacher)
    with torch.no_grad():
        student.lm_head.weight[:] = float("nan")
    with pytest.raises(SkdError, match="not finite"):
        roll(student, teacher)
    assert [m.training for m in itertools.chain(student.modules(), teacher.modules())] == found
    assert torch.is_grad_enabled()


def test_gradient_checkpointing_neither_changes_the_text_nor_turns_the_cache_off(monkeypatch):
    student, teacher = tiny_model("qwen3", seed=1), tiny_model("qwen3", seed=2)
    plain = [r.completion_ids.tolist() for r in roll(student, teacher)]
    student.train()
    student.gradient_checkpointing_enable()
    fed = []
    forward = type(student).forward

    def watched(self, *args, **kwargs):
        fed.append(kwargs["input_ids"].shape[1])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(student), "forward", watched)
    assert [r.completion_ids.tolist() for r in roll(student, teacher)] == plain
    assert student.is_gradient_checkpointing and student.training
    assert max(fed[2:]) <= 3  # after the two prefills never more than a block: the cache is on


def test_sampled_states_can_take_part_in_a_loss():
    student, teacher = tiny_model("qwen3", seed=1), tiny_model("qwen3", seed=2)
    hidden = roll(student, teacher, keep_teacher_hidden=True)[0].teacher_hidden
    weight = torch.ones(hidden.shape[-1], dtype=hidden.dtype, requires_grad=True)
    (hidden @ weight).sum().backward()  # inference tensors would refuse
    assert weight.grad is not None


def test_a_state_that_cannot_roll_back_is_run_token_by_token():
    student = tiny_model("qwen3_next", seed=1, dtype=torch.float32)
    teacher = tiny_model("qwen3_next", seed=2, dtype=torch.float32)
    together = roll(student, teacher, gamma=5)
    for rollout, prompt, row in zip(together, PROMPTS, range(4), strict=True):
        uniforms = draw_uniforms(3, 1, 12, first_row=row)
        (alone,) = roll(student, teacher, [prompt], gamma=1, uniforms=uniforms)
        assert rollout.completion_ids.tolist() == alone.completion_ids.tolist()
        assert rollout.trace.block.tolist() == list(range(len(rollout.completion_ids)))
        assert rollout.discarded == 0
        ids = list(prompt)
        for kept, rank in zip(
            rollout.completion_ids.tolist(), rollout.trace.teacher_rank.tolist(), strict=True
        ):
            logits = next_logits(student, ids), next_logits(teacher, ids)
            assert rank <= 4 or kept == int(
                _draw(logits[1], draw_uniforms(3, 4, 12)[1, row, len(ids) - len(prompt)])
            )
            ids.append(kept)


def _draw(logits, uniform):
    from skd_lab.sampling import sample

    return sample(logits[None], PLAIN, uniform[None])[0]


def test_a_recurrent_teacher_beside_an_attention_student():
    student = tiny_model("qwen3", seed=1, dtype=torch.float32)
    teacher = tiny_model("qwen3_next", seed=2, dtype=torch.float32)
    whole = roll(student, teacher, accept_top_k=32)
    alone = student_rollout(
        student, PROMPTS, max_new_tokens=12, policy=PLAIN,
        uniforms=draw_uniforms(3, 4, 12)[0], eos_token_ids=[1, 2],
    )  # fmt: skip
    for one, other in zip(whole, alone, strict=True):
        assert one.completion_ids.tolist() == other.completion_ids.tolist()


def test_teacher_rollout_records_the_teacher():
    teacher = tiny_model("gemma3", seed=2)
    rollouts = teacher_rollout(
        teacher, PROMPTS, max_new_tokens=9, policy=PLAIN, uniforms=draw_uniforms(1, 4, 9)[1],
        eos_token_ids=[1], keep_teacher_hidden=True, first_row=7,
    )  # fmt: skip
    for row, rollout in enumerate(rollouts):
        assert rollout.row == 7 + row
        assert set(rollout.trace.source) == {"teacher"}
        assert rollout.verified == rollout.replaced == 0  # nothing was proposed
        made = Projection.of(teacher).logits(rollout.teacher_hidden).log_softmax(-1)
        chosen = made.gather(1, rollout.completion_ids[:, None])[:, 0]
        torch.testing.assert_close(rollout.trace.teacher_log_prob, chosen.float())
        assert rollout.trace.student_log_prob.isnan().all()


def test_reference_rollout_keeps_the_answers_as_they_are():
    first, second = reference_rollout([[5], [6, 7]], [[8, 1], [9]], eos_token_ids=[1, 2])
    assert first.completion_ids.tolist() == [8, 1] and first.finished
    assert second.completion_ids.tolist() == [9] and not second.finished
    assert set(first.trace.source) == {"reference"} and first.verified == 0
    with pytest.raises(UsageError, match="2 prompts and 1 references"):
        reference_rollout([[5], [6]], [[8]], eos_token_ids=[1])
    with pytest.raises(UsageError, match="reference of prompt 1 is empty"):
        reference_rollout([[5], [6]], [[8], []], eos_token_ids=[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accept_top_k": 0}, "accept_top_k must be at least 1, got 0"),
        ({"gamma": 0}, "gamma must be at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"prompts": []}, "list of prompts is empty"),
        ({"prompts": [[3], []], "uniforms": draw_uniforms(0, 2, 12)}, "Prompt 1 is empty"),
        ({"uniforms": draw_uniforms(0, 3, 12)}, "3 rows of 12 positions, but 4 prompts"),
        ({"uniforms": draw_uniforms(0, 4, 11)}, "4 rows of 11 positions"),
        ({"prompts": [[3] * 250]}, "context of Qwen3ForCausalLM, 256 tokens"),
    ],
)
def test_a_request_that_cannot_end_well_is_refused(changes, message):
    model = tiny_model("qwen3", seed=1)
    with pytest.raises(UsageError, match=message):
        roll(model, model, **changes)


def test_an_attention_without_masks_is_refused():
    model = tiny_model("qwen3", seed=1)
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UsageError, match="attn_implementation='sdpa'"):
        roll(model, model)
