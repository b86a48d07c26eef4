"""Divergences: golden values, gradients against finite differences, properties, the two means."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skd_lab.losses import (
    forward_kl,
    generalized_jsd,
    mean_over_sequences,
    mean_over_tokens,
    reverse_kl,
    skewed_forward_kl,
    skewed_reverse_kl,
    token_nll,
    token_weights,
    total_variation,
)

DIVERGENCES = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jsd_0.5": partial(generalized_jsd, beta=0.5),
    "jsd_0.1": partial(generalized_jsd, beta=0.1),
    "jsd_0.9": partial(generalized_jsd, beta=0.9),
    "skewed_forward_kl": partial(skewed_forward_kl, alpha=0.1),
    "skewed_reverse_kl": partial(skewed_reverse_kl, alpha=0.1),
    "total_variation": total_variation,
}
every_divergence = pytest.mark.parametrize("name", DIVERGENCES)


def logs(*probabilities: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=dtype).log()


def random_log_probs(seed: int, *shape: int, sharpness: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, generator=generator, dtype=torch.float64) * sharpness
    return torch.log_softmax(logits, dim=-1)


# Student (1/2, 1/2), teacher (9/10, 1/10), worked with pen and paper.
STUDENT, TEACHER = (0.5, 0.5), (0.9, 0.1)
GOLDEN = {
    "forward_kl": 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5),  # 0.36806
    "reverse_kl": 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1),  # 0.51083
    # m = (0.7, 0.3)
    "jsd_0.5": 0.5 * (0.9 * math.log(0.9 / 0.7) + 0.1 * math.log(0.1 / 0.3))
    + 0.5 * (0.5 * math.log(0.5 / 0.7) + 0.5 * math.log(0.5 / 0.3)),
    # m = 0.1 teacher + 0.9 student = (0.54, 0.46)
    "jsd_0.1": 0.1 * (0.9 * math.log(0.9 / 0.54) + 0.1 * math.log(0.1 / 0.46))
    + 0.9 * (0.5 * math.log(0.5 / 0.54) + 0.5 * math.log(0.5 / 0.46)),
    # m = 0.9 teacher + 0.1 student = (0.86, 0.14)
    "jsd_0.9": 0.9 * (0.9 * math.log(0.9 / 0.86) + 0.1 * math.log(0.1 / 0.14))
    + 0.1 * (0.5 * math.log(0.5 / 0.86) + 0.5 * math.log(0.5 / 0.14)),
    # m = 0.1 teacher + 0.9 student
    "skewed_forward_kl": 0.9 * math.log(0.9 / 0.54) + 0.1 * math.log(0.1 / 0.46),
    # m = 0.1 student + 0.9 teacher
    "skewed_reverse_kl": 0.5 * math.log(0.5 / 0.86) + 0.5 * math.log(0.5 / 0.14),
    "total_variation": 0.4,
}


@every_divergence
def test_golden_value_of_a_worked_pair(name):
    value = DIVERGENCES[name](logs(*STUDENT), logs(*TEACHER)).item()
    assert value == pytest.approx(GOLDEN[name], rel=1e-12)


def test_golden_values_as_decimals():
    # A second way to the same numbers, so that a slip in the formulas above would show.
    assert GOLDEN["forward_kl"] == pytest.approx(0.368064, abs=1e-6)
    assert GOLDEN["reverse_kl"] == pytest.approx(0.510826, abs=1e-6)
    assert GOLDEN["jsd_0.5"] == pytest.approx(0.101749, abs=1e-6)


def test_jsd_of_certainty_against_a_worked_pair():
    # p = (1, 0), q = (0.8, 0.2), m = (0.9, 0.1): log 2 + 0.9 log 0.9 + ... by entropies:
    # JSD = H(m) - (H(p) + H(q)) / 2.
    def entropy(*p: float) -> float:
        return -sum(x * math.log(x) for x in p if x)

    expected = entropy(0.9, 0.1) - (entropy(1.0) + entropy(0.8, 0.2)) / 2
    value = generalized_jsd(logs(0.8, 0.2), logs(1.0, 0.0), beta=0.5).item()
    assert value == pytest.approx(expected, rel=1e-12)


def test_jsd_of_disjoint_certainties_is_log_2():
    value = generalized_jsd(logs(1.0, 0.0), logs(0.0, 1.0), beta=0.5).item()
    assert value == pytest.approx(math.log(2), rel=1e-15)


@pytest.mark.parametrize(
    "name", [name for name in DIVERGENCES if name not in ("jsd_0.5", "total_variation")]
)
def test_swapped_roles_give_another_value(name):
    right = DIVERGENCES[name](logs(*STUDENT), logs(*TEACHER)).item()
    swapped = DIVERGENCES[name](logs(*TEACHER), logs(*STUDENT)).item()
    assert right == pytest.approx(GOLDEN[name], rel=1e-12)
    assert abs(swapped - GOLDEN[name]) > 0.02 * GOLDEN[name]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@every_divergence
def test_divergence_of_equals_is_zero(name, dtype):
    same = random_log_probs(0, 4, 7, 50).to(dtype)
    value = DIVERGENCES[name](same, same.clone())
    assert value.shape == (4, 7)
    # float32 epsilon is 1.2e-7, times log-probabilities of about 10.
    assert value.abs().max() < (1e-14 if dtype == torch.float64 else 2e-6)


@every_divergence
def test_low_precision_inputs_are_worked_in_float32(name):
    student, teacher = random_log_probs(0, 6, 40), random_log_probs(1, 6, 40)
    half = student.bfloat16(), teacher.bfloat16()
    value = DIVERGENCES[name](*half)
    assert value.dtype == torch.float32
    exact = DIVERGENCES[name](half[0].double(), half[1].double())
    # bfloat16 arithmetic would be off by 4e-3.
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)


@every_divergence
def test_gradient_equals_finite_differences(name):
    generator = torch.Generator().manual_seed(3)
    student = torch.randn(3, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = random_log_probs(4, 3, 6, sharpness=1.0)

    def nats(logits: torch.Tensor) -> torch.Tensor:
        return DIVERGENCES[name](torch.log_softmax(logits, dim=-1), teacher)

    assert torch.autograd.gradcheck(nats, (student,))


@every_divergence
def test_teacher_side_gradient_equals_finite_differences(name):
    student = random_log_probs(5, 3, 6, sharpness=1.0)
    generator = torch.Generator().manual_seed(6)
    teacher = torch.randn(3, 6, generator=generator, dtype=torch.float64, requires_grad=True)

    def nats(logits: torch.Tensor) -> torch.Tensor:
        return DIVERGENCES[name](student, torch.log_softmax(logits, dim=-1))

    assert torch.autograd.gradcheck(nats, (teacher,))


def test_forward_kl_gradient_is_student_minus_teacher():
    student = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    forward_kl(torch.log_softmax(student, dim=-1), logs(*TEACHER)).backward()
    torch.testing.assert_close(student.grad, torch.tensor([-0.4, 0.4], dtype=torch.float64))


@every_divergence
def test_ids_that_both_rule_out_change_nothing(name):
    """Padding ids: values and gradients are those of the vocabulary without them."""
    generator = torch.Generator().manual_seed(7)
    real = torch.randn(5, 9, generator=generator, dtype=torch.float64)
    teacher = random_log_probs(8, 5, 9)
    never = torch.full((5, 3), -math.inf, dtype=torch.float64)
    gradients, values = [], []
    for padding in (never[:, :0], never):
        logits = real.clone().requires_grad_()
        padded = torch.log_softmax(torch.cat([logits, padding], dim=-1), dim=-1)
        value = DIVERGENCES[name](padded, torch.cat([teacher, padding], dim=-1))
        value.sum().backward()
        values.append(value.detach())
        gradients.append(logits.grad)
    assert values[1].isfinite().all() and gradients[1].isfinite().all()
    torch.testing.assert_close(values[0], values[1], rtol=1e-13, atol=0)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-15)


@every_divergence
def test_gradient_at_minus_infinity_itself_is_finite(name):
    student = torch.cat([random_log_probs(9, 4, 5), torch.full((4, 2), -math.inf)], dim=-1)
    student.requires_grad_()
    teacher = torch.cat([random_log_probs(10, 4, 5), torch.full((4, 2), -math.inf)], dim=-1)
    DIVERGENCES[name](student, teacher).sum().backward()
    assert student.grad.isfinite().all()
    assert (student.grad[:, 5:] == 0).all()


def test_ids_that_only_one_rules_out():
    student, teacher = logs(0.5, 0.5), logs(1.0, 0.0)
    assert forward_kl(student, teacher).item() == pytest.approx(math.log(2))
    assert reverse_kl(student, teacher).item() == math.inf
    assert forward_kl(teacher, student).item() == math.inf
    assert skewed_reverse_kl(student, teacher, alpha=0.1).isfinite()


pairs = st.tuples(
    st.integers(0, 2**31),
    st.integers(2, 40),
    st.floats(0.01, 30.0),  # up to near one-hot
)


@settings(max_examples=60, deadline=None)
@given(pairs, st.sampled_from(sorted(DIVERGENCES)), st.booleans())
def test_divergences_are_never_negative(pair, name, single):
    seed, vocab, sharpness = pair
    student = random_log_probs(seed, 3, vocab, sharpness=sharpness)
    teacher = random_log_probs(seed + 1, 3, vocab, sharpness=sharpness)
    if single:
        student, teacher = student.float(), teacher.float()
    value = DIVERGENCES[name](student, teacher)
    assert value.isfinite().all()
    assert value.min() > (-2e-6 if single else -1e-13)
    # Far apart, it says so.
    if sharpness > 1:
        assert value.max() > 0


@settings(max_examples=60, deadline=None)
@given(pairs, st.floats(0.01, 0.99))
def test_symmetries_and_bounds(pair, weight):
    seed, vocab, sharpness = pair
    a = random_log_probs(seed, 2, vocab, sharpness=sharpness)
    b = random_log_probs(seed + 1, 2, vocab, sharpness=sharpness)
    exact = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-14)
    exact(forward_kl(a, b), reverse_kl(b, a))
    exact(generalized_jsd(a, b, beta=0.5), generalized_jsd(b, a, beta=0.5))
    exact(generalized_jsd(a, b, beta=weight), generalized_jsd(b, a, beta=1 - weight))
    exact(total_variation(a, b), total_variation(b, a))
    exact(skewed_forward_kl(a, b, alpha=weight), skewed_reverse_kl(b, a, alpha=weight))
    assert generalized_jsd(a, b, beta=0.5).max() <= math.log(2) + 1e-14
    assert skewed_forward_kl(a, b, alpha=weight).max() <= -math.log(weight) + 1e-12
    assert total_variation(a, b).max() <= 1 + 1e-14
    # Pinsker's inequality ties two of them together.
    assert (total_variation(a, b) ** 2 <= forward_kl(a, b) / 2 + 1e-13).all()


@pytest.mark.parametrize("beta", [0, 1, -0.1, 1.5, math.nan])
def test_jsd_refuses_the_end_points(beta):
    message = rf"beta must be in \(0, 1\), got {beta}\. Use forward_kl or reverse_kl"
    with pytest.raises(ValueError, match=message):
        generalized_jsd(logs(*STUDENT), logs(*TEACHER), beta=beta)


@pytest.mark.parametrize("skewed", [skewed_forward_kl, skewed_reverse_kl])
def test_skewed_kl_refuses_the_end_points(skewed):
    for alpha in (0, 1):
        with pytest.raises(ValueError, match=rf"alpha must be in \(0, 1\), got {alpha}"):
            skewed(logs(*STUDENT), logs(*TEACHER), alpha=alpha)


def test_token_nll_reads_the_token():
    table = torch.stack([logs(0.9, 0.1), logs(0.2, 0.8)])
    nats = token_nll(table, torch.tensor([1, 1]))
    torch.testing.assert_close(nats, -logs(0.1, 0.8), rtol=1e-14, atol=0)
    assert token_nll(table.bfloat16(), torch.tensor([1, 1])).dtype == torch.float32


def test_two_means_weigh_a_long_sequence_differently():
    nats = torch.tensor([1.0, 4.0, 4.0, 4.0], dtype=torch.float64)
    lengths = torch.tensor([1, 3])
    assert mean_over_tokens(nats).item() == pytest.approx(13 / 4)
    assert mean_over_sequences(nats, lengths).item() == pytest.approx((1 + 4) / 2)
    assert mean_over_tokens(nats, divisor=26).item() == pytest.approx(0.5)


@pytest.mark.parametrize("reduction", ["mean_over_tokens", "mean_over_sequences"])
def test_weights_of_a_split_window_add_up_to_its_mean(reduction):
    lengths = torch.tensor([3, 1, 5, 2])
    nats = torch.rand(11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = {
        "mean_over_tokens": mean_over_tokens(nats),
        "mean_over_sequences": mean_over_sequences(nats, lengths),
    }[reduction]
    total, start = 0.0, 0
    for part in (lengths[:1], lengths[1:3], lengths[3:]):
        weights = token_weights(reduction, part, window_tokens=11, window_sequences=4)
        total += (weights * nats[start : start + len(weights)]).sum().item()
        start += len(weights)
    assert total == pytest.approx(whole.item(), rel=1e-14)
    assert token_weights(reduction, lengths).sum().item() == pytest.approx(1, rel=1e-14)


def test_means_refuse_what_has_no_mean():
    nats = torch.ones(3)
    with pytest.raises(ValueError, match="positive divisor, got 0"):
        mean_over_tokens(torch.ones(0))
    with pytest.raises(ValueError, match="add up to 4, but there are 3 nats"):
        mean_over_sequences(nats, torch.tensor([2, 2]))
    with pytest.raises(ValueError, match=r"at least one token, got lengths \[3, 0\]"):
        mean_over_sequences(nats, torch.tensor([3, 0]))
    with pytest.raises(ValueError, match="unknown reduction 'batchmean'. Use one of mean_over"):
        token_weights("batchmean", torch.tensor([3]))
