"""One update: equal to a computation by hand in any microbatches; the teacher stands still."""

import copy

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny import tiny_model

from skd_lab.clock import PhaseClock
from skd_lab.errors import NonFiniteLossError
from skd_lab.methods import get_objective
from skd_lab.optimizers import parameter_groups
from skd_lab.rollout import reference_rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout
from skd_lab.step import StudentLoss, accumulate_gradients

VOCAB = 32
# ragged on purpose: a mean of microbatch means would not be the mean of the window
PROMPTS = [[5, 6, 7], [9], [3, 4, 5, 6], [20, 21], [11], [12, 13], [14], [15, 16, 17]]
ANSWERS = [[8, 1], [9, 4, 4, 6, 1], [7], [8, 9, 1], [3, 3, 3, 3, 3, 3, 1], [5, 1], [6], [7, 7, 1]]


@pytest.fixture
def models():
    return tiny_model("qwen3", seed=1), tiny_model("qwen3", seed=2, hidden_size=24)


def references():
    return reference_rollout(PROMPTS, ANSWERS, eos_token_ids=[1])


def gradients(student, teacher, rollouts, *, objective="forward_kl", microbatch_size=8, **changes):
    """Gradient of every student parameter after one window, and what was measured."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    chosen = get_objective(objective)
    loss = StudentLoss(student, chosen, teacher, VOCAB, changes.pop("temperature", 1.0))
    module = accelerator.prepare(loss)
    student.zero_grad()
    stats = accumulate_gradients(
        accelerator,
        module,
        rollouts,
        teacher=teacher if chosen.divergence else None,
        pad_id=0,
        reduction=changes.pop("reduction", "mean_over_tokens"),
        microbatch_size=microbatch_size,
        clock=PhaseClock(),
    )
    return {name: p.grad.clone() for name, p in student.named_parameters()}, stats


def by_hand(student, teacher, *, reduction="mean_over_tokens"):
    """KL(teacher || student) of the answers, one row and one token at a time, with autograd."""
    student.zero_grad()
    rows = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        ids = torch.tensor([prompt + answer])
        q = student(ids).logits[0].log_softmax(-1)
        with torch.no_grad():
            p = teacher(ids).logits[0].log_softmax(-1)
        places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        rows.append(torch.stack([(p[i].exp() * (p[i] - q[i])).sum() for i in places]))
    if reduction == "mean_over_tokens":
        loss = torch.cat(rows).mean()
    else:
        loss = torch.stack([row.mean() for row in rows]).mean()
    loss.backward()
    return {name: p.grad.clone() for name, p in student.named_parameters()}, loss.item()


def assert_same(one, other, atol=1e-12):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-9, atol=atol, msg=name)


@pytest.mark.parametrize("reduction", ["mean_over_tokens", "mean_over_sequences"])
def test_the_gradient_equals_a_computation_by_hand(models, reduction):
    expected, loss = by_hand(*models, reduction=reduction)
    found, stats = gradients(*models, references(), reduction=reduction)
    assert_same(found, expected)
    assert stats.loss == pytest.approx(loss, rel=1e-9)
    assert stats.tokens == sum(map(len, ANSWERS))


def test_swapping_the_roles_gives_another_gradient(models):
    student, teacher = models
    expected, loss = by_hand(student, teacher)
    twin = tiny_model("qwen3", seed=2)
    _, right = gradients(student, twin, references())
    _, swapped = gradients(twin, student, references())
    assert right.loss != pytest.approx(swapped.loss, rel=1e-3)
    _, reverse = gradients(student, teacher, references(), objective="reverse_kl")
    assert reverse.loss != pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize("reduction", ["mean_over_tokens", "mean_over_sequences"])
@pytest.mark.parametrize("objective", ["forward_kl", "token_nll"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_accumulation_equals_one_batch(models, objective, reduction, size):
    whole, stats = gradients(*models, references(), objective=objective, reduction=reduction)
    parts, again = gradients(
        *models, references(), objective=objective, reduction=reduction, microbatch_size=size
    )
    assert_same(parts, whole)
    assert again.loss == pytest.approx(stats.loss, rel=1e-9)
    assert again.student_entropy == pytest.approx(stats.student_entropy, rel=1e-9)


def test_one_optimizer_step_equals_adamw_by_hand(models):
    student, teacher = models
    expected = copy.deepcopy(student)
    by_hand(expected, teacher)
    decay, rate, eps, b1, b2 = 0.1, 1e-2, 1e-8, 0.9, 0.999
    norm = torch.sqrt(sum((p.grad**2).sum() for p in expected.parameters()))
    with torch.no_grad():
        for p in expected.parameters():
            g = p.grad * min(1.0, 0.5 / (norm + 1e-6))
            m, v = (1 - b1) * g / (1 - b1), (1 - b2) * g**2 / (1 - b2)
            p.mul_(1 - rate * (decay if p.dim() >= 2 else 0))
            p.sub_(rate * m / (v.sqrt() + eps))
    optimizer = torch.optim.AdamW(parameter_groups(student, decay), lr=rate)
    gradients_found, _ = gradients(student, teacher, references())
    torch.nn.utils.clip_grad_norm_(student.parameters(), 0.5)
    optimizer.step()
    for (name, p), q in zip(student.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-7, atol=1e-9, msg=name)


def test_the_teacher_never_has_a_gradient(models):
    student, teacher = models
    before = copy.deepcopy(teacher.state_dict())
    gradients(student, teacher, references())
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(before[name], p) for name, p in teacher.state_dict().items())


def test_what_verification_kept_spares_the_second_teacher_forward(models, monkeypatch):
    student, teacher = models
    asked = dict(
        accept_top_k=4, gamma=3, max_new_tokens=10, eos_token_ids=[1],
        student_policy=SamplingPolicy(), teacher_policy=SamplingPolicy(),
        uniforms=draw_uniforms(0, len(PROMPTS), 10),
    )  # fmt: skip
    kept = interleaved_rollout(student, teacher, PROMPTS, keep_teacher_hidden=True, **asked)
    bare = interleaved_rollout(student, teacher, PROMPTS, **asked)
    again, stats_again = gradients(student, teacher, bare)
    calls = []
    forward = type(teacher).forward
    monkeypatch.setattr(
        type(teacher),
        "forward",
        lambda self, *a, **k: (calls.append(self is teacher), forward(self, *a, **k))[1],
    )
    spared, stats = gradients(student, teacher, kept)
    assert calls and not any(calls)
    assert_same(spared, again, atol=1e-9)
    assert stats.loss == pytest.approx(stats_again.loss, rel=1e-9)
    assert stats.teacher_nll == pytest.approx(stats_again.teacher_nll, rel=1e-9)


def test_teacher_nll_is_that_of_the_text(models):
    _, teacher = models
    _, stats = gradients(*models, references())
    nats = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        with torch.no_grad():
            p = teacher(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        nats += [-float(p[len(prompt) - 1 + t, token]) for t, token in enumerate(answer)]
    assert stats.teacher_nll == pytest.approx(sum(nats) / len(nats), rel=1e-9)


def test_loss_temperature_reaches_the_loss(models):
    _, warm = gradients(*models, references(), temperature=2.0)
    _, plain = gradients(*models, references())
    assert warm.loss != pytest.approx(plain.loss, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_and_names_the_rows(models):
    student, teacher = models
    with torch.no_grad():
        student.lm_head.weight[3, 0] = float("nan")
    with pytest.raises(NonFiniteLossError, match="rows 0, 1, 2"):
        gradients(student, teacher, references(), microbatch_size=3)
