"""MiniLLM, DistiLLM, DistiLLM-2 and f-DISTILL at their limits, against computations by hand."""

import copy
import dataclasses
import shutil

import pytest
import torch
from neighbour_texts import gradient, ids, write
from test_conformance import ANSWERS, TOKENS, VOCAB, logits, scored
from test_methods import request

import skd_lab as skd
from skd_lab.batch import collate
from skd_lab.config import RunConfig
from skd_lab.errors import UsageError
from skd_lab.family import distillm, distillm2, minillm
from skd_lab.losses import (
    reverse_kl,
    skewed_forward_kl,
    skewed_reverse_kl,
    token_weights,
    total_variation,
)
from skd_lab.methods import METHODS
from skd_lab.objectives import get_objective

# MiniLLM


def test_a_token_answers_for_what_comes_behind_it():
    rewards = torch.tensor([1.0, 2.0, 4.0, 5.0, 7.0])
    found = minillm.future(rewards, torch.tensor([3, 2]))
    assert found.tolist() == [6 / 3, 4 / 2, 0, 7 / 2, 0]


def test_at_the_last_token_minillm_is_reverse_kl_and_before_it_is_not():
    student, teacher = logits(1), logits(0)
    free = student.clone().requires_grad_()
    nats = reverse_kl(torch.log_softmax(free, -1), torch.log_softmax(teacher, -1))
    (nats.sum() / TOKENS).backward()
    found = gradient("minillm", student, teacher)
    last = torch.tensor([len(answer) for answer in ANSWERS]).cumsum(0) - 1
    torch.testing.assert_close(found[last], free.grad[last], rtol=1e-9, atol=1e-12)
    assert (found[0] - free.grad[0]).abs().max() > 1e-3


def test_behind_the_next_token_minillm_is_the_score_function():
    student, teacher = logits(1), logits(0)
    q, p = torch.log_softmax(student, -1), torch.log_softmax(teacher, -1)
    seen = scored(student, teacher)
    log_q, log_p = (x.gather(-1, seen.ids[:, None]).squeeze(-1) for x in (q, p))
    advantage = minillm.future(log_p - log_q, seen.batch.lengths)
    weight = log_q.exp() / (0.2 * log_p.exp() + 0.8 * log_q.exp())
    one_hot = torch.nn.functional.one_hot(seen.ids, VOCAB).double()
    free = student.clone().requires_grad_()
    reverse_kl(torch.log_softmax(free, -1), p).sum().backward()
    wanted = free.grad - (weight * advantage)[:, None] * (one_hot - q.exp())
    torch.testing.assert_close(
        gradient("minillm", student, teacher), wanted / TOKENS, rtol=1e-8, atol=1e-10
    )


def test_the_mix_is_the_mix():
    student, teacher = logits(1), logits(0)
    wanted = 0.2 * torch.softmax(teacher, -1) + 0.8 * torch.softmax(student, -1)
    torch.testing.assert_close(minillm.mix(student, teacher, 0.2).exp(), wanted)
    assert minillm.mix(student, teacher, 0.0) is student


def test_without_a_share_of_the_teacher_the_text_is_the_students():
    alone = METHODS["on_policy_kd"].write(request())
    mixed = write("minillm", settings={"teacher_share": 0.0})
    assert ids(mixed) == ids(alone)
    assert ids(write("minillm", settings={"teacher_share": 0.5})) != ids(alone)
    states = mixed[0].teacher_hidden
    assert states.shape == (len(mixed[0].completion_ids), 24)


# DistiLLM


def test_the_share_of_student_text_rises_with_the_loss():
    state = {}
    seen = [distillm.adapt(state, loss, 0.1) for loss in (1.0, 0.8, 0.85, 0.85, 1.0, 1.3, 1.2)]
    assert seen == [0, 0, 0, 0, 0.1, 0.2, 0.2]
    assert distillm.adapt({"share": 1.0, "loss": 0.0}, 5.0, 0.1) == 1.0


def test_without_a_rise_everything_is_a_reference():
    memory = {"kl_references": 0.5}
    rollouts = write("distillm", memory)
    assert {who for rollout in rollouts for who in rollout.trace.source} == {"reference"}
    assert memory["distillm"]["buffer"] == []


def test_student_texts_are_kept_and_used_again():
    memory, settings = {}, {"fixed_share": 1.0, "fresh": 1.0, "capacity": 5}
    new = write("distillm", memory, settings)
    assert ids(new) == ids(METHODS["on_policy_kd"].write(request()))
    kept = [answer for _, answer in memory["distillm"]["buffer"]]
    assert kept == ids(new)[-5:]
    before = copy.deepcopy(memory)
    again = write("distillm", memory, {**settings, "fresh": 1e-9})
    assert all(answer in kept for answer in ids(again))
    assert {who for rollout in again for who in rollout.trace.source} == {"student"}
    # a resumed run has the memory of the checkpoint, so it writes the same
    assert ids(write("distillm", before, {**settings, "fresh": 1e-9})) == ids(again)


def test_the_share_fades_with_the_run():
    assert {
        who
        for rollout in write("distillm", {}, {"fixed_share": 1.0}, progress=1.0)
        for who in rollout.trace.source
    } == {"reference"}


def test_a_buffer_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="fresh in \\(0, 1\\].*got 1000 and 0"):
        write("distillm", settings={"fresh": 0.0})


# DistiLLM-2 and f-DISTILL


@pytest.mark.parametrize("name", ["distillm2", "f_distill_tvd"])
def test_both_write_to_every_prompt(name):
    rollouts = write(name)
    assert ids(rollouts[::2]) == ids(METHODS["teacher_kd"].write(request()))
    assert ids(rollouts[1::2]) == ids(METHODS["on_policy_kd"].write(request()))
    assert (
        [r.row for r in rollouts[::2]] == [r.row for r in rollouts[1::2]] == list(range(100, 108))
    )


@pytest.mark.parametrize(
    "writer, divergence", [("teacher", skewed_forward_kl), ("student", skewed_reverse_kl)]
)
def test_on_one_kind_of_text_it_is_that_kinds_divergence(writer, divergence):
    student, teacher = logits(1), logits(0)
    seen = scored(student, teacher)
    batch = dataclasses.replace(seen.batch, writers=(writer,) * 3)
    skew = distillm2.skew_of(*seen.of_ids(), batch.lengths, 0.1)
    assert 0.01 <= skew.min() and skew.max() <= 0.1
    _, nats, _ = get_objective("contrastive").of(dataclasses.replace(seen, batch=batch))
    q, p = torch.log_softmax(student, -1), torch.log_softmax(teacher, -1)
    for place in range(TOKENS):
        wanted = divergence(q[place], p[place], alpha=float(skew[place]))
        torch.testing.assert_close(nats[place], wanted)


def test_the_gradient_of_the_contrast_stops_at_the_students_mixture():
    student, teacher = logits(1), logits(0)
    p = torch.log_softmax(teacher, -1)
    seen = scored(student, teacher)
    batch = dataclasses.replace(seen.batch, writers=("teacher", "student", "student"))
    skew = distillm2.skew_of(*seen.of_ids(), batch.lengths, 0.1)[:, None]
    free = student.clone().requires_grad_()
    q = torch.log_softmax(free, -1)
    forward = (p.exp() * (p - (skew * p.exp() + (1 - skew) * q.exp()).log())).sum(-1)
    fixed = (skew * q.detach().exp() + (1 - skew) * p.exp()).log()
    reverse = (q.exp() * (q - fixed)).sum(-1)
    by_student = torch.tensor([False] * 3 + [True] * 7)
    (torch.where(by_student, reverse, forward).sum() / TOKENS).backward()
    torch.testing.assert_close(
        gradient("contrastive", student, teacher, batch=batch), free.grad, rtol=1e-8, atol=1e-10
    )


def test_the_skew_grows_with_the_gap():
    def skew(gap):
        log_p = torch.tensor([0.9, 0.9], dtype=torch.float64).log()
        log_q = torch.tensor([0.9 - gap] * 2, dtype=torch.float64).log()
        return distillm2.skew_of(log_q, log_p, torch.tensor([2]), 0.1)[0].item()

    assert skew(0.01) == pytest.approx(0.01)
    assert skew(0.095) == pytest.approx(1 - 0.9 * 0.1 / 0.095)
    assert skew(0.5) == pytest.approx(0.1)


def test_f_distill_is_the_mean_over_both_texts():
    rollouts = write("f_distill_tvd")
    asked = request()
    values = []
    for part in (rollouts, rollouts[::2], rollouts[1::2]):
        batch = collate(part, 0)
        nats = total_variation(
            *(
                model(batch.input_ids, attention_mask=batch.attention_mask).logits.log_softmax(-1)
                for model in (asked.student, asked.teacher)
            )
        )[:, :-1][batch.completion_mask[:, 1:]]
        weights = token_weights("mean_over_sequences", batch.lengths)
        values.append((nats * weights).sum().item())
    assert values[0] == pytest.approx((values[1] + values[2]) / 2)


@pytest.mark.slow
def test_a_resumed_run_has_the_buffer_it_had(tmp_path):
    settings = dict(
        pair="tiny-qwen3", device="cpu", method="distillm", settings="fresh=0.5,fixed_share=1",
        n_prompts=6, steps=4, batch_size=4, max_new_tokens=8, learning_rate=1e-3,
        trace_prompts=0, save_every=2, keep_checkpoints=None, run_dir=str(tmp_path / "run"),
    )  # fmt: skip
    whole = skd.train(RunConfig(**settings), progress=False)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000004")
    again = skd.train(RunConfig(**settings, resume=True), progress=False)
    assert [step.metrics["loss"] for step in again.steps] == [
        step.metrics["loss"] for step in whole.steps
    ]
    kept = torch.load(
        tmp_path / "run" / "checkpoints" / "step-000002" / "memory.pt", weights_only=True
    )
    assert len(kept[0]["distillm"]["buffer"]) > 0
