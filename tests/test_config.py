"""RunConfig: refusals that say what to do, the JSON round trip, and the flags made from it."""

import dataclasses
import json

import pytest

from skd_lab.cli.flags import field_help
from skd_lab.config import RunConfig, flag
from skd_lab.errors import UsageError
from skd_lab.presets import PRESETS, with_preset

PAIR = {"pair": "tiny-qwen3"}


@pytest.mark.parametrize("name", ["max_new_tokens", "steps", "batch_size", "microbatch_size"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(UsageError, match=f"{flag(name)} must be at least 1, got 0"):
        RunConfig(**PAIR, **{name: 0})
    assert getattr(RunConfig(**PAIR, **{name: 1}), name) == 1


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_greedy_has_its_own_name(role, value):
    with pytest.raises(UsageError, match=rf"--{role}-temperature must be above 0.*--{role}-greedy"):
        RunConfig(**PAIR, **{f"{role}_temperature": value})


@pytest.mark.parametrize(
    "values, message",
    [
        ({"student_top_p": 0.0}, r"--student-top-p must be in \(0, 1\], got 0.0"),
        ({"teacher_top_p": 1.5}, r"--teacher-top-p must be in \(0, 1\], got 1.5"),
        ({"gamma": 0}, "--gamma must be at least 1 or adaptive, got 0"),
        ({"gamma": "often"}, "--gamma must be at least 1 or adaptive, got often"),
        ({"learning_rate": 0.0}, "--learning-rate must be above 0"),
        ({"loss_temperature": -1.0}, "--loss-temperature must be above 0"),
        ({"max_grad_norm": float("nan")}, "--max-grad-norm must be above 0"),
        ({"weight_decay": -0.1}, "--weight-decay must not be negative"),
        ({"seed": -1}, "--seed must not be negative"),
        ({"lr_schedule": "step"}, "--lr-schedule must be one of cosine, .*, got step"),
        ({"reduction": "sum"}, "--reduction must be one of mean_over_tokens, .*, got sum"),
        ({"mixed_precision": "fp8"}, "--mixed-precision must be one of no, bf16, fp16, got fp8"),
        ({"over_long": "keep"}, "--over-long must be one of drop, cut_left, error"),
        ({"dtype": "int8"}, "--dtype must be one of float32"),
        ({"steps": 2.5}, "--steps must be a whole number, got 2.5"),
        ({"steps": True}, "--steps must be a whole number, got True"),
        ({"learning_rate": "fast"}, "--learning-rate must be a number, got fast"),
        ({"resume": 1}, "--resume must be true or false"),
        ({"steps": 10, "warmup_steps": 10}, "never come down"),
        ({"resume": True, "overwrite": True}, "give one"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(values, message):
    with pytest.raises(UsageError, match=message):
        RunConfig(**PAIR, **values)


def test_models_are_a_pair_or_both_of_two():
    with pytest.raises(UsageError, match="--pair tiny-qwen3, or both"):
        RunConfig(student="folder")
    assert RunConfig(student="a", teacher="b").pair is None


def test_json_round_trip_keeps_every_field():
    odd = {"student_top_p": 0.9, "n_prompts": 7, "resume": True, "learning_rate": 1e-3}
    config = RunConfig(**PAIR, **odd)
    assert RunConfig.from_json(config.to_json()) == config
    assert set(json.loads(config.to_json())) == {f.name for f in dataclasses.fields(RunConfig)}


def test_an_unknown_key_is_refused_by_name():
    with pytest.raises(
        UsageError, match="no field 'temprature'.*Fields are: .*teacher_temperature"
    ):
        RunConfig.from_dict({**PAIR, "temprature": 1.0})


def test_paths_become_text(tmp_path):
    config = RunConfig(**PAIR, run_dir=tmp_path / "run")
    assert config.run_dir == str(tmp_path / "run")
    assert RunConfig.from_json(config.to_json()) == config


def test_a_preset_fills_only_what_was_not_given():
    preset = PRESETS["tiny-qwen3"]
    assert with_preset({}).pair == "tiny-qwen3"
    assert with_preset({}).accept_top_k == preset["accept_top_k"] == 3
    assert with_preset({"accept_top_k": 8, "gamma": None}).accept_top_k == 8
    assert with_preset({"accept_top_k": 8, "gamma": None}).gamma == preset["gamma"]
    # generated prompts have no end; somebody's file is used whole
    assert with_preset({}).n_prompts == 1000
    assert with_preset({"task": "jsonl"}).n_prompts is None
    assert with_preset({"task": "jsonl", "n_prompts": 7}).n_prompts == 7
    assert with_preset({"student": "a", "teacher": "b"}).n_prompts is None
    # the paper's K for any other pair
    assert with_preset({"student": "a", "teacher": "b"}).accept_top_k == 25


def test_every_field_says_what_it_is():
    helps = field_help()
    assert set(helps) == {field.name for field in dataclasses.fields(RunConfig)}
    assert all(text.endswith(".") or text.endswith(")") for text in helps.values())
