"""The neighbours: what each is at its limits, against computations by hand; refused settings."""

import json
import math

import pytest
import torch
from neighbour_texts import gradient, ids, write
from test_conformance import VOCAB, logits
from test_methods import request

from skd_lab.batch import collate
from skd_lab.cli import main
from skd_lab.errors import UsageError
from skd_lab.family import adaswitch
from skd_lab.losses import (
    reverse_kl,
)
from skd_lab.methods import METHODS, get_method, read_settings
from skd_lab.metrics import written_tokens
from skd_lab.objectives import get_objective
from skd_lab.rollout import reference_rollout

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


@pytest.mark.slow
def test_workers_of_the_command_know_the_methods_of_related_systems(tmp_path, capsys):
    words = ["compare", "--axis", "method=f_distill_tvd,skd", "--axis", "prompts=8"]
    words += ["--set", "steps=1", "--set", "eval_prompts=2", "--test-prompts", "2"]
    assert main([*words, "--workers", "2", "--out", str(tmp_path), "--quiet"]) == 0
    assert "4 cells done, 0 failed" in capsys.readouterr().out
