"""A teacher that moves towards its student: what is trained, what is not, and what holds it."""

import copy

import pytest
import torch

import skd_lab.family  # noqa: F401  registers the row
from skd_lab.errors import UsageError
from skd_lab.family import markov, okd
from skd_lab.losses import forward_kl
from skd_lab.objectives import Objective, get_objective

RANK, RATE = 4, 1e-2


def models(seed=0):
    teacher = markov.predictor(24, seed).double().requires_grad_(False)
    return markov.predictor(8, seed + 1).double(), teacher


def microbatch(student, teacher, memory, seed=0):
    generator = torch.Generator().manual_seed(seed)
    contexts = torch.randint(markov.VOCAB, (40, 2), generator=generator)
    ids = torch.randint(markov.VOCAB, (40,), generator=generator)
    return okd._scored(student, teacher, contexts, ids, memory)


def objective(**settings):
    return get_objective("online_teacher", settings={"rate": RATE, **settings})


def moved(scored):
    online = okd.OnlineTeacher.of_run(scored, "okd", rank=RANK, rate=RATE)
    base = torch.log_softmax(scored.teacher_head.logits(scored.teacher_hidden), -1)
    return online, base, online.log_probs(base, scored.teacher_hidden)


def test_before_the_first_update_it_is_the_teacher_itself():
    student, teacher = models()
    scored = microbatch(student, teacher, {})
    _, base, now = moved(scored)
    assert torch.equal(now, torch.log_softmax(base, -1))
    loss, each, _ = objective().of(scored)
    plain = Objective(name="forward_kl", divergence=forward_kl)
    again = microbatch(student, teacher, {})
    wanted, wanted_each, _ = plain.of(again)
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-12)
    assert torch.allclose(each, wanted_each, rtol=1e-10, atol=1e-12)


def test_the_base_keeps_its_bits_and_only_the_module_learns():
    student, teacher = models()
    before = copy.deepcopy(teacher.state_dict())
    memory = {}
    for seed in range(5):
        objective().of(microbatch(student, teacher, memory, seed))[0].backward()
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    online, base, now = moved(microbatch(student, teacher, memory))
    assert not torch.allclose(base, now, atol=1e-4)
    assert online.parameters == RANK * (24 + markov.VOCAB)


def test_the_modules_gradient_is_that_of_its_own_loss(monkeypatch):
    student, teacher = models()
    memory = {}
    objective().of(microbatch(student, teacher, memory))  # U2 is no longer 0
    scored = microbatch(student, teacher, memory, seed=1)
    online, base, now = moved(scored)
    q = torch.log_softmax(scored.student_head.logits(scored.student_hidden), -1).detach()
    own = -now.gather(-1, scored.ids[:, None]).squeeze(-1)
    loss = (0.5 * forward_kl(q, now) + 2.0 * own).mean()
    wanted = torch.autograd.grad(loss, [online.down, online.up])
    taken = []
    monkeypatch.setattr(okd.OnlineTeacher, "step", lambda self, found: taken.extend(found))
    objective(pull=0.5, anchor=2.0).of(scored)
    for found, right in zip(taken, wanted, strict=True):
        assert torch.allclose(found, right, rtol=1e-6, atol=1e-9) and float(found.norm()) > 0


def test_the_students_gradient_takes_the_moved_teacher_as_a_constant():
    student, teacher = models()
    memory = {}
    objective().of(microbatch(student, teacher, memory))
    scored = microbatch(student, teacher, memory, seed=1)
    _, _, now = moved(scored)
    objective().of(scored)[0].backward()
    found = student.body.weight.grad.clone()
    student.zero_grad()
    again = microbatch(student, teacher, memory, seed=1)
    q = torch.log_softmax(again.student_head.logits(again.student_hidden), -1)
    forward_kl(q, now.detach()).mean().backward()
    assert torch.allclose(found, student.body.weight.grad, rtol=1e-6, atol=1e-9)


def test_pulled_alone_it_goes_to_the_student_and_the_anchor_holds_it():
    student, teacher = models()
    gaps = {}
    for anchor in (0.0, 5.0):
        memory = {}
        for _ in range(60):
            objective(anchor=anchor).of(microbatch(student, teacher, memory))
        scored = microbatch(student, teacher, memory)
        _, base, now = moved(scored)
        q = torch.log_softmax(scored.student_head.logits(scored.student_hidden), -1).detach()
        gaps["base"] = float(forward_kl(q, base).mean())
        gaps[anchor] = float(forward_kl(q, now).mean().detach())
    assert gaps[0.0] < 0.9 * gaps["base"] < gaps[5.0]


def test_the_memory_is_saved_and_goes_on_exactly(tmp_path):
    student, teacher = models()
    memory = {}
    for seed in range(3):
        objective().of(microbatch(student, teacher, memory, seed))
    torch.save(memory, tmp_path / "memory.pt")
    again = torch.load(tmp_path / "memory.pt", weights_only=True)
    losses = [
        [
            float(objective().of(microbatch(student, teacher, kept, seed))[0].detach())
            for seed in (3, 4)
        ]
        for kept in (memory, again)
    ]
    assert losses[0] == losses[1]
    assert torch.equal(memory["okd"]["up"], again["okd"]["up"])


def test_values_that_cannot_be_are_refused():
    for settings, said in [
        ({"rank": 0}, "rank must be a whole number from 1, got 0"),
        ({"rank": 1.5}, "got 1.5"),
        ({"rate": 0}, "For a frozen teacher: forward_kl"),
        ({"pull": -1}, "must not be negative, got -1 and 1"),
    ]:
        with pytest.raises(UsageError, match=said):
            objective(**settings)


def test_several_processes_are_refused(monkeypatch):
    student, teacher = models()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(UsageError, match="in one process only"):
        objective().of(microbatch(student, teacher, {}))
