"""Pseudo-subclasses: what they add up to, what they split, and where there is nothing to split."""

import pytest
import torch
from test_conformance import ANSWERS, PROMPTS
from tiny import tiny_model

from skd_lab.batch import collate, completion_hidden
from skd_lab.errors import UsageError
from skd_lab.family import digits, lelp
from skd_lab.family.answers import AnswerHead, AnswerSplits
from skd_lab.family.subclasses import Subclasses, fold, null_space, subclass_loss
from skd_lab.losses import forward_kl
from skd_lab.projection import Projection
from skd_lab.rollout import reference_rollout

HIDDEN, CLASSES, SPLITS = 10, 3, 4


def teacher(rows=200, seed=0):
    """States with kinds inside the classes, their head, and log-probabilities."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(rows, HIDDEN, generator=generator, dtype=torch.float64)
    head = torch.randn(CLASSES, HIDDEN, generator=generator, dtype=torch.float64)
    return states, head, torch.log_softmax(states @ head.T, -1)


def noise(*shape):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def split(splits=SPLITS, **changes):
    states, head, log_p = teacher()
    made = Subclasses.fit(states, log_p.argmax(-1), head, splits=splits, **changes)
    return made, states, log_p


def test_the_head_sees_nothing_of_its_null_space():
    _, head, _ = teacher()
    free = null_space(head)
    assert free.shape == (HIDDEN, HIDDEN - CLASSES)
    assert (head @ free).abs().max() < 1e-12
    torch.testing.assert_close(free.T @ free, torch.eye(HIDDEN - CLASSES, dtype=torch.float64))
    # a row that others make up is no row of its own
    assert null_space(torch.cat([head, head.sum(0, keepdim=True)])).shape[1] == HIDDEN - CLASSES


@pytest.mark.parametrize("principal", [True, False])
def test_the_subclasses_of_a_class_add_up_to_it(principal):
    made, states, log_p = split(principal=principal)
    targets = made.targets(states, log_p)
    assert targets.shape == (len(states), CLASSES * SPLITS) and (targets > 0).all()
    sums = targets.unflatten(-1, (CLASSES, SPLITS)).sum(-1)
    torch.testing.assert_close(sums, log_p.exp(), rtol=0, atol=1e-12)
    torch.testing.assert_close(fold(targets.log(), CLASSES), log_p, rtol=1e-9, atol=1e-9)


def test_what_the_head_sees_does_not_move_the_split():
    made, states, log_p = split()
    _, head, _ = teacher()
    moved = states + noise(len(states), CLASSES) @ head
    torch.testing.assert_close(made.targets(moved, log_p), made.targets(states, log_p))


def test_one_subclass_is_plain_distillation():
    made, states, log_p = split(splits=1)
    targets = made.targets(states, log_p)
    torch.testing.assert_close(targets, log_p.exp())
    z = noise(len(states), CLASSES)
    student = torch.log_softmax(z, -1)
    torch.testing.assert_close(subclass_loss(z, targets), forward_kl(student, log_p))


def test_without_sharpness_every_class_is_split_evenly():
    made, states, log_p = split()
    targets = made.targets(states, log_p, sharpness=0.0).unflatten(-1, (CLASSES, SPLITS))
    torch.testing.assert_close(targets, (log_p.exp() / SPLITS)[..., None].expand_as(targets))


def test_the_principal_axes_are_found_and_the_rotation_shares_their_spread():
    states, head, log_p = teacher(2000)
    free = null_space(head)
    states = states + 5 * noise(len(states), 1) * free[:, 0]
    first = log_p.argmax(-1)
    made = Subclasses.fit(states, first, head, splits=2, seed=3)
    for number in range(CLASSES):
        # the loud direction lies within the two axes
        axes = torch.linalg.qr(made.axes[number])[0]
        assert axes[0].norm() > 0.99
        place = (states[first == number] @ free - made.means[number]) @ made.axes[number]
        assert place.std().item() == pytest.approx(1.0, rel=0.05)
        assert place.std(0).min() > 0.2  # without a rotation it would be 1 / 5


def test_the_loss_is_zero_at_the_targets_and_its_gradient_the_difference():
    made, states, log_p = split()
    targets = made.targets(states, log_p)
    same = targets.log().requires_grad_()
    loss = subclass_loss(same, targets)
    assert loss.abs().max() < 1e-12
    z = noise(*targets.shape).requires_grad_()
    subclass_loss(z, targets).sum().backward()
    torch.testing.assert_close(z.grad, torch.softmax(z.detach(), -1) - targets)
    hard = torch.eye(CLASSES * SPLITS, dtype=torch.float64)[:5]
    assert torch.isfinite(subclass_loss(z[:5], hard)).all()


def test_shuffled_rows_stay_in_their_class():
    classes = torch.tensor([0, 1, 0, 1, 0, 1, 1, 0] * 10)
    order = lelp._within(classes, seed=0)
    assert torch.equal(classes[order], classes) and not torch.equal(order, torch.arange(80))
    assert torch.equal(order.sort().values, torch.arange(80))


def test_a_student_learns_kinds_that_nobody_told_it():
    made, states, log_p = split(splits=2)
    targets = made.targets(states, log_p, sharpness=4.0)
    student = torch.nn.Linear(HIDDEN, CLASSES * 2).double()
    digits.fit(student, states, lambda z: subclass_loss(z, targets).mean(), steps=150, rate=0.05)
    inside = student(states).unflatten(-1, (CLASSES, 2)).softmax(-1)
    wanted = targets.unflatten(-1, (CLASSES, 2)) / log_p.exp()[..., None]
    assert (inside - wanted)[log_p.argmax(-1) == 0, 0].abs().mean() < 0.1


def test_what_cannot_be_split_is_refused():
    states, head, log_p = teacher()
    first = log_p.argmax(-1)
    with pytest.raises(UsageError, match="12 rows of 10 numbers.*null space is empty"):
        null_space(torch.randn(12, 10))
    with pytest.raises(UsageError, match="from 1 to the 7 directions .* got 8"):
        Subclasses.fit(states, first, head, splits=8)
    with pytest.raises(UsageError, match="got 0"):
        Subclasses.fit(states, first, head, splits=0)
    few = first == 1
    few[(first == 1).nonzero()[4:]] = False
    kept = (first != 1) | few
    with pytest.raises(UsageError, match="Class 1 has 4 rows, and 4 subclasses need 5"):
        Subclasses.fit(states[kept], first[kept], head, splits=4)
    with pytest.raises(UsageError, match="7 subclasses do not make 3 even classes"):
        fold(torch.zeros(2, 7), 3)


# a few answer tokens of a language model

IDS, VOCAB = [3, 7, 9], 12


def answering(seed, hidden, rows=60):
    """A tiny model and its last states where one of many prompts is to be answered."""
    model = tiny_model("qwen3", seed=seed, vocab_size=VOCAB, hidden_size=hidden)
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(2, VOCAB, (rows, 5), generator=generator).tolist()
    batch = collate(reference_rollout(prompts, [[IDS[0]]] * rows, [1]), pad_id=0)
    return model, completion_hidden(model, batch).detach()


def test_answers_are_split_and_folded_back():
    model, states = answering(2, 16)
    head = Projection.of(model)
    made = AnswerSplits.fit(head, IDS, states, splits=2)
    targets = made.targets(states)
    wanted = torch.softmax(head.logits(states)[:, IDS], -1)
    torch.testing.assert_close(targets.unflatten(-1, (3, 2)).sum(-1), wanted.to(targets))
    assert made.splits == 2


def test_the_students_head_begins_as_its_own_answers_and_learns_the_teachers():
    teaching, states = answering(2, 16)
    student, own = answering(1, 24)
    made = AnswerSplits.fit(Projection.of(teaching), IDS, states, splits=2)
    head = AnswerHead(Projection.of(student), IDS, made.splits)
    wanted = torch.log_softmax(Projection.of(student).logits(own)[:, IDS], -1)
    torch.testing.assert_close(head.log_probs(own), wanted.to(own))
    targets = made.targets(states)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = head.loss(own, targets).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(parameter.grad is None for parameter in teaching.parameters())


def test_the_recipe_of_the_file_trains_student_and_head_together():
    teaching, states = answering(2, 16)
    student = tiny_model("qwen3", seed=1, vocab_size=VOCAB, hidden_size=24)
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(2, VOCAB, (60, 5), generator=generator).tolist()
    batch = collate(reference_rollout(prompts, [[IDS[0]]] * 60, [1]), pad_id=0)
    made = AnswerSplits.fit(Projection.of(teaching), IDS, states, splits=2)
    head = AnswerHead(Projection.of(student), IDS, splits=2)
    optimizer = torch.optim.Adam([*student.parameters(), *head.parameters()], lr=1e-2)
    losses = []
    for _ in range(25):
        loss = head.loss(completion_hidden(student, batch), made.targets(states)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert student.model.layers[0].mlp.up_proj.weight.grad.abs().max() > 0


def test_the_gradient_reaches_the_students_states():
    teaching, states = answering(2, 16)
    student, own = answering(1, 24)
    made = AnswerSplits.fit(Projection.of(teaching), IDS, states, splits=2)
    head = AnswerHead(Projection.of(student), IDS, 2).double()
    few = own[:4].double().requires_grad_()
    targets = made.targets(states)[:4].double()
    assert torch.autograd.gradcheck(lambda h: head.loss(h, targets), (few,), fast_mode=True)


def test_a_whole_vocabulary_has_nothing_to_split_and_odd_answers_are_refused():
    model, states = answering(2, 8)
    head = Projection.of(model)
    with pytest.raises(UsageError, match="null space is empty"):
        AnswerSplits.fit(head, list(range(VOCAB)), states)
    for ids in ([3], [3, 3], [3, VOCAB], [-1, 3]):
        with pytest.raises(UsageError, match="two ids or more, each once and below 12"):
            AnswerSplits.fit(head, ids, states)
        with pytest.raises(UsageError, match="two ids or more, each once and below 12"):
            AnswerHead(head, ids, 2)
    with pytest.raises(UsageError, match="splits must be at least 1, got 0"):
        AnswerHead(head, IDS, 0)
    with pytest.raises(UsageError, match="caps its logits"):
        AnswerHead(Projection(torch.zeros(4, 8), softcap=30.0), [0, 1], 2)


def test_states_at_the_answer_are_those_that_predict_it():
    # the place the form is made for: one completion token a row
    rollouts = reference_rollout(PROMPTS, [answer[:1] for answer in ANSWERS], [1])
    batch = collate(rollouts, pad_id=0)
    model = tiny_model("qwen3", seed=1, vocab_size=VOCAB)
    states = completion_hidden(model, batch)
    assert len(states) == len(PROMPTS)
    whole = model(torch.tensor([PROMPTS[0]])).logits[0, -1]
    torch.testing.assert_close(Projection.of(model).logits(states)[0], whole)
