"""Steps of one fixed shape, recorded or not, write the text that plain decoding writes."""

import pytest
import torch
from test_exactness import VOCAB, ids, pair

from skd_lab import decoders
from skd_lab.decode import Decoder, decoding
from skd_lab.errors import UsageError
from skd_lab.rollout import student_rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout

PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11, 12, 13, 14, 15], [16, 17]]
NEW = 15
ENDS = [1, 2, 20, 21, 22]
HERE = torch.device("cpu")
NUMBERS = draw_uniforms(5, len(PROMPTS), NEW)


def interleaved(architecture, accept_top_k=4, gamma=4):
    return interleaved_rollout(
        *pair(architecture),
        PROMPTS,
        accept_top_k=accept_top_k,
        gamma=gamma,
        max_new_tokens=NEW,
        eos_token_ids=ENDS,
        student_policy=SamplingPolicy(),
        teacher_policy=SamplingPolicy(),
        uniforms=NUMBERS,
        keep_teacher_hidden=True,
    )


def alone(architecture):
    settings = dict(max_new_tokens=NEW, policy=SamplingPolicy(), eos_token_ids=ENDS)
    return student_rollout(pair(architecture)[0], PROMPTS, uniforms=NUMBERS[0], **settings)


def recorder_like_a_graph(run):
    """Results stand where they stood the first time, and nothing is run before it is replayed."""
    logits, hidden = (None if x is None else torch.full_like(x, torch.nan) for x in run())

    def replay():
        for held, new in zip((logits, hidden), run(), strict=True):
            if held is not None:
                held.copy_(new)

    return replay, (logits, hidden)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gemma2", "gemma3"])
def test_the_text_is_that_of_plain_decoding(architecture, recorded, monkeypatch):
    plain = [
        interleaved(architecture),
        interleaved(architecture, VOCAB, gamma="adaptive"),
        alone(architecture),
    ]
    assert len({len(rollout.completion_ids) for rollout in plain[0]}) > 1  # rows leave early
    monkeypatch.setattr(Decoder, "static", True)
    if recorded:
        monkeypatch.setitem(decoders.RECORDERS, "cpu", recorder_like_a_graph)
    fixed = [
        interleaved(architecture),
        interleaved(architecture, VOCAB, gamma="adaptive"),
        alone(architecture),
    ]
    assert [ids(rollouts) for rollouts in fixed] == [ids(rollouts) for rollouts in plain]
    for one, two in zip(plain[0], fixed[0], strict=True):
        torch.testing.assert_close(one.teacher_hidden, two.teacher_hidden, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_step_of_some_width_is_recorded_once_and_never_changes_its_shape(
    architecture, monkeypatch
):
    recorded, shapes = [], set()

    def recorder(run):
        recorded.append(run)
        return recorder_like_a_graph(run)

    inner = Decoder._forward

    def forward(decoder, ids, positions, visible, prefill=False):
        if not prefill:
            shapes.add((id(decoder), *ids.shape, visible, ids.data_ptr(), positions.data_ptr()))
        return inner(decoder, ids, positions, visible, prefill)

    monkeypatch.setattr(Decoder, "static", True)
    monkeypatch.setitem(decoders.RECORDERS, "cpu", recorder)
    monkeypatch.setattr(Decoder, "_forward", forward)
    interleaved(architecture)
    # the student's steps of 1, the teacher's of gamma, and of what is left at the limit
    assert 2 <= len(recorded) == len(shapes) <= 5
    assert {rows for _, rows, *_ in shapes} == {len(PROMPTS)}
    assert len({visible for *_, visible, _, _ in shapes}) == 1


def test_states_that_only_go_forward_are_decoded_as_ever(monkeypatch):
    plain = alone("qwen3_next")
    monkeypatch.setattr(Decoder, "static", True)
    assert ids(alone("qwen3_next")) == ids(plain)


def test_a_way_of_decoding_is_chosen_for_a_while():
    with decoding("compiled", HERE):
        assert Decoder.compiled and not Decoder.static
        with pytest.raises(RuntimeError), decoding("plain", HERE):
            assert not Decoder.compiled
            raise RuntimeError
        assert Decoder.compiled
    with decoding("recorded", torch.device("cuda")):
        assert Decoder.static and not Decoder.compiled
    assert not Decoder.compiled and not Decoder.static


def test_a_way_that_cannot_be_here_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="needs a CUDA device"), decoding("recorded", HERE):
        pass
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UsageError, match="needs a C\\+\\+ compiler"), decoding("compiled", HERE):
        pass
