"""Comparative KD: all pairs in closed form, what the anchor sees, the budget of the teacher."""

import pytest
import torch
from neighbour_texts import ids, write
from test_conformance import TOKENS, VOCAB, logits, scored
from tiny import tiny_model

from skd_lab.batch import collate
from skd_lab.errors import UsageError
from skd_lab.family import ckd
from skd_lab.objectives import get_objective
from skd_lab.rollout import reference_rollout


def test_all_pairs_equal_the_closed_form():
    student, teacher = logits(1), logits(0)
    objective = get_objective("comparative", settings={"anchor": 0.0})
    loss, _, _ = objective.of(scored(student, teacher))
    e = ckd.error(torch.log_softmax(student, -1), torch.log_softmax(teacher, -1))
    pairs = (e[:, None] - e[None]).square().sum(-1).mean() / VOCAB
    torch.testing.assert_close(loss, pairs)


def test_what_all_samples_share_is_seen_by_the_anchor_alone():
    student, teacher = logits(1), logits(0)
    shared = torch.linspace(-1, 2, VOCAB, dtype=torch.float64)

    def loss(moved, anchor):
        objective = get_objective("comparative", settings={"anchor": anchor})
        return objective.of(scored(moved, teacher))[0].item()

    assert loss(student + shared, 0.0) == pytest.approx(loss(student, 0.0), rel=1e-12)
    assert abs(loss(student + shared, 1.0) - loss(student, 1.0)) > 0.1


def test_the_order_of_the_samples_does_not_matter():
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(0))
    plain, moved = (
        get_objective("comparative").of(scored(logits(1)[o], logits(0)[o]))[0]
        for o in (torch.arange(TOKENS), order)
    )
    torch.testing.assert_close(plain, moved, rtol=1e-12, atol=0)


def test_one_token_cannot_be_compared():
    rollouts = reference_rollout([[5]], [[7]], eos_token_ids=[1])
    seen = scored(logits(1)[:1], logits(0)[:1], batch=collate(rollouts, 0),
                  weights=torch.ones(1, dtype=torch.float64))  # fmt: skip
    with pytest.raises(UsageError, match="has only 1. Raise --microbatch-size"):
        get_objective("comparative").of(seen)


def test_the_teacher_is_asked_for_no_more_than_the_budget():
    memory, looked = {}, []
    teacher = tiny_model("qwen3", seed=2, hidden_size=24)
    teacher.register_forward_hook(lambda _, args, out: looked.append(1))
    first = write("ckd", memory, {"budget": 13}, teacher=teacher)
    assert memory["ckd"]["spent"] == 12 and len(memory["ckd"]["cache"]) == 3 and len(looked) == 1
    # three references of four tokens fit; the other rows use them again
    assert ids(first[:3]) == [[3, 4, 9 + row, 1] for row in range(3)]
    assert all(rollout.completion_ids.tolist() in ids(first[:3]) for rollout in first)
    again = write("ckd", memory, {"budget": 13}, teacher=teacher)
    assert len(looked) == 1 and ids(again) == ids(first)
    assert all(rollout.teacher_hidden.shape == (4, 24) for rollout in again)


@pytest.mark.parametrize(
    "budget, says", [(0, "budget must be at least 1 token, got 0"), (3, "3 tokens is less than")]
)
def test_a_budget_for_nothing_is_refused(budget, says):
    with pytest.raises(UsageError, match=says):
        write("ckd", settings={"budget": budget})
