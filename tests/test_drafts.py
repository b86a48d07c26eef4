"""The student as a draft: acceptance against hand-worked distributions and total variation."""

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tables import STUDENT_TABLE, TEACHER_TABLE, TableModel
from tiny import tiny_model
from torch import nn

from skd_lab.cli.frame import main
from skd_lab.drafts import DraftReport, draft_difference, draft_report, overlap
from skd_lab.encode import Encoded
from skd_lab.errors import UsageError
from skd_lab.losses import total_variation
from skd_lab.sampling import GREEDY, SamplingPolicy
from skd_lab.tasks import Example

EOS = 1


class Table(TableModel):
    """A table whose hidden state is the last token, one-hot: its head is the table."""

    def __init__(self, table):
        super().__init__(table)
        self.head = nn.Linear(len(table), len(table), bias=False, dtype=torch.float64)
        with torch.no_grad():
            self.head.weight.copy_(self.table.T)

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, **unused):
        states = nn.functional.one_hot(input_ids, len(self.table)).double()
        return SimpleNamespace(logits=self.table[input_ids], hidden_states=(states,))


def pair_of(student, teacher, vocab_size=4):
    return SimpleNamespace(
        student=student,
        teacher=teacher,
        vocab_size=vocab_size,
        eos_token_ids=[EOS],
        pad_token_id=0,
    )


def prompts(n, start=0):
    return [
        Encoded(example=Example(id=str(i), prompt="?"), prompt_ids=[start], reference_ids=None)
        for i in range(n)
    ]


TABLES = pair_of(Table(STUDENT_TABLE), Table(TEACHER_TABLE))


def test_overlap_by_hand():
    student = torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]], dtype=torch.float64).log()
    teacher = torch.tensor([[0.9, 0.1, 0.0], [0.7, 0.2, 0.1]], dtype=torch.float64).log()
    assert overlap(student, teacher).tolist() == pytest.approx([0.6, 0.4])
    assert (1 - total_variation(student, teacher)).tolist() == pytest.approx([0.6, 0.4])
    # greedy drafts stand where both think of the same token first
    assert overlap(student, teacher, GREEDY, GREEDY).tolist() == [1.0, 0.0]
    # at temperature 1/2 both square: [.5 .5] and [.81 .01] / .82
    cold = SamplingPolicy(temperature=0.5)
    assert overlap(student[0], teacher[0], cold, cold).item() == pytest.approx(0.5 + 0.01 / 0.82)


def test_first_proposals_stand_as_often_as_the_tables_say():
    # behind token 0 min(p, q) is [.1 .2 .2 .1]: 0.6 of all proposals stand
    report = draft_report(TABLES, prompts(4000), max_new_tokens=1, gamma=1, batch_size=1000)
    assert report.verified == [1] * 4000 and report.blocks == [1] * 4000
    assert report.expected == pytest.approx([0.6] * 4000)
    assert report.spread == pytest.approx(math.sqrt(4000 * 0.6 * 0.4))
    assert report.acceptance_rate == pytest.approx(0.6, abs=4 * math.sqrt(0.24 / 4000))
    assert report.agrees and abs(report.z) < 4


@pytest.mark.parametrize("gamma", [1, 3, "adaptive"])
def test_both_measures_agree_on_longer_texts(gamma):
    report = draft_report(TABLES, prompts(500), max_new_tokens=12, gamma=gamma, batch_size=100)
    assert report.agrees
    assert report.expected_acceptance == pytest.approx(report.acceptance_rate, abs=0.03)
    # the check has teeth: the chances of another student are far from what was seen
    other = [chance * 0.8 for chance in report.expected]
    assert not dataclasses.replace(report, expected=other).agrees


def test_chances_are_one_minus_total_variation_at_the_prefixes_of_the_text(monkeypatch):
    student, teacher = (tiny_model("qwen3", seed=n, sharpness=10.0) for n in (1, 2))
    written = []
    import skd_lab.drafts as drafts

    original = drafts.speculative_rollout

    def kept(*args, **settings):
        written.extend(original(*args, **settings))
        return written

    monkeypatch.setattr(drafts, "speculative_rollout", kept)
    monkeypatch.setattr(drafts, "_LOGITS", 100)  # a few tokens a chunk
    report = draft_report(
        pair_of(student, teacher, 30), prompts(5, start=7), max_new_tokens=9, gamma=2, batch_size=2
    )
    for rollout, expected in zip(written, report.expected, strict=True):
        ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids.tolist()])
        with torch.no_grad():
            q, p = (m(ids).logits[0, :-1, :30].softmax(-1) for m in (student, teacher))
        chances = 1 - 0.5 * (p - q).abs().sum(-1)
        bonus = rollout.trace.proposed_id < 0
        assert bonus.sum() == len(bonus) - rollout.verified
        assert expected == pytest.approx(chances[~bonus].sum().item())
    assert sum(report.tokens) > sum(report.verified)


def test_a_model_that_drafts_for_itself_is_never_refused():
    twin = pair_of(TABLES.student, TABLES.student)
    report = draft_report(twin, prompts(20), max_new_tokens=8, gamma=3)
    assert report.acceptance_rate == 1.0 and report.expected_acceptance == pytest.approx(1.0)
    assert report.agrees and report.z == 0.0
    # a whole block gives gamma tokens and the bonus token, until the text ends
    assert all(t <= 4 * b for t, b in zip(report.tokens, report.blocks, strict=True))
    long = [n for n, t in enumerate(report.tokens) if t == 8]
    assert long and all(report.blocks[n] == 2 for n in long)


def test_the_batch_changes_nothing():
    one, other = (
        draft_report(TABLES, prompts(7), max_new_tokens=6, gamma=2, batch_size=size)
        for size in (2, 7)
    )
    assert one.to_dict() == other.to_dict()
    assert one.to_dict()["tokens_per_block"] == sum(one.tokens) / sum(one.blocks)


def test_the_difference_of_two_students_by_hand():
    def report(accepted, verified):
        return DraftReport(
            name="", n=len(accepted), gamma=4, accepted=accepted, verified=verified,
            expected=[0.0] * len(accepted), spread=1.0, tokens=[1], blocks=[1],
        )  # fmt: skip

    before, after = report([1, 2], [2, 4]), report([3, 3], [4, 4])
    difference, low, high = draft_difference(after, before)
    assert difference == pytest.approx(0.25) and low == high == pytest.approx(0.25)
    rng = np.random.default_rng(0)
    counts = rng.binomial(10, 0.5, (2, 300))
    difference, low, high = draft_difference(*(report(c.tolist(), [10] * 300) for c in counts))
    assert low < 0 < high and 0.03 < high - low < 0.08
    with pytest.raises(UsageError, match="on the same prompts, got 2 and 300"):
        draft_difference(before, report(counts[0].tolist(), [10] * 300))


def test_nothing_to_draft_is_refused():
    with pytest.raises(UsageError, match="nothing to draft"):
        draft_report(TABLES, [], max_new_tokens=4)
    with pytest.raises(UsageError, match="gamma"):
        draft_report(TABLES, prompts(1), max_new_tokens=4, gamma=0)


def test_the_command_sets_a_run_s_student_beside_the_one_it_began_with(tmp_path, capsys):
    run = str(tmp_path / "run")
    train = ["train", "--steps", "2", "--run-dir", run, "--trace-prompts", "0", "--method", "sft"]
    assert main([*train, "--learning-rate", "0.01"]) == 0
    capsys.readouterr()
    words = ["evaluate", "--draft", "--n", "4", "--run", run]
    assert main([*words, "--json", "-o", str(tmp_path / "draft.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "draft.json").read_text())
    before, after = found["drafts"]
    assert (before["name"], after["name"]) == ("tiny-qwen3/student", "run/student")
    assert before["n"] == 4 and before["agrees"] and before["accepted"] != after["accepted"]
    change = found["difference"]
    assert change["value"] == after["acceptance_rate"] - before["acceptance_rate"]
    assert change["low"] <= change["value"] <= change["high"]
    # without a run one student stands alone, and --baseline sets another beside it
    assert main(words[:4]) == 0
    shown = capsys.readouterr().out
    assert "1 - total variation" in shown and "second minus first" not in shown
    assert main([*words[:4], "--baseline", f"{run}/student"]) == 0
    assert "second minus first" in capsys.readouterr().out
    assert main(["evaluate", "--baseline", run]) == 2
    assert "belongs to --draft" in capsys.readouterr().err
