"""The benchmarks run at a tiny size and count right. How fast anything is, no test asserts."""

import contextlib
import json
import time

import pytest
import torch

from benchmarks import growth, loss, machine, rollout, step
from benchmarks.meter import REGIONS, Meter, wrapped
from benchmarks.released_shape import released_rollout, score_again
from benchmarks.sizes import SIZES, as_words, make_pair, make_texts
from benchmarks.step_rows import quiet, step_rows
from skd_lab.errors import UsageError
from skd_lab.rollout import student_rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout

XS = SIZES["XS"]


def test_regions_are_exclusive_and_add_up_to_the_whole():
    class Work:
        def outer(self):
            time.sleep(0.01)
            self.inner()
            return "done"

        def inner(self):
            time.sleep(0.02)

    meter, untouched = Meter(), dict(vars(Work))
    began = time.perf_counter()
    with wrapped(meter, [(Work, "outer", "rest"), (Work, "inner", "backward")]):
        assert Work().outer() == "done"
    whole = time.perf_counter() - began
    assert dict(vars(Work)) == untouched
    assert meter.calls == {"rest": 1, "backward": 1}
    assert meter.wall["backward"] >= 0.02 and meter.wall["rest"] >= 0.01
    assert meter.wall["rest"] + meter.wall["backward"] <= whole


def test_an_inherited_method_is_given_back_to_its_owner():
    class Base:
        def act(self):
            return 1

    class Child(Base):
        pass

    with wrapped(Meter(), [(Child, "act", "rest")]):
        assert "act" in vars(Child) and Child().act() == 1
    assert "act" not in vars(Child) and Child().act() == 1


def test_words_are_ids_and_no_model_can_end_a_text():
    pair = make_pair(XS)
    prompts, references = make_texts(XS, 3)
    assert [len(ids) for ids in prompts + references] == [XS.prompt] * 3 + [XS.new] * 3
    text = pair.tokenizer.apply_chat_template(
        [{"role": "user", "content": as_words(prompts[0])}], add_generation_prompt=True
    )
    assert list(text["input_ids"] if not isinstance(text, list) else text) == prompts[0]
    assert pair.tokenizer.eos_token_id >= pair.student.config.vocab_size
    again = make_pair(XS)
    for one, other in zip(pair.student.parameters(), again.student.parameters(), strict=True):
        assert torch.equal(one, other)


def test_steps_are_counted_and_split(tmp_path):
    names = ["skd_lab supervised_kd", "skd_lab on_policy_kd", "skd_lab skd, gamma 3"]
    with quiet():
        rows = step.measure(XS, step_rows(names), repeats=2, steps=1)
    assert list(rows) == names
    for row in rows.values():
        assert row["steps_timed"] == 2
        assert row["seconds"]["min"] <= row["seconds"]["median"] <= row["seconds"]["max"]
        assert set(row["split"]) == set(REGIONS)
        assert row["cpu_split"]["backward"] > 0 and row["cpu_split"]["student forward"] > 0
        # medians of the parts, of two steps: they need not add up to the median of the whole
        assert 0 < sum(row["cpu_split"].values()) <= 2 * row["cpu_seconds"]["max"]
    alone, own, both = (rows[name] for name in names)
    assert alone["student_forwards_per_token"] == alone["teacher_forwards_per_token"] == 0
    assert alone["split"]["teacher score"] > 0 and own["split"]["teacher score"] > 0
    assert both["split"]["teacher score"] == 0  # verification has scored the text
    assert own["student_forwards_per_token"] == (1 + XS.new) / XS.new
    assert own["teacher_forwards_per_token"] == 0 < both["teacher_forwards_per_token"]
    result = {"benchmark": "step", "size": "XS", "rows": rows}
    saved = json.loads(machine.write_result("try", result, tmp_path).read_text())
    assert saved["machine"]["torch"] == torch.__version__ and "/" not in saved["machine"]["device"]
    assert all(name in step.table(rows) for name in names)


def test_the_way_of_decoding_reaches_the_run():
    [row] = step_rows(["skd_lab on_policy_kd"], decoding="recorded").values()
    with pytest.raises(UsageError, match="needs a CUDA device"):
        row(XS, 1, Meter(), contextlib.nullcontext)


def test_rows_of_trl_are_there_if_trl_is():
    pytest.importorskip("trl", reason="trl is not installed")
    with quiet():
        rows = step.measure(XS, step_rows(["TRL GKD, cache on", "TRL Distillation"]), 1, 1)
    for row in rows.values():
        assert row["student_forwards_per_token"] == 1
        assert row["cpu_split"]["teacher score"] > 0 and row["cpu_split"]["optimizer"] > 0


def test_the_first_row_is_trls_where_it_is_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not any("TRL" in name for name in step_rows())


def test_an_exact_sampler_makes_no_forward_more_than_it_must():
    pair, meter = make_pair(XS), Meter()
    meter.follow("student", pair.student), meter.follow("teacher", pair.teacher)
    rows = {"one": lambda pair, size: rollout.interleaved(3, 1, pair, size)}
    [row] = rollout.measure(XS, rows, repeats=1).values()
    prompts, uniforms = rollout._one_by_one(XS)
    written = interleaved_rollout(
        pair.student,
        pair.teacher,
        prompts,
        accept_top_k=XS.accept_top_k,
        gamma=3,
        max_new_tokens=XS.new,
        eos_token_ids=[],
        student_policy=SamplingPolicy(),
        teacher_policy=SamplingPolicy(),
        uniforms=uniforms,
    )
    tokens = XS.new * len(prompts)
    proposals = sum(one.verified + one.discarded for one in written)
    blocks = sum(len(set(one.trace.block.tolist())) for one in written)
    # and one forward of each model for each prompt
    assert row["student_forwards_per_token"] == (proposals + len(prompts)) / tokens
    assert row["teacher_forwards_per_token"] == (blocks + len(prompts)) / tokens
    assert row["acceptance_rate"] == sum(one.accepted for one in written) / tokens


def test_rollout_rows_run_and_count_their_tokens():
    with quiet():
        rows = rollout.measure(XS, rollout.ROWS, repeats=1)
    assert list(rows) == list(rollout.ROWS)
    assert rows["HF generate, student"]["student_forwards_per_token"] == 1
    assert rows["HF generate, teacher"]["teacher_forwards_per_token"] == 1
    for name, row in rows.items():
        assert row["cpu_seconds_per_kept_token"]["median"] > 0, name
    assert all(name in rollout.table(rows) for name in rows)


@pytest.mark.parametrize("accept_top_k", [1, 20, 64])
def test_the_released_shape_writes_what_our_sampler_writes(accept_top_k):
    """Its shape is measured, with Algorithm 1's decisions: so the same text at another cost."""
    pair = make_pair(XS)
    pair.student.double(), pair.teacher.double()
    prompts, _ = make_texts(XS, 2)
    uniforms = draw_uniforms(3, 2, 23)
    settings = dict(accept_top_k=accept_top_k, max_new_tokens=23)
    ours = interleaved_rollout(
        pair.student,
        pair.teacher,
        prompts,
        eos_token_ids=[],
        student_policy=SamplingPolicy(),
        teacher_policy=SamplingPolicy(),
        uniforms=uniforms,
        **settings,
    )
    for row, prompt in enumerate(prompts):
        ids, refused = released_rollout(pair, prompt, uniforms=uniforms[:, row], **settings)
        assert ids == ours[row].completion_ids.tolist()
        assert refused == ours[row].replaced
        assert score_again(pair, prompt, ids).shape == (23, XS.vocabulary)


def test_the_loss_is_the_same_both_ways():
    case = loss.Case(tokens=20, vocabulary=300)
    values = [(case.both_ways(way), case.head.grad) for way in (case.chunked, case.dense)]
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-5)
    torch.testing.assert_close(values[0][1], values[1][1], rtol=1e-4, atol=1e-7)
    rows = loss.measure([8, 16], dense_up_to=8, repeats=1, vocabulary=300)
    assert [(row["way"], row["tokens"]) for row in rows] == [
        ("chunked", 8),
        ("dense", 8),
        ("chunked", 16),
    ]


def test_growth_changes_one_thing_at_a_time():
    wanted = growth.settings(XS, largest=128)
    assert [s["batch"] for s in wanted if s["series"] == "batch"] == [1, 4, 16, 64]
    assert [s["new"] for s in wanted if s["series"] == "length"] == [64, 128]
    assert {s["gamma"] for s in wanted if s["series"] == "gamma"} == set(growth.GAMMAS)
    rows = growth.measure(XS, [wanted[0], wanted[-1]], repeats=1)
    assert all(row["cpu_seconds_per_kept_token"]["median"] > 0 for row in rows)


def test_on_policy_rollouts_of_the_rows_are_the_librarys():
    pair = make_pair(XS)
    counts = rollout.on_policy(pair, XS)
    prompts, uniforms = rollout._all(XS)
    written = student_rollout(
        pair.student,
        prompts,
        max_new_tokens=XS.new,
        policy=SamplingPolicy(),
        uniforms=uniforms[0],
        eos_token_ids=[],
    )
    assert counts["kept"] == sum(len(one.completion_ids) for one in written) == XS.batch * XS.new
