"""The table of methods: who writes which row's text, what may be minimised on it, what trains."""

import math

import pytest
import torch
from tiny import tiny_model

import skd_lab as skd
from skd_lab.clock import PhaseClock
from skd_lab.errors import UsageError
from skd_lab.methods import CORE_METHODS, METHODS, Method, get_method, register
from skd_lab.objectives import DIVERGENCES, OBJECTIVES, get_objective
from skd_lab.presets import with_preset
from skd_lab.sampling import SamplingPolicy, draw_uniforms, mixing_uniforms
from skd_lab.schedules import top_k_at
from skd_lab.sources import RolloutRequest
from skd_lab.step import teacher_states

PLAIN = SamplingPolicy()
ROWS = 8


def config(tmp_path, **changes):
    settings = dict(
        pair="tiny-qwen3", n_prompts=12, steps=4, batch_size=4, learning_rate=1e-3,
        max_new_tokens=24, trace_prompts=0, run_dir=str(tmp_path / "run"),
    )  # fmt: skip
    return with_preset(settings | changes)


def train(config):
    return skd.train(config, pair=skd.load_pair("tiny-qwen3", device="cpu"), progress=False)


ROW_AND_OBJECTIVE = [
    (method.name, objective)
    for method in map(METHODS.get, CORE_METHODS)
    for objective in method.objectives
    # every divergence once is enough; it does not know who wrote the text
    if objective == method.objectives[0] or method.name == "skd"
]


@pytest.mark.parametrize("method, objective", ROW_AND_OBJECTIVE)
def test_every_row_of_the_table_trains_the_bundled_pair(tmp_path, method, objective):
    before = skd.load_pair("tiny-qwen3", device="cpu").student.state_dict()
    result = train(config(tmp_path, method=method, objective=objective))
    assert [record.step for record in result.steps] == [1, 2, 3, 4]
    after = result.student.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    last, row = result.steps[-1].metrics, METHODS[method]
    for name in ("loss", "grad_norm", "lr", "student_entropy", "completion_tokens"):
        assert math.isfinite(last[name]) and last[name] > 0, name
    assert math.isfinite(last["replacement_rate"]) == ("interleaved" in row.completions)
    assert math.isfinite(last["teacher_nll"]) == (objective != "token_nll")


def request(**changes):
    student, teacher = tiny_model("qwen3", seed=1), tiny_model("qwen3", seed=2, hidden_size=24)
    settings = dict(
        student=student,
        teacher=teacher,
        prompt_ids=[[5, 6, 7 + row] for row in range(ROWS)],
        reference_ids=[[3, 4, 9 + row, 1] for row in range(ROWS)],
        rows=range(100, 100 + ROWS),
        mixing=mixing_uniforms(0, ROWS, first_row=100),
        progress=0.0,
        accept_top_k=2,
        gamma=3,
        replacement="teacher_sample",
        variant="paper",
        max_new_tokens=10,
        eos_token_ids=[1],
        student_policy=PLAIN,
        teacher_policy=PLAIN,
        uniforms=draw_uniforms(0, ROWS, 10, first_row=100),
        vocab_size=None,
        keep_teacher_hidden=True,
        clock=PhaseClock(),
    )
    return RolloutRequest(**(settings | changes))


def texts(name, share=0.5, **changes):
    return [r.completion_ids.tolist() for r in METHODS[name].write(request(**changes), share)]


ALONE = {
    "reference": "supervised_kd",
    "student": "on_policy_kd",
    "teacher": "teacher_kd",
    "interleaved": "skd",
}


def test_the_sources_write_different_texts():
    written = [texts(name) for name in ALONE.values()]
    assert all(a != b for i, a in enumerate(written) for b in written[:i])
    assert texts("sft") == texts("supervised_kd") and texts("seq_kd") == texts("teacher_kd")


@pytest.mark.parametrize("name", ["imit_kd", "gkd", "mixed_skd"])
def test_a_mixed_row_has_the_text_its_source_alone_would_have_written(name):
    first, second = (texts(ALONE[source]) for source in METHODS[name].completions)
    mixed = texts(name)
    chosen = [number < 0.5 for number in mixing_uniforms(0, ROWS, first_row=100)]
    assert True in chosen and False in chosen
    assert mixed == [second[i] if chosen[i] else first[i] for i in range(ROWS)]
    assert texts(name, share=0.0) == first and texts(name, share=1.0) == second


def test_the_share_is_the_share():
    numbers = mixing_uniforms(3, 4000)
    assert abs(sum(number < 0.25 for number in numbers) / 4000 - 0.25) < 0.03
    # and belongs to the row, not to the window
    assert mixing_uniforms(3, 10, first_row=40) == mixing_uniforms(3, 50)[40:]


def test_two_stages_change_at_half_time():
    reference, student = texts("supervised_kd"), texts("on_policy_kd")
    assert texts("two_stage", progress=0.0) == texts("two_stage", progress=0.49) == reference
    assert texts("two_stage", progress=0.5) == texts("two_stage", progress=0.99) == student


def test_rows_keep_their_global_numbers_and_order():
    rollouts = METHODS["mixed_skd"].write(request(), 0.5)
    assert [rollout.row for rollout in rollouts] == list(range(100, 100 + ROWS))
    assert [r.prompt_ids for r in rollouts] == [[5, 6, 7 + row] for row in range(ROWS)]


def test_a_mixed_batch_is_scored_as_if_nothing_had_been_kept():
    asked = request()
    rollouts = METHODS["mixed_skd"].write(asked, 0.5)
    kept = [rollout.teacher_hidden is not None for rollout in rollouts]
    assert True in kept and False in kept
    states = teacher_states(asked.teacher, rollouts, pad_id=0)
    for rollout in rollouts:
        rollout.teacher_hidden = None
    torch.testing.assert_close(
        states, teacher_states(asked.teacher, rollouts, 0), rtol=0, atol=1e-9
    )


def test_what_is_not_in_the_table_is_refused():
    with pytest.raises(UsageError, match="Unknown method 'kd'. Choose one of: sft, seq_kd, "):
        get_method("kd")
    with pytest.raises(UsageError, match="not defined with objective 'reverse_kl'"):
        get_method("supervised_kd").objective_name("reverse_kl")
    with pytest.raises(UsageError, match="already a method 'skd'"):
        register(METHODS["skd"])
    row = dict(name="new", objectives=("forward_kl",), source="-", summary="-")
    with pytest.raises(UsageError, match="from 'oracle'. Choose one of: reference, student"):
        register(Method(completions=("oracle",), **row))
    with pytest.raises(UsageError, match="2 sources and turns ''"):
        register(Method(completions=("reference", "student"), **row))
    assert "new" not in METHODS


def test_the_on_policy_fraction_is_for_those_who_have_one():
    assert METHODS["gkd"].share(None) == 0.5 and METHODS["gkd"].share(0.9) == 0.9
    with pytest.raises(UsageError, match="'imit_kd' are always 0.5.*gkd or mixed_skd"):
        METHODS["imit_kd"].share(0.9)
    with pytest.raises(UsageError, match="'skd' are not mixed"):
        METHODS["skd"].share(0.9)


def test_objectives_take_their_own_weight_and_no_other():
    student, teacher = (torch.tensor([[0.2, 0.8]]).log(), torch.tensor([[0.6, 0.4]]).log())
    for name in DIVERGENCES:
        assert get_objective(name).divergence(student, teacher).item() > 0
    default, heavy = get_objective("generalized_jsd"), get_objective("generalized_jsd", beta=0.9)
    assert default.divergence(student, teacher) != heavy.divergence(student, teacher)
    default, heavy = (
        get_objective("skewed_forward_kl"),
        get_objective("skewed_forward_kl", skew=0.9),
    )
    assert default.divergence(student, teacher) != heavy.divergence(student, teacher)
    assert get_objective("token_nll").divergence is None and "token_nll" in OBJECTIVES
    with pytest.raises(UsageError, match="beta is 0.5, but objective 'forward_kl' has no beta"):
        get_objective("forward_kl", beta=0.5)
    with pytest.raises(UsageError, match="skew is 0.5, but objective 'generalized_jsd' has no"):
        get_objective("generalized_jsd", skew=0.5)
    with pytest.raises(UsageError, match=r"skew must be in \(0, 1\), got 1"):
        get_objective("skewed_reverse_kl", skew=1)
    with pytest.raises(UsageError, match=r"beta must be in \(0, 1\), got 0"):
        get_objective("generalized_jsd", beta=0)
    with pytest.raises(UsageError, match="Unknown objective 'kl'"):
        get_objective("kl")


def test_k_runs_along_its_line():
    assert top_k_at(7, 0.3, 10) == 7
    assert [top_k_at("updates:1..25", p, 4) for p in (0, 0.5, 1, 2)] == [1, 13, 25, 25]
    assert top_k_at("tokens:4..1", 0.9, 4) == (4, 3, 2, 1)
    assert top_k_at("tokens:4..1", 0.0, 1) == (4,)


@pytest.mark.parametrize(
    "value", [0, -3, "25", "tokens", "tokens:4", "tokens:4..", "rows:1..4", "tokens:0..4",
              "updates:4..0", "tokens:-1..4", "updates:1.5..4", ""]
)  # fmt: skip
def test_a_line_that_is_none_is_refused(value):
    with pytest.raises(UsageError, match=r"--accept-top-k must be a whole number from 1, or a"):
        with_preset({"accept_top_k": value})


def test_a_line_over_the_updates_reaches_both_ends(tmp_path):
    # K = 1024 is the whole vocabulary: nothing can be refused there
    result = train(config(tmp_path, accept_top_k="updates:1..1024", steps=3))
    rates = [record.metrics["replacement_rate"] for record in result.steps]
    assert rates[0] > 0 and rates[-1] == 0


def test_the_released_variant_has_no_student_settings():
    with pytest.raises(UsageError, match="--student-top-p is given, but the released code"):
        with_preset({"variant": "released", "student_top_p": 0.5})
    assert with_preset({"variant": "released", "teacher_top_p": 0.5}).variant == "released"


@pytest.mark.parametrize(
    "name", [name for name in CORE_METHODS if "reference" in METHODS[name].completions]
)
def test_a_task_without_references_is_refused_by_whoever_needs_them(tmp_path, name):
    data = tmp_path / "bare.jsonl"
    data.write_text('{"prompt": "What is one plus one?"}\n' * 2)
    asked = config(tmp_path, method=name, task="jsonl", data_path=str(data), n_prompts=None)
    with pytest.raises(UsageError, match=f"'{name}' trains on reference answers.*seq_kd.*skd"):
        train(asked)


@pytest.mark.parametrize(
    "name", [name for name in CORE_METHODS if "reference" not in METHODS[name].completions]
)
def test_a_task_without_references_trains_with_the_others(tmp_path, name):
    data = tmp_path / "bare.jsonl"
    data.write_text('{"prompt": "What is one plus one?"}\n' * 2)
    asked = config(tmp_path, method=name, task="jsonl", data_path=str(data), n_prompts=None)
    assert len(train(asked.replace(steps=1)).steps) == 1
