"""docs/paper_vs_code.md, row by row: a property that holds here and fails in the published code.

Each test states the property once and asks it of both: of skd_lab, where it must hold, and of the
published behaviour (`variant="released"`, or tests/released.py), where it must not.
"""

import re
from pathlib import Path

import pytest
import released
import torch
from tiny import tiny_model

import skd_lab as skd
from skd_lab.acceptance import Block, TopKRule
from skd_lab.batch import collate, completion_logits
from skd_lab.losses import forward_kl, generalized_jsd
from skd_lab.objectives import get_objective
from skd_lab.records import REFERENCE
from skd_lab.rollout import reference_rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms, teacher_rank, warp
from skd_lab.speculative import interleaved_rollout
from skd_lab.step import StudentLoss, teacher_states

PLAIN = SamplingPolicy()
PUBLISHED = SamplingPolicy(temperature=0.2, top_k=50, top_p=0.5)
"""The teacher's settings of the published configuration; 50 is the framework's default."""

STUDENT = tiny_model("qwen3", seed=1, sharpness=10.0)
TEACHER = tiny_model("qwen3", seed=2, hidden_size=24, sharpness=10.0)
PROMPTS = [[3 + row, 4, 5 + row] for row in range(24)]


def roll(**changes):
    asked = dict(
        accept_top_k=3, gamma=5, max_new_tokens=12, eos_token_ids=[], student_policy=PLAIN,
        teacher_policy=PLAIN, uniforms=draw_uniforms(0, len(PROMPTS), 12),
    ) | changes  # fmt: skip
    return interleaved_rollout(STUDENT, TEACHER, PROMPTS, **asked)


def kept_by(rollouts, source):
    """(rank of the proposal, teacher's logits, token) of every kept token of that source."""
    for rollout in rollouts:
        with torch.no_grad():
            ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids.tolist()])
            logits = TEACHER(ids).logits[0, len(rollout.prompt_ids) - 1 : -1]
        for t, who in enumerate(rollout.trace.source):
            if who == source:
                token = rollout.completion_ids[t]
                yield int(teacher_rank(logits[t], token)), logits[t], int(token)


def test_a_the_tested_token_is_the_kept_token():
    def holds(variant):
        return all(rank <= 3 for rank, _, _ in kept_by(roll(variant=variant), "student"))

    assert holds("paper")
    assert not holds("released")  # it tests a second draw and keeps the first


def test_b_the_top_k_is_of_the_teachers_raw_logits():
    # the student is sure of id 0, the teacher's last choice; the teacher's nucleus is one id
    student = torch.full((1, 1, 8), -1e3, dtype=torch.float64)
    student[..., 0] = 0.0
    teacher = torch.arange(8, dtype=torch.float64).view(1, 1, 8)
    block = Block(
        proposals=torch.zeros(1, 1, dtype=torch.long),
        student_logits=student,
        teacher_logits=teacher,
        places=torch.zeros(1, 1, dtype=torch.long),
        uniforms=torch.full((2, 1, 1), 0.5, dtype=torch.float64),
    )
    assert int((warp(teacher, PUBLISHED) > 0).sum()) == 1

    def holds(variant):
        rule = TopKRule(3, student_policy=PUBLISHED, teacher_policy=PUBLISHED, variant=variant)
        return not bool(rule.accepts(block))

    assert holds("paper")
    # ids of probability 0 fill the top 3 up, the lowest first: 0 and 1 beside the nucleus
    assert not holds("released")


def test_c_the_student_has_sampling_settings_of_its_own():
    def holds(variant):
        asked = dict(variant=variant, accept_top_k=32, teacher_policy=PUBLISHED)
        one, other = roll(student_policy=PLAIN, **asked), roll(student_policy=skd.GREEDY, **asked)
        pairs = zip(one, other, strict=True)
        return any(a.completion_ids.tolist() != b.completion_ids.tolist() for a, b in pairs)

    assert holds("paper")
    assert not holds("released")  # student_temperature and student_top_p are never read


def test_d_a_replacement_is_an_unrestricted_draw_from_the_teacher():
    def holds(variant, policy):
        """Whether any replacement lies outside the nucleus of the published settings."""
        written = kept_by(
            roll(variant=variant, teacher_policy=policy, accept_top_k=1, student_policy=PLAIN),
            "teacher",
        )
        return any(warp(logits, PUBLISHED)[token] == 0 for _, logits, token in written)

    config = skd.RunConfig(pair="tiny-qwen3")
    assert SamplingPolicy(**config.policy("teacher")) == PLAIN  # what a run does unless told
    assert holds("paper", PLAIN)
    assert not holds("released", PUBLISHED)


def test_e_a_text_ends_at_the_length_limit():
    uniforms = draw_uniforms(0, 1, 40)

    def ours(limit):
        asked = dict(
            accept_top_k=3, gamma=5, eos_token_ids=[], student_policy=PLAIN, teacher_policy=PLAIN
        )
        (rollout,) = interleaved_rollout(
            STUDENT, TEACHER, PROMPTS[:1], max_new_tokens=limit, uniforms=uniforms, **asked
        )
        return rollout.completion_ids.tolist()

    def theirs(limit):
        return released.generate(
            STUDENT, TEACHER, PROMPTS[0], accept_top_k=3, gamma=5, max_new_tokens=limit,
            policy=PLAIN, uniforms=uniforms[:, 0],
        )  # fmt: skip

    def holds(write):
        """A shorter limit gives the beginning of a longer text, and never more than the limit."""
        long = write(30)
        return all(write(limit) == long[:limit] for limit in range(2, 20))

    assert holds(ours) and len(ours(1)) == 1
    assert not holds(theirs)  # the last block is appended a second time
    with pytest.raises(NameError):
        theirs(1)


def test_f_the_loss_is_on_the_predictions_of_the_completion():
    prompt, answer, vocab = [5, 6, 7], [8, 9, 1], 32
    batch = collate(reference_rollout([prompt], [answer], [1]), pad_id=0)
    teacher = torch.randn(1, 6, vocab, generator=torch.Generator().manual_seed(0))

    def ours(logits):
        return completion_logits(logits, batch)

    def theirs(logits):
        return released.response_logits(logits[0], len(prompt))

    def loss(cut, wrong_at):
        student = teacher.clone()
        student[0, wrong_at] = student[0, wrong_at].flip(0)
        return forward_kl(cut(student).log_softmax(-1), cut(teacher).log_softmax(-1)).sum().item()

    def holds(cut):
        """The prediction of the first answer token counts, what follows the end does not."""
        return loss(cut, wrong_at=2) > 0 and loss(cut, wrong_at=5) == 0

    assert holds(ours)
    assert not holds(theirs)
    assert loss(theirs, wrong_at=2) == 0 and loss(theirs, wrong_at=5) > 0


def test_g_the_jensen_shannon_divergence_is_one_and_beta_weighs_it():
    student = torch.tensor([[1 - 1e-6, 1e-6]], dtype=torch.float64).log()
    teacher = student.flip(-1)

    def bounded(jsd):
        return 0 < jsd(student, teacher, beta=0.5).item() <= torch.log(torch.tensor(2.0)).item()

    def weighted(jsd):
        return not torch.equal(jsd(student, teacher, beta=0.1), jsd(student, teacher, beta=0.5))

    assert bounded(generalized_jsd) and weighted(generalized_jsd)
    assert not bounded(released.jsd) and not weighted(released.jsd)


def test_h_the_sampled_ids_are_the_trained_ids():
    pair = skd.load_pair("tiny-qwen3", device="cpu")
    examples = skd.get_task("summaries").load("validation", 12)
    prompts = [
        row.prompt_ids
        for row in skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=256).encoded
    ]
    rollouts = interleaved_rollout(
        pair.student, pair.teacher, prompts, accept_top_k=300, max_new_tokens=24,
        eos_token_ids=pair.eos_token_ids, vocab_size=pair.vocab_size, teacher_policy=PLAIN,
        # an untrained student's text: odd pieces that a tokenizer would not choose
        student_policy=SamplingPolicy(temperature=4.0), uniforms=draw_uniforms(1, 12, 24),
    )  # fmt: skip
    sampled = [rollout.completion_ids.tolist() for rollout in rollouts]

    def ours(rollout):
        return collate([rollout], pad_id=0).completion_ids.tolist()

    def theirs(rollout):
        return released.trained_ids(pair.tokenizer, rollout.completion_ids)

    assert [ours(rollout) for rollout in rollouts] == sampled
    assert [theirs(rollout) for rollout in rollouts] != sampled
    # where the limit cut a text, an end was trained that nobody had written
    cut = [rollout for rollout in rollouts if not rollout.finished]
    assert cut and all(theirs(rollout)[-1] == pair.tokenizer.eos_token_id for rollout in cut)


def test_i_the_training_forward_has_a_gradient():
    rollouts = reference_rollout([[5, 6, 7]], [[8, 9, 1]], [1])
    assert rollouts[0].trace.source[0] == REFERENCE
    batch = collate(rollouts, pad_id=0)
    batch.teacher_hidden = teacher_states(TEACHER, rollouts, pad_id=0)
    student = tiny_model("qwen3", seed=1)
    module = StudentLoss(student, get_objective("forward_kl"), TEACHER, 32)

    def forward():
        return module(batch, torch.full((3,), 1 / 3, dtype=torch.float64))[0]

    forward().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    with pytest.raises(RuntimeError, match="does not require grad"):
        released.loss(forward).backward()


def test_the_page_names_every_test_here_and_no_other():
    page = (Path(__file__).parent.parent / "docs/paper_vs_code.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_[a-i]_\w+)`", page)
    here = [name for name in globals() if re.match(r"test_[a-i]_", name)]
    assert sorted(named) == sorted(here) and len(here) == 9
