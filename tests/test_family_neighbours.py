"""The neighbours: what each is at its limits, against computations by hand; refused settings."""

import copy
import dataclasses
import json
import math
import shutil

import pytest
import torch
from test_conformance import ANSWERS, TOKENS, VOCAB, logits, scored
from test_methods import request
from tiny import tiny_model

import skd_lab as skd
from skd_lab.batch import collate
from skd_lab.config import RunConfig
from skd_lab.errors import UsageError
from skd_lab.family import adaswitch, ckd, distillm, distillm2, minillm
from skd_lab.losses import (
    reverse_kl,
    skewed_forward_kl,
    skewed_reverse_kl,
    token_weights,
    total_variation,
)
from skd_lab.methods import METHODS, get_method, read_settings
from skd_lab.metrics import written_tokens
from skd_lab.objectives import get_objective
from skd_lab.rollout import reference_rollout


def ids(rollouts):
    return [rollout.completion_ids.tolist() for rollout in rollouts]


def write(name, memory=None, settings=None, **changes):
    method = get_method(name)
    asked = request(
        settings={**method.settings, **(settings or {})},
        memory={} if memory is None else memory,
        **changes,
    )
    return method.write(asked, method.share(None))


def gradient(name, student, teacher, **changes):
    student = student.clone().requires_grad_()
    get_objective(name).of(scored(student, teacher, **changes))[0].backward()
    return student.grad


# policy gradient


def test_over_all_draws_the_policy_gradient_is_that_of_reverse_kl():
    student, teacher = logits(1)[:1], logits(0)[:1]
    q = torch.softmax(student[0], -1)
    expected = torch.zeros(VOCAB, dtype=torch.float64)
    for token in range(VOCAB):
        rollouts = reference_rollout([[5, 6]], [[token]], eos_token_ids=[1])
        seen = dict(batch=collate(rollouts, 0), weights=torch.ones(1, dtype=torch.float64))
        expected += q[token] * gradient("policy_gradient", student, teacher, **seen)[0]
    free = student.clone().requires_grad_()
    reverse_kl(torch.log_softmax(free, -1), torch.log_softmax(teacher, -1)).sum().backward()
    torch.testing.assert_close(expected, free.grad[0], rtol=1e-9, atol=1e-12)


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


# entropy-aware


def test_without_alpha_it_is_reverse_kl():
    q, p = torch.log_softmax(logits(1), -1), torch.log_softmax(logits(0), -1)
    plain = get_objective("entropy_aware", settings={"alpha": 0.0, "clip": 1e9}).divergence(q, p)
    torch.testing.assert_close(plain, reverse_kl(q, p))
    cut = get_objective("entropy_aware", settings={"alpha": 0.0, "clip": 2.0}).divergence(q, p)
    assert cut.max() == 2 and (cut < 2).any()


def test_forward_kl_counts_where_the_teacher_is_unsure():
    sure = torch.log_softmax(torch.tensor([[9.0, 0, 0, 0]], dtype=torch.float64), -1)
    unsure = torch.log_softmax(torch.tensor([[2.0, 1, 1, 0]], dtype=torch.float64), -1)
    student = torch.log_softmax(torch.tensor([[1.0, 3, 0, 0]], dtype=torch.float64), -1)
    with_it = get_objective("entropy_aware").divergence
    assert with_it(student, sure) == reverse_kl(student, sure).clamp(max=10)
    assert with_it(student, unsure) > reverse_kl(student, unsure) + 0.1


# AdaSwitch


def test_the_switch_is_where_the_distance_leaps():
    assert adaswitch.switch_at([1, 1, 1, 1, 9, 1], factor=3, window=4) == 4
    assert adaswitch.switch_at([9, 1, 1, 1, 1, 1], factor=3, window=4) == 6
    assert adaswitch.switch_at([1, 9], factor=3, window=4) == 2


def test_a_student_that_never_strays_writes_everything():
    assert ids(write("adaswitch", settings={"factor": 1e9})) == ids(
        METHODS["on_policy_kd"].write(request())
    )


def test_before_the_switch_the_student_and_behind_it_the_teacher():
    alone = METHODS["on_policy_kd"].write(request())
    switched = 0
    for mine, theirs in zip(
        write("adaswitch", settings={"factor": 1.0, "window": 2}), alone, strict=True
    ):
        hands = mine.trace.source
        kept = hands.index("teacher") if "teacher" in hands else len(hands)
        assert hands == ["student"] * kept + ["teacher"] * (len(hands) - kept)
        assert mine.completion_ids[:kept].tolist() == theirs.completion_ids[:kept].tolist()
        assert len(mine.completion_ids) <= 10 and mine.completion_ids.tolist() == (
            mine.trace.kept_id.tolist()
        )
        assert mine.finished == (int(mine.completion_ids[-1]) == 1)
        switched += kept < len(hands)
        # what the student wrote and nobody kept was paid for
        assert written_tokens([mine])["student_tokens"] == len(theirs.completion_ids)
    assert switched > 2


# comparative KD


def test_all_pairs_equal_the_closed_form():
    student, teacher = logits(1), logits(0)
    objective = get_objective("comparative", settings={"anchor": 0.0})
    loss, _, _ = objective.of(scored(student, teacher))
    e = ckd.error(torch.log_softmax(student, -1), torch.log_softmax(teacher, -1))
    pairs = (e[:, None] - e[None]).square().sum(-1).mean() / VOCAB
    torch.testing.assert_close(loss, pairs)


def test_what_all_samples_share_is_seen_by_the_anchor_alone():
    student, teacher = logits(1), logits(0)
    shared = torch.linspace(-1, 2, VOCAB, dtype=torch.float64)

    def loss(moved, anchor):
        objective = get_objective("comparative", settings={"anchor": anchor})
        return objective.of(scored(moved, teacher))[0].item()

    assert loss(student + shared, 0.0) == pytest.approx(loss(student, 0.0), rel=1e-12)
    assert abs(loss(student + shared, 1.0) - loss(student, 1.0)) > 0.1


def test_the_order_of_the_samples_does_not_matter():
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(0))
    plain, moved = (
        get_objective("comparative").of(scored(logits(1)[o], logits(0)[o]))[0]
        for o in (torch.arange(TOKENS), order)
    )
    torch.testing.assert_close(plain, moved, rtol=1e-12, atol=0)


def test_one_token_cannot_be_compared():
    rollouts = reference_rollout([[5]], [[7]], eos_token_ids=[1])
    seen = scored(logits(1)[:1], logits(0)[:1], batch=collate(rollouts, 0),
                  weights=torch.ones(1, dtype=torch.float64))  # fmt: skip
    with pytest.raises(UsageError, match="has only 1. Raise --microbatch-size"):
        get_objective("comparative").of(seen)


def test_the_teacher_is_asked_for_no_more_than_the_budget():
    memory, looked = {}, []
    teacher = tiny_model("qwen3", seed=2, hidden_size=24)
    teacher.register_forward_hook(lambda _, args, out: looked.append(1))
    first = write("ckd", memory, {"budget": 13}, teacher=teacher)
    assert memory["ckd"]["spent"] == 12 and len(memory["ckd"]["cache"]) == 3 and len(looked) == 1
    # three references of four tokens fit; the other rows use them again
    assert ids(first[:3]) == [[3, 4, 9 + row, 1] for row in range(3)]
    assert all(rollout.completion_ids.tolist() in ids(first[:3]) for rollout in first)
    again = write("ckd", memory, {"budget": 13}, teacher=teacher)
    assert len(looked) == 1 and ids(again) == ids(first)
    assert all(rollout.teacher_hidden.shape == (4, 24) for rollout in again)


@pytest.mark.parametrize(
    "budget, says", [(0, "budget must be at least 1 token, got 0"), (3, "3 tokens is less than")]
)
def test_a_budget_for_nothing_is_refused(budget, says):
    with pytest.raises(UsageError, match=says):
        write("ckd", settings={"budget": budget})


# what is paid for


@pytest.mark.parametrize(
    "name, student, teacher",
    [
        ("ckd", False, False),
        ("uld", False, False),
        ("policy_gradient_kd", True, False),
        ("entropy_aware_kd", True, False),
        ("minillm", True, False),
        ("distillm", True, False),
        ("distillm2", True, True),
        ("f_distill_tvd", True, True),
    ],
)
def test_who_samples_is_counted(name, student, teacher):
    counts = written_tokens(write(name))
    assert (counts["student_tokens"] > 0) == student
    assert (counts["teacher_tokens"] > 0) == teacher


# settings and rows


def test_settings_are_read_for_the_method_and_the_objective():
    method = get_method("ckd")
    assert read_settings("budget=7, anchor=0", method, "comparative") == (
        {"budget": 7.0}, {"anchor": 0.0},
    )  # fmt: skip
    # a name that both know goes to both
    assert read_settings("teacher_share=0.4", get_method("minillm"), "minillm") == (
        {"teacher_share": 0.4}, {"teacher_share": 0.4},
    )  # fmt: skip
    with pytest.raises(UsageError, match="no setting 'rank'. It has: budget=2000, anchor=1"):
        read_settings("rank=4", method, "comparative")
    with pytest.raises(UsageError, match="'much' is no number. Write budget=2000"):
        read_settings("budget=much", method, "comparative")


def test_an_objective_joins_the_methods_whose_text_it_is_made_for():
    assert METHODS["skd"].takes("correlation") and METHODS["supervised_kd"].takes("correlation_ce")
    assert not METHODS["sft"].takes("correlation")
    assert not METHODS["on_policy_kd"].takes("correlation_ce")
    with pytest.raises(UsageError, match="'skd' is not defined with objective 'policy_gradient'"):
        METHODS["skd"].objective_name("policy_gradient")


@pytest.mark.parametrize(
    "name, settings, says",
    [
        ("minillm", {"teacher_share": 1}, r"teacher_share must be in \[0, 1\), got 1"),
        ("policy_gradient", {"scale": 0}, "scale must be above 0"),
        ("contrastive", {"on_student": 3}, r"on_student must be in \[0, 2\]"),
        ("entropy_aware", {"top": 1}, "top must be at least 2"),
        ("comparative", {"anchor": -1}, "anchor must not be negative"),
        ("relative_difficulty", {"switch": 2}, r"switch must be in \[0, 1\], got 2"),
    ],
)
def test_numbers_that_cannot_be_are_refused(name, settings, says):
    with pytest.raises(UsageError, match=says):
        get_objective(name, settings=settings)


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


FAMILY = [name for name in METHODS if METHODS[name].source.startswith("after")]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
def test_every_registered_method_trains_by_command(name, tmp_path, capsys):
    from skd_lab.cli import main

    command = f"train --pair tiny-qwen3 --method {name} --n-prompts 6 --steps 2 --batch-size 3"
    command += " --max-new-tokens 12 --trace-prompts 0 --quiet --device cpu"
    assert main([*command.split(), "--run-dir", str(tmp_path / "run")]) == 0
    assert f"2 of {name}" in capsys.readouterr().out
    steps = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").open()]
    assert [step["step"] for step in steps] == [1, 2]
    assert all(math.isfinite(step["loss"]) and step["grad_norm"] > 0 for step in steps)
