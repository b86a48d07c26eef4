"""RDD on pictures: the maps by hand, the limits of the loss, and what the student learns from."""

import pytest
import torch
import torch.nn.functional as F

from skd_lab.errors import UsageError
from skd_lab.family import rdd_segments as rdd
from skd_lab.family import segments
from skd_lab.losses import forward_kl


def heads(*right, classes=4):
    """Log-probabilities [pixels, classes] whose class 0 has these probabilities."""
    p = torch.tensor(right, dtype=torch.float64)
    rest = ((1 - p) / (classes - 1))[:, None].expand(-1, classes - 1)
    return torch.cat([p[:, None], rest], 1).log()


ZEROS = torch.zeros(4, dtype=torch.long)


def test_pixels_that_one_model_alone_finds_hard_by_hand():
    teacher, student = heads(0.9, 0.9, 0.3, 0.3), heads(0.9, 0.3, 0.9, 0.3)
    assert rdd.stage_2(student, (teacher, teacher), ZEROS).tolist() == [0, 1, 1, 0]
    # equal models disagree nowhere, and the task loss of no pixel is 0
    none = rdd.stage_2(teacher, (teacher, teacher), ZEROS)
    assert none.sum() == 0
    for over in ("all", "mask"):
        assert rdd.weighed(teacher, (teacher, teacher), ZEROS, none, over) == 0


def test_a_sure_model_still_has_its_hardest_pixels():
    sure = torch.linspace(0.8, 0.99, 1000)
    found = rdd.hard(sure)
    assert found.sum() == round(rdd.KEPT * 1000) and found[:12].all()
    assert rdd.hard(torch.tensor([0.1, 0.69, 0.71])).tolist() == [True, True, False]


def test_the_first_weights_are_one_where_the_heads_agree_and_smaller_elsewhere():
    last, early = heads(0.9, 0.5, 0.9), heads(0.9, 0.5, 0.3)
    weights = rdd.stage_1(last, (last, early), ZEROS[:3])
    assert weights[:2] == pytest.approx([1.0, 1.0]) and 0 < weights[2] < 1
    # KL of the auxiliary head from the last one, in this order
    nats = float((early[2].exp() * (early[2] - last[2])).sum())
    assert float(weights[2]) == pytest.approx(float(torch.tensor(-nats).exp()))


@pytest.mark.parametrize("over, count", [("all", 6), ("mask", 3)])
def test_with_a_mask_the_loss_and_its_gradient_are_those_written_out(over, count):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    last = torch.randn(6, 4, generator=generator, dtype=torch.float64).log_softmax(-1)
    y = torch.tensor([0, 1, 2, 3, 0, 1])
    mask = torch.tensor([1.0, 0, 1, 0, 0, 1], dtype=torch.float64)

    def loss(z):
        return rdd.weighed(z.log_softmax(-1), (last, last), y, mask, over)

    kept = mask > 0
    wanted = F.cross_entropy(z[kept], y[kept], reduction="sum") / count
    wanted = wanted + F.kl_div(z.log_softmax(-1), last, log_target=True, reduction="batchmean")
    assert torch.allclose(loss(z), wanted)
    assert torch.autograd.gradcheck(loss, (z,))
    # a pixel outside the mask has the gradient of the divergence alone
    [own] = torch.autograd.grad(loss(z), z)
    [alone] = torch.autograd.grad(forward_kl(z.log_softmax(-1), last).mean(), z)
    assert torch.allclose(own[~kept], alone[~kept]) and not torch.allclose(own[kept], alone[kept])


def test_the_control_has_the_same_weights_at_other_pixels():
    generator = torch.Generator().manual_seed(3)
    student, last, early = (
        torch.randn(500, 4, generator=generator).log_softmax(-1) for _ in range(3)
    )
    y = torch.randint(4, (500,), generator=generator)
    for progress in (0.0, 0.5):
        own, moved = (
            rdd.weights_of(arm, student, (last, early), y, progress, generator)
            for arm in ("RDD", "RDD, shuffled weights")
        )
        assert torch.equal(own.sort().values, moved.sort().values) and not torch.equal(own, moved)
    plain = rdd.weights_of("KD", student, (last, early), y, 0.5, generator)
    assert (plain == 1).all()
    first = rdd.weights_of("stage 1 only", student, (last, early), y, 0.9, generator)
    assert torch.equal(first, rdd.stage_1(student, (last, early), y))


def test_pictures_show_their_classes_and_come_again_with_their_seed():
    x, y = segments.pictures(300, torch.Generator().manual_seed(0), noise=0.0)
    assert x.shape == (300, 1, segments.SIDE, segments.SIDE) and y.shape == (
        300 * segments.SIDE**2,
    )
    assert ((x.flatten() > 0) == (y > 0)).all()
    assert (torch.bincount(y, minlength=4) > 3000).all()
    again = segments.pictures(300, torch.Generator().manual_seed(0), noise=0.0)
    assert torch.equal(x, again[0]) and torch.equal(y, again[1])


class Says(torch.nn.Module):
    """A model that is sure of these classes, whatever the picture."""

    def __init__(self, y):
        super().__init__()
        self.y = y

    def forward(self, x):
        return F.one_hot(self.y, 4).float().log(), None


def test_perfect_pictures_have_an_overlap_of_one():
    x, y = segments.pictures(50, torch.Generator().manual_seed(1))
    assert segments.miou(Says(y), x, y) == 1.0


def test_the_overlap_by_hand_and_a_class_that_is_nowhere_does_not_count():
    x, y = torch.zeros(1, 1, 2, 2), torch.tensor([0, 0, 1, 1])
    # class 0: 1 of 2, class 1: 2 of 3, classes 2 and 3: neither there nor found
    assert segments.miou(Says(torch.tensor([0, 1, 1, 1])), x, y) == pytest.approx(7 / 12)
    # class 2 is found and not there: 0 of 1
    assert segments.miou(Says(torch.tensor([0, 2, 1, 1])), x, y) == pytest.approx(1.5 / 3)


def test_a_short_run_has_every_arm_and_the_teacher_stays():
    rows = rdd.run(0, steps=2)
    assert [row["arm"] for row in rows] == list(rdd.ARMS)
    assert all(0 <= row["miou"] <= 1 for row in rows)
    teacher = segments.teacher_of(0, 2)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with pytest.raises(UsageError, match="two layers at least: 1"):
        segments.Segmenter(4, 1, seed=0)
