"""A light teacher that never saw the task: what it can carry, and what its controls share."""

import pytest
import torch
import torch.nn.functional as F

from skd_lab.errors import UsageError
from skd_lab.family import digits, light, lwkd


def logits(rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, 10, generator=generator, dtype=torch.float64)
    return z, torch.randint(10, (rows,), generator=generator)


def test_the_teacher_never_asks_for_a_row_of_the_task(monkeypatch):
    def refuse(seed):
        raise AssertionError("a row of the task was asked for")

    monkeypatch.setattr(digits, "data", refuse)
    teacher = light.light_teacher(0)
    y = torch.arange(10).repeat(5)
    targets = teacher.targets(y, torch.Generator().manual_seed(0))
    assert targets.exp().sum(-1) == pytest.approx(torch.ones(50))
    # each is the view of a made-up row of that very class
    for view, label in zip(targets, y, strict=True):
        assert (teacher.log_probs[teacher.classes == label] == view).all(-1).any()


def test_views_of_a_class_differ_and_those_of_a_fixed_teacher_do_not():
    y, generator = torch.zeros(200, dtype=torch.long), torch.Generator().manual_seed(0)
    drawn = light.light_teacher(0).targets(y, generator).exp()
    assert drawn.std(0).max() > 0.01
    fixed = light.uniform_teacher(10).targets(y, generator).exp()
    assert fixed.std(0).max() == 0 and fixed.argmax(-1).unique().tolist() == [0]


def test_permuted_classes_keep_the_right_one_and_mix_the_others():
    teacher = light.light_teacher(1)
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    moved = teacher.relabelled(order)
    for row in (0, 250, 999):
        c = int(teacher.classes[row])
        assert moved.classes[row] == order[c]
        assert moved.log_probs[row, order[c]] == teacher.log_probs[row, c]
        assert torch.equal(moved.log_probs[row].sort().values, teacher.log_probs[row].sort().values)
    same = teacher.relabelled(torch.arange(10))
    assert torch.equal(same.log_probs, teacher.log_probs)
    assert torch.equal(same.classes, teacher.classes)


def test_without_the_teachers_share_the_loss_is_cross_entropy_and_with_all_of_it_hintons():
    (z, y), (p, _) = logits(), logits(seed=1)
    targets = torch.log_softmax(p / 3, -1)
    assert torch.allclose(light.loss_of(z, y, targets, share=0.0), F.cross_entropy(z, y))
    wanted = 9 * F.kl_div(
        torch.log_softmax(z / 3, -1), targets, log_target=True, reduction="batchmean"
    )
    found = light.loss_of(z, y, targets, share=1.0, temperature=3.0)
    assert torch.allclose(found, wanted)
    own = torch.log_softmax(z / 3, -1)
    assert float(light.loss_of(z, y, own, share=1.0, temperature=3.0)) == pytest.approx(
        0, abs=1e-12
    )


def test_the_gradient_is_that_of_finite_differences():
    z, y = logits(6)
    targets = torch.log_softmax(logits(6, seed=2)[0], -1)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: light.loss_of(z, y, targets), (z,))
    adversary = light.Adversary(10, seed=0)
    adversary.net.double()
    assert torch.autograd.gradcheck(lambda z: adversary.fooled(z.softmax(-1)), (z,))


def test_the_adversary_learns_to_tell_views_apart_and_cannot_tell_equal_ones():
    generator = torch.Generator().manual_seed(0)
    adversary, equal = light.Adversary(10, seed=0), light.Adversary(10, seed=0)
    for _ in range(400):
        sharp, soft = (
            (scale * torch.randn(100, 10, generator=generator)).softmax(-1) for scale in (8, 0.3)
        )
        apart = adversary.step(sharp, soft)
        level = equal.step(soft, soft)
    assert apart > 0.95 and level == 0.5
    # who fools it gets a smaller loss
    assert adversary.fooled(soft) < adversary.fooled(sharp)


def test_sure_and_wrong_is_counted_by_how_far_the_two_are_apart():
    sure, right = torch.tensor([0.95, 0.95, 0.55, 1.0]), torch.tensor([1.0, 0.0, 1.0, 1.0])
    # bins [0.9, 1]: 2.9 against 2 right; [0.5, 0.6): 0.55 against 1
    assert lwkd.calibration_error(sure, right) == pytest.approx((0.9 + 0.45) / 4)


def test_an_arm_is_deterministic_and_the_control_has_its_own_targets():
    found = {arm: lwkd.learn(arm, 0, steps=3)[0] for arm in lwkd.ARMS}
    again = lwkd.learn("LW-KD", 0, steps=3)[0]
    assert torch.equal(again[0].weight, found["LW-KD"][0].weight)
    weights = [found[arm][0].weight for arm in lwkd.ARMS]
    for place, one in enumerate(weights):
        assert not any(torch.equal(one, other) for other in weights[:place])


def test_what_cannot_be_a_light_teacher_is_refused():
    with pytest.raises(UsageError, match="two classes and a row of each, got 1 classes"):
        light.light_teacher(0, classes=1)
    with pytest.raises(UsageError, match="temperature must be above 0, got 0"):
        light.light_teacher(0, temperature=0)
    small = light.light_teacher(0, classes=3)
    with pytest.raises(UsageError, match=r"no row of class 7: .* has \[0, 1, 2\]"):
        small.targets(torch.tensor([0, 7]), torch.Generator())
    z, y = logits()
    with pytest.raises(UsageError, match=r"share must be in \[0, 1\], got 1.5"):
        light.loss_of(z, y, z.log_softmax(-1), share=1.5)
