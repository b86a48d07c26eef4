"""On an accelerator nothing looks at a number inside a block: the text stays what it was."""

import copy

import pytest
import torch
from test_exactness import EOS, VOCAB, ids, pair
from torch.utils._python_dispatch import TorchDispatchMode

from skd_lab.drafting import DraftAndVerify
from skd_lab.errors import SkdError
from skd_lab.sampling import SamplingPolicy, draw_uniforms, refuse_non_finite, sample
from skd_lab.speculative import interleaved_rollout, speculative_rollout

PROMPTS = [[3, 4, 5], [6], [7, 8]]
NEW = 17
LOOKS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::item"}
"""What makes the processor wait for a device."""


class Looks(TorchDispatchMode):
    """Counts what would wait."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removesuffix(".Tensor")
        if name in LOOKS:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def never_waits(monkeypatch):
    """As if the models were on an accelerator."""
    asked = property(lambda self: False, lambda self, value: None)
    monkeypatch.setattr(DraftAndVerify, "waits", asked, raising=False)


def roll(write=interleaved_rollout, gamma=4, eos=EOS, **settings):
    return write(
        *pair("qwen3"),
        PROMPTS,
        gamma=gamma,
        max_new_tokens=NEW,
        eos_token_ids=eos,
        student_policy=SamplingPolicy(),
        teacher_policy=SamplingPolicy(),
        uniforms=draw_uniforms(5, len(PROMPTS), NEW),
        **settings,
    )


@pytest.mark.parametrize("eos", [(), EOS])
@pytest.mark.parametrize(
    "settings",
    [
        {"accept_top_k": 4},
        {"accept_top_k": VOCAB},
        {"accept_top_k": 1, "gamma": "adaptive"},
        {"accept_top_k": 4, "replacement": "student_in_top_k"},
        {"write": speculative_rollout},
    ],
    ids=["some", "all", "adaptive", "by_student", "lossless"],
)
def test_the_text_and_its_record_do_not_change(settings, eos, monkeypatch):
    plain = roll(eos=eos, **settings)
    never_waits(monkeypatch)
    other = roll(eos=eos, **settings)
    assert ids(plain) == ids(other)
    for one, two in zip(plain, other, strict=True):
        assert one.finished == two.finished and one.trace.source == two.trace.source
        assert one.trace.discarded == two.trace.discarded
        for name in ("proposed_id", "teacher_rank", "block"):
            assert torch.equal(getattr(one.trace, name), getattr(two.trace, name)), name
        torch.testing.assert_close(one.trace.student_log_prob, two.trace.student_log_prob)


def test_a_draft_is_made_without_a_look(monkeypatch):
    def looks_of_a_draft():
        found = []
        inner = DraftAndVerify._draft

        def watched(game):
            with Looks() as looks:
                drafted = inner(game)
            found.append(len(looks.seen))
            return drafted

        with monkeypatch.context() as patch:
            patch.setattr(DraftAndVerify, "_draft", watched)
            roll(accept_top_k=4)
        return found

    assert min(looks_of_a_draft()) >= 4  # one a token at least, where it costs nothing
    never_waits(monkeypatch)
    monkeypatch.setattr("skd_lab.drafting.refuse_non_finite", lambda logits: None)
    assert set(looks_of_a_draft()) == {0}


def test_logits_that_are_not_finite_are_refused_once_a_block(monkeypatch):
    never_waits(monkeypatch)
    student, teacher = copy.deepcopy(pair("qwen3"))  # they are shared
    with torch.no_grad():
        student.lm_head.weight[:] = torch.nan
    monkeypatch.setattr("test_no_waiting.pair", lambda name: (student, teacher))
    with pytest.raises(SkdError, match="not finite"):
        roll(accept_top_k=4)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("greedy", [False, True])
def test_an_unchecked_draw_stays_in_the_vocabulary(bad, greedy):
    logits = torch.full((2, 7), bad)
    logits[0] = 0.0
    numbers, policy = torch.tensor([0.5, 0.5]), SamplingPolicy(greedy=greedy)
    drawn = sample(logits, policy, numbers, checked=False)
    assert drawn[0] == sample(logits[:1], policy, numbers[:1])[0]
    assert 0 <= drawn[1] < 7
    with pytest.raises(SkdError, match="not finite"):
        refuse_non_finite(logits)
    refuse_non_finite(logits[:1])
