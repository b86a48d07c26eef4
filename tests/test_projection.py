"""Chunked projection: equal to dense in value and gradient, and what it refuses."""

import math
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skd_lab.losses import forward_kl, generalized_jsd, reverse_kl, token_nll
from skd_lab.projection import Projection, chunked_divergence, chunked_nll

TOKENS, STUDENT_DIM, TEACHER_DIM, ROWS, VOCAB = 23, 8, 12, 53, 50


class Case:
    """A student head, a teacher head and hidden states under them, all with something to say."""

    def __init__(self, dtype=torch.float64, bias=True, softcap=None, scale=1.0, tokens=TOKENS):
        generator = torch.Generator().manual_seed(0)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        self.hidden = normal(tokens, STUDENT_DIM).requires_grad_()
        self.weight = normal(ROWS, STUDENT_DIM).requires_grad_()
        self.bias = normal(ROWS).requires_grad_() if bias else None
        self.teacher_hidden = normal(tokens, TEACHER_DIM).requires_grad_()
        self.teacher_weight = normal(ROWS + 4, TEACHER_DIM).requires_grad_()
        self.student = Projection(self.weight, self.bias, softcap, scale, VOCAB)
        self.teacher = Projection(self.teacher_weight, None, softcap, 1.0, VOCAB)
        self.weights = torch.rand(tokens, generator=generator, dtype=torch.float64)
        self.ids = torch.randint(VOCAB, (tokens,), generator=generator)

    def trained(self):
        return [x for x in (self.hidden, self.weight, self.bias) if x is not None]

    def gradients(self, loss):
        return torch.autograd.grad(loss, self.trained())

    def dense(self, divergence, temperature=1.0):
        student = torch.log_softmax(self.student.logits(self.hidden) / temperature, dim=-1)
        with torch.no_grad():
            logits = self.teacher.logits(self.teacher_hidden)
            teacher = torch.log_softmax(logits / temperature, dim=-1)
        nats = divergence(student, teacher)
        return (nats * self.weights.to(nats)).sum(), nats

    def chunked(self, divergence, temperature=1.0, chunk_tokens=5):
        return chunked_divergence(
            divergence,
            self.hidden,
            self.student,
            self.teacher_hidden,
            self.teacher,
            self.weights,
            temperature=temperature,
            chunk_tokens=chunk_tokens,
        )


OBJECTIVES = [forward_kl, reverse_kl, partial(generalized_jsd, beta=0.3)]


@pytest.mark.parametrize("divergence", OBJECTIVES)
@pytest.mark.parametrize(
    ("bias", "softcap", "scale", "temperature", "chunk_tokens"),
    [
        (True, None, 1.0, 1.0, 5),  # the last chunk is shorter
        (False, 3.0, 1.0, 1.0, 1),
        (True, 3.0, 0.25, 2.0, 7),
        (False, None, 0.5, 0.7, 100),  # one chunk
        (True, None, 1.0, 1.0, None),
    ],
)
def test_chunked_equals_dense(divergence, bias, softcap, scale, temperature, chunk_tokens):
    case = Case(bias=bias, softcap=softcap, scale=scale)
    loss, nats, _ = case.chunked(divergence, temperature, chunk_tokens)
    expected, expected_nats = case.dense(divergence, temperature)
    exact = partial(torch.testing.assert_close, rtol=1e-11, atol=1e-13)
    exact(loss, expected)
    exact(nats, expected_nats.detach())
    exact(case.gradients(loss), case.gradients(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunked_equals_dense_in_low_precision(dtype):
    case = Case(dtype=dtype, softcap=5.0, tokens=200)
    loss, nats, entropy = case.chunked(forward_kl, chunk_tokens=16)
    expected, _ = case.dense(forward_kl)
    assert loss.dtype == nats.dtype == entropy.dtype == torch.float32
    # Sums of 200 terms in another order; the logits themselves are the same numbers.
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    gradients = case.gradients(loss), case.gradients(expected)
    assert [g.dtype for g in gradients[0]] == [dtype] * 3
    for ours, dense in zip(*gradients, strict=True):
        # bfloat16 keeps 8 bits, and each chunk's matrix product is rounded to them.
        bound = (2e-5 if dtype == torch.float32 else 2e-2) * dense.abs().max()
        assert (ours - dense).abs().max() <= bound


def test_bfloat16_weight_gradient_is_summed_in_float32():
    """A thousand equal small shares: a bfloat16 sum stops growing at 256 times one share."""
    tokens = 1000
    hidden = torch.ones(tokens, 1, dtype=torch.bfloat16)
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    head = Projection(weight)
    ids, weights = torch.zeros(tokens, dtype=torch.long), torch.full((tokens,), 1 / 128)
    loss, _, _ = chunked_nll(hidden, head, ids, weights, chunk_tokens=1)
    loss.backward()
    # Each token adds (1 - 1/2) / 128.
    assert weight.grad.flatten().tolist() == pytest.approx([-3.90625, 3.90625], rel=4e-3)


def test_float16_keeps_slopes_that_would_underflow_in_it():
    """Weights of 1e-7 are below float16's smallest number; a loss scale comes too late here."""
    case = Case(dtype=torch.float32, tokens=64)
    case.weights = case.weights * 1e-7
    with torch.autocast("cpu", dtype=torch.float16):
        loss, _, _ = case.chunked(forward_kl, chunk_tokens=16)
    exact, _ = case.dense(forward_kl)
    for ours, dense in zip(case.gradients(loss), case.gradients(exact), strict=True):
        assert (ours - dense).abs().max() <= 1e-2 * dense.abs().max()


def test_weights_of_zero_give_no_loss_and_no_gradient():
    case = Case()
    case.weights = torch.zeros(TOKENS)
    loss, nats, _ = case.chunked(forward_kl)
    assert loss == 0 and (nats > 0).all()
    assert all((gradient == 0).all() for gradient in case.gradients(loss))


def test_under_autocast_the_products_are_bfloat16_and_the_gradients_float32():
    case = Case(dtype=torch.float32, tokens=64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _, _ = case.chunked(forward_kl, chunk_tokens=16)
        expected, _ = case.dense(forward_kl)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    exact, _ = case.dense(forward_kl)
    assert abs(loss.item() - exact.item()) > 1e-6 * exact.item()
    for ours, dense in zip(case.gradients(loss), case.gradients(expected), strict=True):
        assert ours.dtype == torch.float32
        assert (ours - dense).abs().max() <= 2e-2 * dense.abs().max()


def test_chunked_nll_equals_dense():
    case = Case(softcap=4.0)
    loss, nats, _ = chunked_nll(case.hidden, case.student, case.ids, case.weights, chunk_tokens=4)
    log_probs = torch.log_softmax(case.student.logits(case.hidden), dim=-1)
    expected_nats = token_nll(log_probs, case.ids)
    expected = (expected_nats * case.weights).sum()
    exact = partial(torch.testing.assert_close, rtol=1e-11, atol=1e-13)
    exact(loss, expected)
    exact(nats, expected_nats.detach())
    exact(case.gradients(loss), case.gradients(expected))


def test_gradient_equals_finite_differences():
    case = Case(softcap=3.0, tokens=4)

    def loss(hidden, weight, bias):
        student = Projection(weight, bias, 3.0, 0.8, VOCAB)
        return chunked_divergence(
            forward_kl,
            hidden,
            student,
            case.teacher_hidden,
            case.teacher,
            case.weights,
            chunk_tokens=3,
        )[0]

    inputs = (case.hidden, case.weight, case.bias)
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)


def test_backward_multiplies_the_slope_that_arrives():
    case = Case()
    loss, _, _ = case.chunked(forward_kl)
    single, tripled = case.gradients(loss), case.gradients(3 * case.chunked(forward_kl)[0])
    for one, three in zip(single, tripled, strict=True):
        torch.testing.assert_close(3 * one, three)


def test_swapped_roles_fail_to_match():
    case = Case()
    right = case.chunked(forward_kl)[0]
    swapped = chunked_divergence(
        forward_kl, case.teacher_hidden, case.teacher, case.hidden, case.student, case.weights
    )[0]
    torch.testing.assert_close(right, case.dense(forward_kl)[0])
    torch.testing.assert_close(swapped, case.chunked(reverse_kl)[0])
    assert abs(swapped - right) > 0.01 * right


def test_teacher_never_has_a_gradient():
    case = Case()
    loss, _, _ = case.chunked(forward_kl)
    loss.backward()
    assert case.teacher_hidden.grad is None and case.teacher_weight.grad is None
    assert case.hidden.grad.abs().min() > 0
    # Rows beyond the shared vocabulary are never trained.
    assert (case.weight.grad[VOCAB:] == 0).all() and (case.weight.grad[:VOCAB] != 0).any(1).all()


def test_entropy_and_nats_are_detached_records():
    case = Case(scale=0.3)
    for temperature in (1.0, 3.0):
        loss, nats, entropy = case.chunked(forward_kl, temperature)
        assert loss.requires_grad and not nats.requires_grad and not entropy.requires_grad
        log_probs = torch.log_softmax(case.student.logits(case.hidden).detach(), dim=-1)
        expected = torch.distributions.Categorical(logits=log_probs).entropy()
        torch.testing.assert_close(entropy, expected, rtol=1e-12, atol=1e-14)


def test_entropy_counts_a_ruled_out_id_as_nothing():
    bias = torch.tensor([0.0, 0.0, -math.inf], dtype=torch.float64)
    head = Projection(torch.zeros(3, 2, dtype=torch.float64, requires_grad=True), bias)
    hidden = torch.ones(1, 2, dtype=torch.float64)
    loss, nats, entropy = chunked_nll(hidden, head, torch.tensor([0]), torch.ones(1))
    assert entropy.item() == pytest.approx(math.log(2)) == nats.item()
    loss.backward()
    assert head.weight.grad.isfinite().all()


def test_makes_no_gradient_where_none_is_wanted():
    case = Case()
    with torch.no_grad(), Operations() as without:
        loss, nats, entropy = case.chunked(forward_kl)
    assert not loss.requires_grad and len(nats) == len(entropy) == TOKENS
    assert not any("backward" in name for name in without.names)
    with Operations() as wanted:
        expected = case.chunked(forward_kl)[0]
    assert any("backward" in name for name in wanted.names)
    torch.testing.assert_close(loss, expected.detach(), rtol=0, atol=0)


class Operations(TorchDispatchMode):
    """Records the names of the operations that ran."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


def test_frozen_parts_get_no_gradient_and_the_rest_does():
    case = Case()
    expected = case.gradients(case.dense(forward_kl)[0])
    case.hidden = case.hidden.detach()
    case.chunked(forward_kl)[0].backward()
    torch.testing.assert_close(case.weight.grad, expected[1], rtol=1e-11, atol=1e-13)

    case = Case()
    case.student = Projection(case.weight.detach(), case.bias.detach(), vocab_size=VOCAB)
    case.chunked(forward_kl)[0].backward()
    assert case.weight.grad is None and case.bias.grad is None
    torch.testing.assert_close(case.hidden.grad, expected[0], rtol=1e-11, atol=1e-13)


def test_refusals_say_what_to_do():
    case = Case()
    none = Case(tokens=0)
    with pytest.raises(ValueError, match="at least one token, got none. Drop empty completions"):
        none.chunked(forward_kl)
    with pytest.raises(ValueError, match="at least one token, got none"):
        chunked_nll(none.hidden, none.student, none.ids, none.weights)
    with pytest.raises(ValueError, match="same tokens, got 23 and 22 hidden states"):
        case.teacher_hidden = case.teacher_hidden[1:]
        case.chunked(forward_kl)
    with pytest.raises(ValueError, match="one hidden state, got 22 ids and 23"):
        chunked_nll(case.hidden, case.student, case.ids[1:], case.weights)
    with pytest.raises(ValueError, match=r"23 tokens need as many weights, got shape \(22,\)"):
        chunked_nll(case.hidden, case.student, case.ids, case.weights[1:])
    case = Case()
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        case.chunked(forward_kl, temperature=0)
    with pytest.raises(ValueError, match="chunk_tokens must be at least 1, got 0"):
        case.chunked(forward_kl, chunk_tokens=0)
    case.teacher = Projection(case.teacher_weight)
    with pytest.raises(ValueError, match="same ids, got 50 and 57. Pass the shared vocab_size"):
        case.chunked(forward_kl)
    with pytest.raises(ValueError, match="from 1 to the 53 rows of the output head, got 54"):
        Projection(case.weight, vocab_size=54)
