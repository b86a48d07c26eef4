"""The five exact statements about the sampler, in float64 and without tolerance.

1. gamma, batch size, padding and caching never change the text;
2. accept_top_k >= vocabulary gives student_rollout id for id;
3. accept_top_k = 1 with a greedy teacher gives the teacher's greedy text;
4. every kept student token ranks within the teacher's top K, every replaced one did not;
5. the cached sampler equals a cache-free loop written from Algorithm 1, also beyond a window.
"""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import algorithm_1, draw, next_logits
from tiny import ARCHITECTURES, WINDOW, tiny_model

from skd_lab.rollout import student_rollout, teacher_rollout
from skd_lab.sampling import GREEDY, SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout

VOCAB = 32
EOS = [1, 2]

# derandomize: which examples are tried must not depend on the run
exactly = functools.partial(settings, deadline=None, derandomize=True, database=None)


@functools.cache
def pair(architecture):
    student = tiny_model(architecture, seed=1, vocab_size=VOCAB)
    teacher = tiny_model(architecture, seed=2, vocab_size=VOCAB, hidden_size=24)
    return student, teacher


prompts_of_ragged_length = st.lists(
    st.lists(st.integers(3, VOCAB - 1), min_size=1, max_size=2 * WINDOW), min_size=1, max_size=5
)
policies = st.sampled_from(
    [
        SamplingPolicy(),
        SamplingPolicy(temperature=0.6, top_p=0.8),
        SamplingPolicy(temperature=1.5, top_k=4),
        GREEDY,
    ]
)
cases = st.fixed_dictionaries(
    {
        "prompts": prompts_of_ragged_length,
        "accept_top_k": st.one_of(st.integers(1, 4), st.integers(1, VOCAB)),
        "gamma": st.integers(1, 8),
        "max_new_tokens": st.integers(1, 14),
        "student_policy": policies,
        "teacher_policy": policies,
        "seed": st.integers(0, 10**6),
    }
)


def roll(architecture, case, **changes):
    case = {**case, **changes}
    prompts, seed = case.pop("prompts"), case.pop("seed")
    uniforms = draw_uniforms(seed, len(prompts), case["max_new_tokens"])
    return interleaved_rollout(
        *pair(architecture), prompts, eos_token_ids=EOS, uniforms=uniforms, **case
    )


def ids(rollouts):
    return [rollout.completion_ids.tolist() for rollout in rollouts]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(case=cases, gamma=st.integers(1, 8), batch_size=st.integers(1, 3))
@exactly(max_examples=15)
def test_gamma_batch_and_padding_change_cost_not_text(architecture, case, gamma, batch_size):
    text = ids(roll(architecture, case))
    assert ids(roll(architecture, case, gamma=gamma)) == text
    assert ids(roll(architecture, case, batch_size=batch_size)) == text


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(case=cases)
@exactly(max_examples=15)
def test_k_of_the_whole_vocabulary_is_on_policy_id_for_id(architecture, case):
    uniforms = draw_uniforms(case["seed"], len(case["prompts"]), case["max_new_tokens"])
    student, _ = pair(architecture)
    alone = student_rollout(
        student,
        case["prompts"],
        max_new_tokens=case["max_new_tokens"],
        policy=case["student_policy"],
        uniforms=uniforms[0],
        eos_token_ids=EOS,
    )
    together = roll(architecture, case, accept_top_k=VOCAB)
    assert ids(together) == ids(alone)
    assert all(set(rollout.trace.source) == {"student"} for rollout in together)
    for one, other in zip(together, alone, strict=True):
        log_probs = one.trace.student_log_prob, other.trace.student_log_prob
        torch.testing.assert_close(*log_probs, rtol=0, atol=1e-5)  # float32 records


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(case=cases)
@exactly(max_examples=10)
def test_k_of_one_with_a_greedy_teacher_is_the_greedy_teacher(architecture, case):
    _, teacher = pair(architecture)
    limit = case["max_new_tokens"]
    alone = teacher_rollout(
        teacher,
        case["prompts"],
        max_new_tokens=limit,
        policy=GREEDY,
        uniforms=draw_uniforms(0, len(case["prompts"]), limit)[1],
        eos_token_ids=EOS,
    )
    assert ids(roll(architecture, case, accept_top_k=1, teacher_policy=GREEDY)) == ids(alone)
    prompt, text = list(case["prompts"][0]), []
    while len(text) < limit and (not text or text[-1] not in EOS):
        text.append(int(next_logits(teacher, prompt + text).argmax()))
    assert ids(alone)[0] == text


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(case=cases)
@exactly(max_examples=10)
def test_the_cached_sampler_equals_algorithm_1(architecture, case):
    rollouts = roll(architecture, case)
    uniforms = draw_uniforms(case["seed"], len(case["prompts"]), case["max_new_tokens"])
    for row, (prompt, rollout) in enumerate(zip(case["prompts"], rollouts, strict=True)):
        text, sources, ranks = algorithm_1(
            *pair(architecture),
            prompt,
            accept_top_k=case["accept_top_k"],
            max_new_tokens=case["max_new_tokens"],
            eos_token_ids=EOS,
            student_policy=case["student_policy"],
            teacher_policy=case["teacher_policy"],
            uniforms=uniforms[:, row],
        )
        assert rollout.completion_ids.tolist() == text
        assert rollout.trace.source == sources
        assert rollout.trace.teacher_rank.tolist() == ranks


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(case=cases)
@exactly(max_examples=15)
def test_ranks_sources_and_counts_agree(architecture, case):
    for rollout in roll(architecture, case):
        trace = rollout.trace
        columns = zip(
            trace.source,
            trace.teacher_rank.tolist(),
            trace.proposed_id.tolist(),
            trace.kept_id.tolist(),
            strict=True,
        )
        for source, rank, proposed, kept in columns:
            assert (source == "student") == (rank <= case["accept_top_k"])
            assert source == "teacher" or proposed == kept
        assert rollout.verified == len(trace) == rollout.accepted + rollout.replaced
        blocks = trace.block.tolist()
        assert blocks == sorted(blocks)
        for block in set(blocks):
            own = [i for i, b in enumerate(blocks) if b == block]
            assert len(own) + len(trace.discarded[own[-1]]) <= case["gamma"]
            # a replacement ends its block: what was drafted behind it is discarded
            assert "teacher" not in [trace.source[i] for i in own[:-1]]
            assert not any(trace.discarded[i] for i in own[:-1])
            # and nothing else ends one early: a refusal costs no second look at its position
            last = block == blocks[-1]
            assert last or trace.source[own[-1]] == "teacher" or len(own) == case["gamma"]
        text = rollout.completion_ids.tolist()
        assert not set(text[:-1]) & set(EOS)
        assert rollout.finished == (text[-1] in EOS)
        assert rollout.finished or len(text) == case["max_new_tokens"]


def test_long_rows_cross_the_sliding_window():
    # the tests above are about the window only if ordinary rows are longer than it
    case = {"prompts": [[5] * (2 * WINDOW)], "max_new_tokens": 14, "gamma": 3, "seed": 0}
    case |= {"accept_top_k": 3, "student_policy": GREEDY, "teacher_policy": GREEDY}
    for architecture in ("gemma2", "gemma3"):
        student, _ = pair(architecture)
        assert "sliding_attention" in student.config.layer_types
        assert len(roll(architecture, case)[0].completion_ids) >= 1
        inside, beyond = [7] + [9] * (WINDOW - 1), [8] + [9] * (WINDOW - 1)
        # beyond the window of the only sliding layers a full layer still sees: logits differ
        assert not torch.equal(next_logits(student, inside), next_logits(student, beyond))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_in_float32_the_text_differs_only_at_near_ties(architecture):
    """A draw may move between arithmetic paths; then its two numbers must have been neighbours."""
    models = [model.float() for model in map(_copy, pair(architecture))]
    rows, limit, policy = 12, 24, SamplingPolicy()
    uniforms = draw_uniforms(11, rows, limit)
    prompts = [[3 + row, 4, 5 + row][: 1 + row % 3] for row in range(rows)]
    arguments = dict(accept_top_k=4, max_new_tokens=limit, eos_token_ids=EOS)
    arguments |= dict(student_policy=policy, teacher_policy=policy)
    fast = interleaved_rollout(*models, prompts, gamma=5, uniforms=uniforms, **arguments)
    near_ties = 0
    for row, rollout in enumerate(fast):
        slow, _, _ = algorithm_1(*models, prompts[row], uniforms=uniforms[:, row], **arguments)
        text = rollout.completion_ids.tolist()
        if text == slow:
            continue
        near_ties += 1
        first = next(t for t, (a, b) in enumerate(zip(text, slow, strict=False)) if a != b)
        prefix = prompts[row] + text[:first]
        assert _is_near_tie(models, prefix, uniforms[:, row, first])
    assert near_ties <= 1  # about 600 draws at 1e-5 each


def _copy(model):
    import copy

    return copy.deepcopy(model)


def _is_near_tie(models, prefix, uniforms, width=1e-4):
    """Whether a nudge of a uniform or of the logits would have given another decision."""
    for model, uniform in zip(models, uniforms, strict=True):
        logits = next_logits(model, prefix)
        nudged = {
            draw(logits, SamplingPolicy(), (uniform + shift).clamp(0, 1 - 1e-9))
            for shift in (-width, 0, width)
        }
        ordered = logits.sort().values
        if len(nudged) > 1 or (ordered.diff() < width).any():
            return True
    return False
