"""What every objective of the library keeps, the core's and the registered ones alike.

The points are those of a minimal suite for a distillation loss: value at equality, gradient,
masking, shift invariance, a teacher without a gradient, float32 inside, microbatches that add up.
"""

import importlib.util

import pytest
import torch
from tiny import tiny_model

from skd_lab.batch import collate
from skd_lab.losses import token_weights
from skd_lab.objectives import OBJECTIVES, get_objective
from skd_lab.projection import Projection, chunked_nll
from skd_lab.rollout import reference_rollout
from skd_lab.scored import Scored

if importlib.util.find_spec("skd_lab.family"):
    importlib.import_module("skd_lab.family")

VOCAB = 12
PROMPTS = [[5, 6, 7], [9], [3, 4]]
ANSWERS = [[8, 2, 1], [9, 4, 4, 6, 1], [7, 1]]
TOKENS = sum(map(len, ANSWERS))

NOT_ZERO = {
    # objective: what it is at q = p
    "token_nll": "the text's own cross-entropy",
    "correlation_ce": "its anchor is the text's own cross-entropy",
    "uld": "the same",
}
NOT_POSITIVE = {
    "policy_gradient": "an estimate of reverse KL from one token, of either sign",
    "minillm": "the same for the tokens behind it",
}
"""Objectives whose value says little: the gradient counts, and has a test of its own."""
STOPPED = {
    **NOT_POSITIVE,
    "contrastive": "its mixtures and skews are constants, as in the code",
}
"""Objectives whose gradient is not that of their value, on purpose."""
NOT_A_SUM = {"comparative": "the mean of a microbatch is taken out of it"}
"""Objectives that compare tokens of a microbatch with each other."""

every_objective = pytest.mark.parametrize("name", list(OBJECTIVES))


def logits(seed, dtype=torch.float64, tokens=TOKENS):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, VOCAB, generator=generator, dtype=torch.float64).mul(2).to(dtype)


TEACHER, TWIN = (tiny_model("qwen3", seed=2, vocab_size=VOCAB) for _ in range(2))
STUDENT = tiny_model("qwen3", seed=1, vocab_size=VOCAB)


def scored(student, teacher, /, *, rows=range(3), progress=0.5, **changes):
    """A microbatch whose hidden states are the logits themselves: the heads are identities."""
    rollouts = reference_rollout([PROMPTS[i] for i in rows], [ANSWERS[i] for i in rows], [1])
    batch = collate(rollouts, pad_id=0)
    head = Projection(torch.eye(VOCAB, dtype=student.dtype))
    settings = dict(
        batch=batch,
        weights=token_weights("mean_over_tokens", batch.lengths, TOKENS),
        student=STUDENT,
        teacher=TEACHER,
        student_hidden=student,
        student_head=head,
        teacher_hidden=teacher,
        teacher_head=Projection(torch.eye(VOCAB, dtype=teacher.dtype)),
        memory={"progress": progress},
    )
    return Scored(**(settings | changes))


def loss_of(name, student, teacher, /, **changes):
    objective, seen = get_objective(name), scored(student, teacher, **changes)
    if not objective.asks_teacher:
        return chunked_nll(student, seen.student_head, seen.ids, seen.weights)
    return objective.of(seen)


@every_objective
def test_equal_models_leave_nothing_to_learn(name):
    same = logits(0)
    student = same.clone().requires_grad_()
    # the models behind the states, too: some objectives go through them again
    loss, nats, entropy = loss_of(name, student, same, student=TWIN)
    assert nats.shape == entropy.shape == (TOKENS,)
    if name in NOT_ZERO:
        assert loss > 0.1
    else:
        assert loss.abs() < 1e-12 and nats.abs().max() < 1e-6
        loss.backward()
        assert student.grad.abs().max() < 1e-7


@every_objective
def test_different_models_leave_something(name):
    for seed in range(1, 6):
        student = logits(seed).requires_grad_()
        loss, _, _ = loss_of(name, student, logits(0))
        loss.backward()
        assert student.grad.abs().max() > 1e-4
        if name not in NOT_POSITIVE:
            assert loss > 1e-3


@every_objective
@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_the_gradient_is_that_of_the_value(name, progress):
    if name in STOPPED:
        pytest.skip(STOPPED[name])
    teacher, student = logits(0), logits(1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: loss_of(name, z, teacher, progress=progress)[0], (student,), fast_mode=True
    )


@every_objective
def test_a_token_without_weight_has_no_gradient(name):
    student = logits(1).requires_grad_()
    weights = token_weights("mean_over_tokens", torch.tensor([3, 5, 2]))
    weights[4:6] = 0.0
    loss_of(name, student, logits(0), weights=weights)[0].backward()
    silent = student.grad.abs().sum(-1) == 0
    assert silent[4:6].all()
    assert not silent[:3].all() and not silent[8:].all()


@every_objective
def test_a_constant_on_a_row_of_logits_changes_nothing(name):
    teacher, student = logits(0), logits(1)
    shift = torch.linspace(-3, 5, TOKENS, dtype=torch.float64)[:, None]
    plain, moved = loss_of(name, student, teacher), loss_of(name, student + shift, teacher + 1.5)
    torch.testing.assert_close(plain[0], moved[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(plain[1], moved[1], rtol=1e-9, atol=1e-9)


@every_objective
def test_the_teacher_has_no_gradient(name):
    teacher = logits(0).requires_grad_()
    student = logits(1).requires_grad_()
    loss_of(name, student, teacher)[0].backward()
    assert teacher.grad is None and student.grad is not None
    assert all(parameter.grad is None for parameter in TEACHER.parameters())


@every_objective
def test_low_precision_is_worked_in_float32(name):
    student, teacher = logits(1, torch.bfloat16), logits(0, torch.bfloat16)
    low = loss_of(name, student, teacher)
    exact = loss_of(name, student.double(), teacher.double())
    assert low[0].dtype in (torch.float32, torch.float64)
    # bfloat16 arithmetic would be off by 4e-3
    torch.testing.assert_close(low[0].double(), exact[0], rtol=1e-4, atol=1e-5)


@every_objective
def test_microbatches_add_up_to_the_window(name):
    if name in NOT_A_SUM:
        pytest.skip(NOT_A_SUM[name])
    student, teacher = logits(1), logits(0)
    whole, parts, start = loss_of(name, student, teacher)[0], 0.0, 0
    for row, answer in enumerate(ANSWERS):
        place = slice(start, start + len(answer))
        parts = parts + loss_of(name, student[place], teacher[place], rows=[row])[0]
        start += len(answer)
    torch.testing.assert_close(whole, parts, rtol=1e-9, atol=1e-12)


@every_objective
def test_the_teacher_is_measured_on_the_way(name):
    if not get_objective(name).asks_teacher:
        pytest.skip("asks no teacher")
    seen = scored(logits(1), logits(0))
    get_objective(name).of(seen)
    wanted = -torch.log_softmax(logits(0), -1).gather(-1, seen.ids[:, None]).squeeze(-1)
    torch.testing.assert_close(seen.teacher_nll, wanted)
