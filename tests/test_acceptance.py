"""Rules of acceptance: the law each of them gives, against the law worked out by hand."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import speculative_loop
from tables import STUDENT_TABLE, TEACHER_TABLE, TableModel, excess, law_of
from tiny import ARCHITECTURES, tiny_model

from skd_lab.errors import UsageError
from skd_lab.metrics import acceptance_rate
from skd_lab.rollout import teacher_rollout
from skd_lab.sampling import GREEDY, SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout, speculative_rollout, stream_rollout

PLAIN = SamplingPolicy()
ROWS, LENGTH, EOS = 2_500, 3, 1
NUMBERS = draw_uniforms(5, ROWS, LENGTH)
STUDENT, TEACHER = TableModel(STUDENT_TABLE), TableModel(TEACHER_TABLE)


def roll(rollout=interleaved_rollout, **changes):
    asked = dict(
        max_new_tokens=LENGTH, eos_token_ids=[EOS], student_policy=PLAIN, teacher_policy=PLAIN
    )
    asked |= dict(uniforms=NUMBERS, gamma=3) | changes
    return rollout(STUDENT, TEACHER, [[0]] * ROWS, **asked)


def warped(row, policy):
    """A policy's distribution of one row of a table, by hand."""
    weights = [p ** (1 / policy.temperature) for p in row]
    weights = [w / sum(weights) for w in weights]
    order = sorted(range(4), key=lambda i: (-weights[i], i))
    order = order[: policy.top_k]
    if policy.top_p is not None:
        total, inside, mass = sum(weights[i] for i in order), [], 0.0
        for i in order:
            if mass >= policy.top_p * total:
                break
            inside.append(i)
            mass += weights[i]
        order = inside
    weights = [w if i in order else 0.0 for i, w in enumerate(weights)]
    return [w / sum(weights) for w in weights]


def best(row, k):
    return sorted(range(4), key=lambda i: (-row[i], i))[:k]


def algorithm_1(k, instead):
    """Keep q inside the top K of p; the rest is shared out by `instead(q, p)`."""

    def keep(q, p, place):
        top = best(p, k[place])
        refused = sum(q[i] for i in range(4) if i not in top)
        other = instead(q, p, top)
        return [(q[i] if i in top else 0.0) + refused * other[i] for i in range(4)]

    return keep


def by_sample(q, p, top):
    return p


def by_argmax(q, p, top):
    return [float(i == best(p, 1)[0]) for i in range(4)]


def by_student_inside(q, p, top):
    mass = sum(q[i] for i in top)
    return [q[i] / mass if i in top else 0.0 for i in range(4)]


INSTEAD = {
    "teacher_sample": by_sample,
    "teacher_argmax": by_argmax,
    "student_in_top_k": by_student_inside,
}


@pytest.mark.parametrize("replacement", INSTEAD)
@pytest.mark.parametrize("k", [1, 2])
def test_each_replacement_has_its_own_law(replacement, k):
    rollouts = roll(accept_top_k=k, replacement=replacement)
    for name, instead in INSTEAD.items():
        law = law_of(algorithm_1([k] * LENGTH, instead), LENGTH, EOS)
        # among one token the student has no choice: that is the teacher's argmax
        same = name == replacement or (k == 1 and "teacher_sample" not in (name, replacement))
        assert (excess(rollouts, law) < 5) == same, name


def test_a_student_drawing_again_stays_in_the_top_k():
    for rollout in roll(accept_top_k=2, replacement="student_in_top_k"):
        last = 0
        for token in rollout.completion_ids.tolist():
            assert token in best(TEACHER_TABLE[last], 2)
            last = token


def test_k_may_differ_from_place_to_place():
    line = [1, 3, 2]
    law = law_of(algorithm_1(line, by_sample), LENGTH, EOS)
    assert excess(roll(accept_top_k=line), law) < 5
    assert excess(roll(accept_top_k=line[::-1]), law) > 20
    # behind the end of the line its last K goes on
    assert [r.completion_ids.tolist() for r in roll(accept_top_k=[1, 3, 3])] == [
        r.completion_ids.tolist() for r in roll(accept_top_k=[1, 3])
    ]


@pytest.mark.parametrize("gamma", [1, 3])
def test_the_released_variant_follows_the_law_of_the_released_code(gamma):
    """Kept by another draw's rank in the warped distribution, with both warped alike."""
    policy, k = SamplingPolicy(temperature=0.7, top_p=0.8), 2

    def keep(q, p, place):
        q, p = warped(q, policy), warped(p, policy)
        accepted = sum(q[i] for i in best(p, k))
        return [accepted * q[i] + (1 - accepted) * p[i] for i in range(4)]

    rollouts = roll(
        accept_top_k=k, variant="released", teacher_policy=policy, gamma=gamma,
        student_policy=GREEDY,  # dead in the released code
    )  # fmt: skip
    assert excess(rollouts, law_of(keep, LENGTH, EOS)) < 5
    assert excess(roll(accept_top_k=k, teacher_policy=policy), law_of(keep, LENGTH, EOS)) > 20


POLICIES = [
    (PLAIN, PLAIN),
    (SamplingPolicy(temperature=0.5), SamplingPolicy(temperature=0.8, top_p=0.9)),
    (SamplingPolicy(top_k=2), PLAIN),
    (PLAIN, GREEDY),
]


@pytest.mark.parametrize("policies", POLICIES, ids=["plain", "warped", "narrow", "greedy teacher"])
@pytest.mark.parametrize("gamma, bonus", [(1, True), (2, True), (3, True), (3, False)])
def test_the_lossless_rule_reproduces_the_teacher(policies, gamma, bonus):
    student, teacher = policies
    rollouts = roll(
        speculative_rollout,
        gamma=gamma, bonus=bonus, student_policy=student, teacher_policy=teacher,
    )  # fmt: skip
    target = SamplingPolicy(top_k=1) if teacher is GREEDY else teacher
    law = law_of(lambda q, p, place: warped(p, target), LENGTH, EOS)
    assert excess(rollouts, law) < 5
    # Algorithm 1 does not: that is the difference between the two
    ours = roll(accept_top_k=3, student_policy=student, teacher_policy=teacher)
    assert excess(ours, law) > 20


def test_one_minus_total_variation_of_the_proposals_is_accepted():
    (q, p), rows = (STUDENT_TABLE[0], TEACHER_TABLE[0]), ROWS
    first = roll(speculative_rollout, max_new_tokens=1, bonus=False)
    expected = sum(min(a, b) for a, b in zip(q, p, strict=True))
    assert abs(acceptance_rate(first) - expected) < 4 * (expected * (1 - expected) / rows) ** 0.5


def test_equal_models_refuse_nothing():
    rollouts = speculative_rollout(
        TEACHER, TEACHER, [[0]] * 200, gamma=3, max_new_tokens=12, eos_token_ids=[EOS],
        student_policy=PLAIN, teacher_policy=PLAIN, uniforms=draw_uniforms(0, 200, 12),
    )  # fmt: skip
    assert acceptance_rate(rollouts) == 1.0
    bonus = [r.trace.proposed_id.tolist().count(-1) for r in rollouts if len(r.completion_ids) >= 4]
    assert bonus and min(bonus) >= 1  # a whole block of 3 earns a fourth token
    assert all(r.verified + r.trace.proposed_id.tolist().count(-1) == len(r.trace)
               for r in rollouts)  # fmt: skip


@functools.cache
def pair(architecture):
    return (
        tiny_model(architecture, seed=1, sharpness=4.0),
        tiny_model(architecture, seed=2, hidden_size=24, sharpness=4.0),
    )


cases = st.fixed_dictionaries(
    {
        "prompts": st.lists(
            st.lists(st.integers(3, 31), min_size=1, max_size=12), min_size=1, max_size=4
        ),
        "gamma": st.integers(1, 6),
        "max_new_tokens": st.integers(1, 14),
        "bonus": st.booleans(),
        "policies": st.sampled_from(POLICIES),
        "seed": st.integers(0, 10**6),
    }
)


def speculate(architecture, case, **changes):
    case = dict(case) | changes
    prompts, (student, teacher) = case.pop("prompts"), case.pop("policies")
    uniforms = draw_uniforms(case.pop("seed"), len(prompts), case["max_new_tokens"])
    return speculative_rollout(
        *pair(architecture), prompts, eos_token_ids=[1, 2], uniforms=uniforms,
        student_policy=student, teacher_policy=teacher, **case,
    )  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(case=cases)
@settings(max_examples=12)
def test_the_lossless_sampler_equals_a_cache_free_loop(architecture, case):
    student, teacher = case["policies"]
    uniforms = draw_uniforms(case["seed"], len(case["prompts"]), case["max_new_tokens"])
    rollouts = speculate(architecture, case)
    for row, rollout in enumerate(rollouts):
        text, sources = speculative_loop(
            *pair(architecture), case["prompts"][row], gamma=case["gamma"], bonus=case["bonus"],
            max_new_tokens=case["max_new_tokens"], eos_token_ids=[1, 2],
            student_policy=student, teacher_policy=teacher, uniforms=uniforms[:, row],
        )  # fmt: skip
        assert rollout.completion_ids.tolist() == text
        assert rollout.trace.source == sources
    one_by_one = speculate(architecture, case, batch_size=1)
    assert [r.completion_ids.tolist() for r in one_by_one] == [
        r.completion_ids.tolist() for r in rollouts
    ]


@given(case=cases, gamma=st.integers(1, 6))
@settings(max_examples=12)
def test_without_a_bonus_gamma_changes_cost_not_text(case, gamma):
    plain = speculate("qwen3", case, bonus=False)
    other = speculate("qwen3", case, bonus=False, gamma=gamma)
    assert [r.completion_ids.tolist() for r in plain] == [r.completion_ids.tolist() for r in other]


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_greedy_teacher_keeps_its_own_text(architecture):
    prompts = [[5, 6, 7], [9], [20, 21]]
    asked = dict(max_new_tokens=14, eos_token_ids=[1, 2])
    alone = teacher_rollout(
        pair(architecture)[1], prompts, policy=GREEDY, uniforms=draw_uniforms(0, 3, 14)[1], **asked
    )
    together = speculative_rollout(
        *pair(architecture), prompts, gamma=4, uniforms=draw_uniforms(0, 3, 14),
        student_policy=PLAIN, teacher_policy=GREEDY, **asked,
    )  # fmt: skip
    assert [r.completion_ids.tolist() for r in together] == [
        r.completion_ids.tolist() for r in alone
    ]


def test_a_stream_grows_into_the_rollout_and_lets_gradients_be():
    asked = dict(
        accept_top_k=3, gamma=4, max_new_tokens=14, eos_token_ids=[1, 2], student_policy=PLAIN,
        teacher_policy=PLAIN, uniforms=draw_uniforms(2, 1, 14),
    )  # fmt: skip
    student, teacher = pair("qwen3")
    student.train()
    seen = []
    for rollout in stream_rollout(student, teacher, [5, 6, 7], **asked):
        assert torch.is_grad_enabled() and student.training
        seen.append(rollout.completion_ids.tolist())
    student.eval()
    (whole,) = interleaved_rollout(student, teacher, [[5, 6, 7]], **asked)
    assert seen[-1] == whole.completion_ids.tolist() and len(seen) > 2
    for before, after in zip(seen, seen[1:], strict=False):
        assert after[: len(before)] == before and len(before) < len(after) <= len(before) + 4


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"accept_top_k": 0}, "accept_top_k must be at least 1, got 0"),
        ({"accept_top_k": [3, 0]}, r"accept_top_k must be at least 1, got \[3, 0\]"),
        ({"accept_top_k": []}, r"accept_top_k must be at least 1, got \[\]"),
        ({"replacement": "student"}, "replacement must be one of teacher_sample, .* got 'student'"),
        ({"variant": "code"}, "variant must be one of paper, released, got 'code'"),
        ({"gamma": 0}, "gamma must be at least 1"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        roll(**({"accept_top_k": 2} | changes))
