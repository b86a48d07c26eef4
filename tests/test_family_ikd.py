"""A teacher that learns from exams: the gradient through a step, what is changed, what is not."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from skd_lab.errors import UsageError
from skd_lab.family import digits, ikd
from skd_lab.family.exams import InteractiveTeacher, exam_gradient
from skd_lab.losses import forward_kl

RATE = 0.5


def classroom(seed=0):
    """A student and a teacher of float64, their course and their exam, as closures."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = torch.nn.Sequential(
            torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)
        ).double()
        teacher = torch.nn.Linear(4, 3).double()
    x = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    questions = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    answers = torch.randint(3, (8,), generator=generator)

    def course(weights):
        return digits.mean_of(forward_kl, functional_call(student, dict(weights), x), teacher(x))

    def exam(weights):
        return F.cross_entropy(functional_call(student, dict(weights), questions), answers)

    return student, teacher, course, exam


def after_the_step(student, course, exam):
    """Le at the end of the virtual step, worked from the two closures alone."""
    own = dict(student.named_parameters())
    slopes = torch.autograd.grad(course(own), list(own.values()))
    moved = {n: (p - RATE * s).detach() for (n, p), s in zip(own.items(), slopes, strict=True)}
    return exam(moved).item()


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_through_the_step_is_that_of_finite_differences(seed):
    student, teacher, course, exam = classroom(seed)
    taught = list(teacher.parameters())
    found, result = exam_gradient(course, exam, dict(student.named_parameters()), taught, rate=RATE)
    assert result.item() == pytest.approx(after_the_step(student, course, exam), rel=1e-12)
    generator, step = torch.Generator().manual_seed(seed), 1e-5
    for part, slope in zip(taught, found, strict=True):
        along = torch.randn(part.shape, generator=generator, dtype=torch.float64)
        ends = []
        for side in (step, -step):
            with torch.no_grad():
                part += side * along
            ends.append(after_the_step(student, course, exam))
            with torch.no_grad():
                part -= side * along
        by_hand = (ends[0] - ends[1]) / (2 * step)
        assert (slope * along).sum().item() == pytest.approx(by_hand, rel=1e-5)
        assert abs(by_hand) > 1e-4


def test_the_two_forms_of_the_gradient_agree():
    student, teacher, course, exam = classroom()
    own, taught = dict(student.named_parameters()), list(teacher.parameters())
    exact, _ = exam_gradient(course, exam, own, taught, rate=RATE)
    near, _ = exam_gradient(course, exam, own, taught, rate=RATE, differences=1e-3)
    for a, b in zip(exact, near, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)


def test_an_exam_makes_the_next_one_better_and_leaves_the_student_alone():
    student, teacher, course, exam = classroom()
    before = copy.deepcopy(student.state_dict())
    strategy = InteractiveTeacher(list(teacher.parameters()), rate=1e-2, virtual_rate=RATE)
    results = [strategy.exam(course, exam, dict(student.named_parameters())) for _ in range(5)]
    assert results == sorted(results, reverse=True) and results[-1] < results[0]
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    assert all(p.grad is None for p in (*student.parameters(), *teacher.parameters()))


@pytest.mark.parametrize("differences", [None, 1e-2])
def test_an_exam_without_anything_to_learn_leaves_the_teacher(differences):
    student, teacher, course, _ = classroom()
    found, _ = exam_gradient(
        course,
        lambda weights: torch.stack([value.sum() * 0 for value in weights.values()]).sum(),
        dict(student.named_parameters()),
        list(teacher.parameters()),
        rate=RATE,
        differences=differences,
    )
    assert all(slope.abs().max() == 0 for slope in found)


def test_a_course_that_the_teacher_is_not_in_is_refused():
    student, teacher, course, exam = classroom()
    own, taught = dict(student.named_parameters()), [torch.zeros(2, requires_grad=True)]
    for differences in (None, 1e-2):
        with pytest.raises(UsageError, match="does not lead to the teacher's parameters"):
            exam_gradient(course, exam, own, taught, rate=RATE, differences=differences)
    with pytest.raises(UsageError, match="above 0, got 0. Use 0.1"):
        exam_gradient(course, exam, own, list(teacher.parameters()), rate=0)


def test_without_exams_it_is_plain_distillation():
    own = digits.data(0)
    x, quiz = own.train_x[:50], (own.train_x[50:60], own.train_y[50:60])
    teacher, student, plain = (digits.mlp(8, seed=seed) for seed in (1, 2, 2))
    before = copy.deepcopy(teacher.state_dict())
    ikd.teach(student, teacher, x, quiz, steps=5, every=0)
    wanted = teacher(x).detach()
    digits.fit(plain, x, lambda z: digits.mean_of(forward_kl, z, wanted), steps=5)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    for name, value in student.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name])


def test_a_quiz_without_rows_and_other_classes_are_refused():
    x, none = torch.zeros(3, 64), (torch.zeros(0, 64), torch.zeros(0, dtype=torch.long))
    with pytest.raises(UsageError, match="quiz has no rows"):
        ikd.teach(digits.mlp(4, seed=0), digits.mlp(4, seed=1), x, none, steps=1)
    quiz = (torch.zeros(1, 64), torch.zeros(1, dtype=torch.long))
    with pytest.raises(UsageError, match="same classes, got 10 and 2"):
        ikd.teach(digits.mlp(4, seed=0), digits.mlp(4, seed=1, classes=2), x, quiz, steps=1)


def test_right_answers_mend_a_teacher_of_wrong_labels_and_shuffled_ones_do_not():
    own = digits.data(0)
    x, y = own.train_x[100:], ikd.noisy(own.train_y[100:], 0.4, 0)
    first = digits.mlp(128, seed=1)
    digits.fit(first, x, lambda z: F.cross_entropy(z, y), steps=150)
    answers = own.train_y[:100]
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    found = {"before": ikd.measured(first, first, 0)["teacher"]}
    for name, given in (("right", answers), ("shuffled", answers[order])):
        student, teacher = digits.mlp(16, seed=2), copy.deepcopy(first)
        ikd.teach(student, teacher, x, (own.train_x[:100], given), steps=120)
        found[name] = ikd.measured(student, teacher, 0)["teacher"]
    assert found["right"] > found["before"] + 0.03
    assert found["shuffled"] < found["before"]


def test_labels_are_wrong_as_often_as_asked():
    y = torch.arange(2000) % 10
    share = (ikd.noisy(y, 0.4, 0) != y).double().mean()
    assert 0.36 < share < 0.44 and torch.equal(ikd.noisy(y, 0.0, 0), y)
