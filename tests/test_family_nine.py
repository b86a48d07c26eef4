"""Nine methods: each loss by hand and in its limits, spoilt labels, and the loop they share."""

import pytest
import torch
import torch.nn.functional as F

from skd_lab.errors import UsageError
from skd_lab.family import digits, nine, nine_lessons
from skd_lab.family import nine_losses as losses
from skd_lab.family.nine_lessons import CONTROLS, NINE, Lesson, learn, teacher_of
from skd_lab.family.nine_losses import Seen
from skd_lab.family.nine_nets import Net, accuracy, problem


def seen(rows=32, channels=3, seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    maps = [
        torch.randn(rows, channels, 2, 2, generator=generator, dtype=torch.float64).relu()
        for _ in range(3)
    ]
    logits = torch.randn(rows, 10, generator=generator, dtype=torch.float64)
    return Seen(**{"maps": maps, "feature": maps[-1].flatten(1), "logits": logits, **changes})


def pointwise(channels):
    """1 x 1 convolutions that change nothing."""
    made = [torch.nn.Conv2d(channels, channels, 1, bias=False) for _ in range(3)]
    for one in made:
        one.weight.data = torch.eye(channels, dtype=torch.float64)[:, :, None, None]
    return torch.nn.ModuleList(made)


LOSSES = {
    "Hinton": lambda mine, theirs: losses.hinton(mine.logits, theirs.logits),
    "FitNet": lambda mine, theirs: losses.fitnet(mine, theirs, pointwise(3)[0]),
    "AT": losses.attention,
    "FSP": lambda mine, theirs: losses.flow(mine, theirs, pointwise(3)),
    "SP": losses.similarity,
    "RKD": losses.relations,
    "DML": lambda mine, theirs: losses.mutual(mine.logits, theirs.logits),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(name):
    loss = LOSSES[name]
    assert loss(seen(), seen()).detach() == pytest.approx(0, abs=1e-12)
    assert loss(seen(), seen(seed=1)).detach() > 1e-4


@pytest.mark.parametrize("name", LOSSES)
def test_a_gradient_is_that_of_finite_differences(name):
    theirs, base = seen(seed=1), seen()
    start = base.logits if name in ("Hinton", "DML") else base.maps[-1] + 0.1
    generator = torch.Generator().manual_seed(5)
    way = torch.randn(start.shape, generator=generator, dtype=torch.float64)

    def loss(far):
        moved = start + far * way
        if name in ("Hinton", "DML"):
            return LOSSES[name](seen(logits=moved), theirs)
        maps = [*base.maps[:2], moved]
        return LOSSES[name](seen(maps=maps, feature=moved.flatten(1)), theirs)

    far = torch.zeros((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (far,))


def test_relations_do_not_see_a_rotation_nor_distances_a_scale():
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64))[0]
    mine, theirs = seen(), seen(seed=1)
    turned = seen(feature=mine.feature @ turn)
    assert torch.allclose(losses.similarity(turned, theirs), losses.similarity(mine, theirs))

    def pooled(x):
        return seen(maps=[x[:, :, None, None]])

    x = torch.randn(32, 12, generator=generator, dtype=torch.float64)
    plain, again = (losses.relations(pooled(one), pooled(x[:, :5])) for one in (x, x @ turn))
    assert torch.allclose(plain, again)
    far = losses.relations(pooled(x), pooled(3 * x), of_angles=0.0)
    assert float(far) == pytest.approx(0, abs=1e-12)


def test_attention_maps_and_layer_products_by_hand():
    one = torch.tensor([[[[3.0, 0.0]], [[0.0, 4.0]]]])  # 1 row, 2 channels, 1 x 2 places
    other = torch.tensor([[[[1.0, 1.0]], [[1.0, 1.0]]]])
    mine, theirs = (Seen([x], x.flatten(1), x.flatten(1)) for x in (one, other))
    energy = torch.tensor([9.0, 16.0]) / 2
    wanted = F.mse_loss(energy / energy.norm(), torch.tensor([1.0, 1.0]) / 2**0.5)
    assert torch.allclose(losses.attention(mine, theirs), wanted)
    # (1 / places) sum over places of a_i b_j
    gram = losses._gram(one, other)
    assert torch.allclose(gram, torch.tensor([[[1.5, 1.5], [2.0, 2.0]]]))


def test_rows_at_the_boundary_have_just_turned():
    teacher = torch.nn.Linear(2, 2)
    teacher.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    teacher.bias.data = torch.tensor([-0.5, 0.5])  # class 0 where x > 0.5
    x = torch.tensor([[0.9, 0.3], [0.2, 0.7], [0.6, 0.1]])
    y = torch.tensor([0, 1, 1])  # the teacher has the third wrong
    found, of = losses.boundary(x, y, teacher, torch.Generator().manual_seed(0))
    assert of.tolist() == [0, 1]
    assert torch.allclose(found[:, 1], x[:2, 1])
    assert found[:, 0] == pytest.approx([0.5, 0.5], abs=0.06)
    assert (teacher(found).argmax(-1) != y[:2]).all()


def test_a_peer_learns_the_others_distribution_and_the_other_is_held():
    one, other = seen().logits.requires_grad_(), seen(seed=1).logits.requires_grad_()
    loss = losses.mutual(one, other)
    wanted = F.kl_div(one.log_softmax(-1), other.softmax(-1), reduction="batchmean")
    torch.testing.assert_close(loss, wanted)
    own, held = torch.autograd.grad(loss, [one, other], allow_unused=True)
    torch.testing.assert_close(own, (one.softmax(-1) - other.softmax(-1)).detach() / len(one))
    assert held is None


def test_an_ensemble_is_the_gated_sum_and_one_branch_alone_is_its_limit():
    branches = [seen(seed=seed).logits for seed in range(3)]
    sure = torch.tensor([0.0, 100.0, 0.0], dtype=torch.float64).expand(32, 3)
    assert torch.allclose(losses.ensemble(branches, sure), branches[1])
    even = losses.ensemble(branches, torch.zeros(32, 3, dtype=torch.float64))
    assert torch.allclose(even, torch.stack(branches).mean(0))


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.4])
def test_as_many_labels_are_wrong_as_was_asked_for(noise):
    task = problem(0, noise=noise)
    share = (task.y != task.right).double().mean()
    # 400 draws: three standard errors
    assert abs(share - noise) <= 3 * (noise * (1 - noise) / 400) ** 0.5
    assert torch.equal(task.right, problem(0).y)


def test_classes_get_fewer_rows_one_after_the_other():
    counts = torch.bincount(problem(0, skew=10.0).y, minlength=10)
    plain = torch.bincount(problem(0).y, minlength=10)
    assert counts[0] == plain[0] and counts[9] == pytest.approx(plain[9] / 10, abs=1)
    assert ((counts / plain).diff() < 0.02).all()


@pytest.fixture(scope="module")
def spoilt():
    task = problem(0, noise=0.4)
    return task, teacher_of(task, seed=0, steps=20)


@pytest.fixture(scope="module")
def clean():
    task = problem(0)
    return task, teacher_of(task, seed=0, steps=60)


@pytest.mark.parametrize("arm", [*CONTROLS, *NINE])
def test_every_method_learns_and_its_teacher_stays(arm, clean):
    task, teacher = clean
    before = [parameter.clone() for parameter in teacher.parameters()]
    lesson = Lesson(arm, task, teacher, 8, seed=1)
    last = learn(lesson, seed=1, steps=70)[0]
    assert accuracy(last, task.x, task.right) > 0.3  # by chance: 0.1
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    again = learn(Lesson(arm, task, teacher, 8, seed=1), seed=1, steps=70)[0]
    assert torch.equal(last.heads[0].weight, again.heads[0].weight)


def test_stopping_early_keeps_the_student_that_read_the_validation_rows_best(spoilt, monkeypatch):
    task, teacher = spoilt
    looked = []

    def planted(net, x, y):
        assert x is task.validation_x and y is task.validation_y
        looked.append(net)
        return [0.1, 0.5, 0.9, 0.9, 0.2, 0.6][len(looked) - 1]

    monkeypatch.setattr(nine_lessons, "accuracy", planted)
    last, best = learn(Lesson("CE", task, teacher, 8, seed=0), seed=0, steps=6)
    assert len(looked) == 6
    monkeypatch.undo()
    third = learn(Lesson("CE", task, teacher, 8, seed=0), seed=0, steps=3)[0]
    for name, value in third.state_dict().items():
        assert torch.equal(best.state_dict()[name], value)
    assert not torch.equal(last.heads[0].weight, best.heads[0].weight)


def test_a_short_run_has_every_arm_in_every_setting(monkeypatch):
    monkeypatch.setattr(
        nine, "SETTINGS", {name: nine.SETTINGS[name] for name in ("noise_40", "gap")}
    )
    rows = nine.run(0, steps=1)
    assert [row["arm"] for row in rows] == list(nine.ARMS)
    for row in rows:
        assert {"noise_40", "flipped_rows", "gap"} <= set(row)


def test_what_a_method_cannot_carry_is_refused(spoilt):
    task, teacher = spoilt
    for loss in (losses.similarity, losses.relations):
        with pytest.raises(UsageError, match="8 are too few to learn from. Give it 32 at least"):
            loss(seen(8), seen(8))
    small = seen(maps=[torch.zeros(32, 3, 4, 4)] * 3)
    with pytest.raises(UsageError, match=r"maps of \(4, 4\) and \(2, 2\) have different ones"):
        losses.attention(small, seen())
    with pytest.raises(UsageError, match="two at least, got 1"):
        losses.ensemble([seen().logits], torch.zeros(32, 1))
    with pytest.raises(UsageError, match="No method 'KD'. Choose one of: Hinton, FitNet"):
        Lesson("KD", task, teacher, 4, seed=0)
    with pytest.raises(UsageError, match="17 channels is larger than its teacher of 16"):
        Lesson("FitNet", task, teacher, 17, seed=0)
    with pytest.raises(UsageError, match="0 <= noise < 1, got 1"):
        problem(0, noise=1.0)
    with pytest.raises(UsageError, match="from 1 to 30 .* got 100"):
        problem(0, skew=100.0)
    assert digits.CLASSES == Net(4, seed=0)(task.x[:2]).shape[1]
