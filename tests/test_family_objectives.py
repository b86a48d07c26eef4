"""Correlation matching, relative difficulty: identity, limit case, mechanism, control."""

import math

import pytest
import torch
from test_conformance import ANSWERS, TOKENS, logits, scored
from tiny import tiny_model

from skd_lab.errors import UsageError
from skd_lab.family import cmkd, markov, rdd
from skd_lab.losses import forward_kl
from skd_lab.objectives import get_objective


def log_probs(seed, tokens=6, vocab=10, sharpness=2.0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(tokens, vocab, generator=generator, dtype=torch.float64) * sharpness
    return torch.log_softmax(rows, -1)


SHAPE = dict(top=10, tau=0.1, sharpness=2.0)


def test_pearson_forgets_scale_and_place():
    x, y = log_probs(0), log_probs(1)
    torch.testing.assert_close(cmkd.pearson(x, 3 * y - 5), cmkd.pearson(x, y), rtol=0, atol=1e-14)
    assert cmkd.pearson(x, x).sub(1).abs().max() < 1e-12
    assert cmkd.pearson(x, -x).add(1).abs().max() < 1e-12
    by_numpy = torch.corrcoef(torch.stack([x[0], y[0]]))[0, 1]
    torch.testing.assert_close(cmkd.pearson(x, y)[0], by_numpy)


def test_soft_ranks_become_ranks_when_the_softness_goes():
    z = cmkd.standardise(log_probs(0))
    wanted = z.argsort(-1).argsort(-1).double() + 0.5
    torch.testing.assert_close(cmkd.soft_rank(z, 1e-4), wanted, rtol=0, atol=1e-6)


def test_the_same_order_on_another_scale_has_no_rank_distance():
    teacher = log_probs(0)
    # a cube and a line keep the order of standardised values and nothing else
    values = cmkd.standardise(teacher)
    student = torch.log_softmax(values**3 + values, -1)
    soft = [cmkd.soft_rank(cmkd.standardise(z), 1e-6) for z in (student, teacher)]
    torch.testing.assert_close(cmkd.pearson(*soft), torch.ones(6, dtype=torch.float64))
    assert cmkd.correlation_distance(student, teacher, **SHAPE).min() > 1e-3


def test_a_sharper_student_is_the_same_to_the_correlations_and_not_to_the_anchor():
    teacher = log_probs(0)
    sharper = torch.log_softmax(3 * teacher, -1)
    assert cmkd.correlation_distance(sharper, teacher, **SHAPE).abs().max() < 1e-6
    both = get_objective("correlation").divergence(sharper, teacher)
    torch.testing.assert_close(both, forward_kl(sharper, teacher), rtol=0, atol=1e-5)


def test_a_teacher_without_an_order_asks_for_none():
    flat = torch.full((2, 10), -math.log(10), dtype=torch.float64)
    student = log_probs(1, tokens=2).requires_grad_()
    distance = cmkd.correlation_distance(student, flat, **SHAPE)
    distance.sum().backward()
    assert distance.tolist() == [0.0, 0.0] and student.grad.abs().max() == 0


def test_a_student_without_an_order_has_a_finite_gradient():
    student = torch.zeros(2, 10, dtype=torch.float64, requires_grad=True)
    cmkd.correlation_distance(
        torch.log_softmax(student, -1), log_probs(0, 2), **SHAPE
    ).sum().backward()
    assert torch.isfinite(student.grad).all()


def test_difficulty_decides_which_correlation_counts():
    sure = torch.log_softmax(torch.tensor([[30.0, 1, 0, -1]], dtype=torch.float64), -1)
    student = torch.log_softmax(torch.tensor([[30.0, -1, 0, 1]], dtype=torch.float64), -1)
    # h is 0: the swapped tail has another order, but nearly the same values
    assert cmkd.correlation_distance(student, sure, top=4, tau=0.1, sharpness=2.0).item() < 0.01


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"top": 1}, "one id has no order"),
        ({"tau": 0}, "tau must be above 0, got 0. Use 0.1"),
        ({"weight": -1}, "weight must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, says):
    with pytest.raises(UsageError, match=says):
        get_objective("correlation", settings=settings)
    with pytest.raises(UsageError, match="no budget. Leave it out"):
        get_objective("correlation", settings={"budget": 3})


@pytest.mark.slow
def test_the_order_is_learned_and_a_shuffled_one_is_not():
    source, text, teacher = markov.lab(0, tokens=10_000, steps=150)
    found = {}
    for name in ("forward_kl", "correlation"):
        student = markov.predictor(markov.STUDENT_WIDTH, 50)
        markov.train(
            student, text, seed=0, steps=80, objective=get_objective(name), teacher=teacher
        )
        found[name] = markov.distances(student, teacher, source)
    assert found["correlation"]["spearman"] > found["forward_kl"]["spearman"] + 0.01
    assert abs(found["correlation"]["true_nll"] - found["forward_kl"]["true_nll"]) < 0.1


# relative difficulty


def test_a_weight_is_one_where_the_heads_agree():
    final, early = log_probs(0), log_probs(1)
    weights = rdd.easy_for_teacher(early, final)
    assert ((weights > 0) & (weights < 1)).all()
    assert rdd.easy_for_teacher(final, final).sub(1).abs().max() < 1e-14
    # the early head comes first: KL(early || final)
    by_hand = (early.exp() * (early - final)).sum(-1)
    torch.testing.assert_close(weights, torch.exp(-by_hand))


def test_the_mask_of_two_by_two_tokens():
    of_student = torch.tensor([0.9, 0.9, 0.2, 0.2])
    of_teacher = torch.tensor([0.9, 0.2, 0.9, 0.2])
    assert rdd.hard_for_one(of_student, of_teacher, 0.7).tolist() == [False, True, True, False]


def test_a_student_that_is_the_teacher_leaves_stage_two_empty():
    same = logits(0)
    loss, nats, _ = get_objective("relative_difficulty").of(scored(same, same, progress=0.5))
    assert loss == 0 and torch.isfinite(nats).all()


def test_stage_one_ends_at_the_switch():
    def value(progress, **settings):
        objective = get_objective("relative_difficulty", settings=settings)
        return objective.of(scored(logits(1), logits(0), progress=progress))[0].item()

    assert value(0.09) != value(0.1) == value(0.9)
    assert value(0.9, switch=1.0) == value(0.0)


def test_the_middle_layer_is_read_through_the_norm_and_the_head():
    seen = scored(logits(1), logits(0))
    states = rdd.early_states(seen.teacher, seen)
    out = seen.teacher(
        seen.batch.input_ids, attention_mask=seen.batch.attention_mask, output_hidden_states=True
    )
    row, place = 1, 2  # the third token of the second answer
    wanted = seen.teacher.model.norm(out.hidden_states[1][row, place])
    torch.testing.assert_close(states[len(ANSWERS[0]) + 2], wanted)
    assert len(states) == TOKENS


def test_a_teacher_without_layers_in_between_is_refused():
    thin = tiny_model("qwen3", seed=2, vocab_size=12, layers=1)
    with pytest.raises(UsageError, match="reads a middle layer.*has 1 layers"):
        rdd.early_states(thin, scored(logits(1), logits(0)))
