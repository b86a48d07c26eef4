"""Two processes give what one gives: curves, gradients, resume, shards, refusals."""

import json
import random
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file
from two_processes import STEPS, at_update, first_gradients, launch, run

from skd_lab.errors import SkdError
from skd_lab.stopping import Stopped

pytestmark = pytest.mark.slow

_DRAW = random.Random(0)
KILLS = {
    # the first process at the moment a finished checkpoint gets its name, the second anywhere
    "short-killed": "0:checkpoint",
    "lora-killed": f"1:{_DRAW.randint(4, 7)}+{_DRAW.random() / 10}",
}
# of a step record, what a clock or a neighbour on the machine decides
TIMES = ("seconds", "tokens_per_second", "cpu_seconds")


def curve(run_dir):
    """Numbers of every update, without times; None where nothing was verified."""
    lines = (run_dir / "steps.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [{k: v for k, v in line.items() if not k.startswith(TIMES)} for line in records]


def assert_same_curve(one, other, tolerance):
    assert [line["step"] for line in one] == [line["step"] for line in other]
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            same = a[name] == b[name] or a[name] == pytest.approx(b[name], rel=0, abs=tolerance)
            assert same, (a["step"], name, a[name], b[name])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same runs by one process, and the first gradients of one of them."""
    folder, gradients, short = tmp_path_factory.mktemp("alone"), {}, {}
    with first_gradients(gradients):
        run(folder, "skd")
    for name in ("on_policy_kd", "supervised_kd"):
        run(folder, name)
    with first_gradients(short):
        run(folder, "short")
    return folder, gradients, short


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """One launch of two processes serves all tests here: starting them is what takes long."""
    folder = tmp_path_factory.mktemp("together")
    with at_update(5, lambda _: signal.raise_signal(signal.SIGINT)), pytest.raises(Stopped):
        run(folder, "short-begun")
    for name, kill in KILLS.items():
        assert not launch(folder, f"killed:{name}:{kill}", code=None)  # neither came to its end
        shutil.copy(folder / name / "steps.jsonl", folder / f"{name}.jsonl")
    going_on = [f"resumed:{name}" for name in ("short-begun", *KILLS)]
    jobs = ("curves", "stopped_and_resumed", "refusals", "no_memory", "sharded")
    reports = launch(folder, *jobs, *going_on, "whole:lora-whole")
    # accelerate and torchrun may start one process and say nothing
    assert [report["processes"] for report in reports] == [2, 2]
    return folder, reports


def seen(together, job):
    return [report[job] for report in together[1]]


@pytest.mark.parametrize(
    ("name", "tolerance"), [("skd", 1e-12), ("on_policy_kd", 1e-12), ("supervised_kd", 1e-5)]
)
def test_two_processes_give_the_curve_of_one(alone, together, name, tolerance):
    one, two = curve(alone[0] / name), curve(together[0] / name)
    assert len(two) == STEPS
    assert_same_curve(two, one, tolerance)


def test_every_gradient_is_the_same_on_both_and_that_of_one_process(alone, together):
    folder, (first, second) = together[0], seen(together, "curves")
    gradients = torch.load(folder / "gradients.pt", weights_only=True)
    assert gradients.keys() == alone[1].keys() and len(gradients) == first["gradients"]
    assert first["apart"] == second["apart"] == 0
    for name, gradient in alone[1].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-15, msg=name)


def test_the_first_process_alone_writes(together):
    first, second = seen(together, "curves")
    assert first["written"] and not second["written"]
    sessions = json.loads((together[0] / "skd/environment.json").read_text())["sessions"]
    assert [session["processes"] for session in sessions] == [2]
    traces = (together[0] / "skd/traces.ndjson").read_text().splitlines()
    headers = [json.loads(line) for line in traces if '"schema"' in line]
    assert [header["step"] for header in headers] == [0, 10, 20, 25]


def test_a_signal_to_one_process_stops_both_and_they_go_on(alone, together):
    first, second = seen(together, "stopped_and_resumed")
    assert "5 of 8 updates are done and saved" in first["said"] and second["said"][:3] == "143"
    assert_same_curve(curve(together[0] / "short-stopped"), curve(alone[0] / "short"), 1e-12)


def test_another_number_of_processes_goes_on_with_a_run(alone, together):
    whole = curve(alone[0] / "short")
    # two processes after one, and one after two: plain and sharded
    assert [job["steps"] for job in seen(together, "resumed:short-begun")] == [8, 8]
    assert_same_curve(curve(together[0] / "short-begun"), whole, 1e-12)
    for name in ("short-alone", "short-unsharded"):
        assert len(curve(together[0] / name)) == 5
        run(together[0], name, resume=True)
        assert_same_curve(curve(together[0] / name), whole, 1e-12)


def test_processes_that_cannot_share_the_work_are_told_so(together):
    for refused in seen(together, "refusals"):
        assert "5 prompts of an update" in refused["batch"] and "by 2 processes" in refused["batch"]
        assert "different checkpoints" in refused["disks"] and "4, 2" in refused["disks"]
    assert not (together[0] / "odd").exists()


def test_one_process_out_of_memory_tries_again_and_nobody_waits_for_ever(alone, together):
    assert [job["failed"] for job in seen(together, "no_memory")] == [[], [2]]
    assert "going on with 1 rows at a time, not 2" in together[1][0]["said"]
    assert_same_curve(curve(together[0] / "short-full"), curve(alone[0] / "short"), 1e-12)


def test_a_sharded_student_gives_the_curve_and_the_gradients_of_one(alone, together):
    gradients = torch.load(together[0] / "sharded_gradients.pt", weights_only=True)
    assert gradients.keys() == alone[2].keys()
    for name, gradient in alone[2].items():
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-15, msg=name)
    for name in ("short-sharded", "short-shards"):  # the second was stopped and went on
        assert_same_curve(curve(together[0] / name), curve(alone[0] / "short"), 1e-12)


def test_each_process_holds_half_and_their_rollouts_differ_in_length(together):
    first, second = seen(together, "sharded")
    for one in (first, second):
        assert one["split"] and one["held"] < 0.6 * one["whole"]
    assert first["forwards"] != second["forwards"] and len(first["forwards"]) == 8


def test_a_sharded_students_folder_is_plain_and_equal(alone, together):
    one = load_file(alone[0] / "short/student/model.safetensors")
    two = load_file(together[0] / "short-sharded/student/model.safetensors")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-12, msg=name)


def test_one_process_alone_has_nobody_to_split_with(tmp_path):
    with pytest.raises(SkdError, match="several processes, and there is one.*torchrun"):
        run(tmp_path, "short", shard_student=True)
    assert not (tmp_path / "short").exists()


@pytest.mark.parametrize("name", KILLS)
def test_a_process_that_is_killed_leaves_a_run_that_goes_on(alone, together, name):
    done = len((together[0] / f"{name}.jsonl").read_text().splitlines())
    assert 2 <= done < 8  # it was in the middle
    assert [job["steps"] for job in seen(together, f"resumed:{name}")] == [8, 8]
    # a quantised teacher's float32 depends on how many rows there are: compared with two processes
    own = name == "lora-killed"
    uninterrupted = together[0] / "lora-whole" if own else alone[0] / "short"
    assert_same_curve(curve(together[0] / name), curve(uninterrupted), 1e-12)
    files = [folder / "student/model.safetensors" for folder in (together[0] / name, uninterrupted)]
    one, other = map(load_file, files)
    assert one.keys() == other.keys()
    for key in one:  # adapters are merged into it
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=1e-12, msg=key)
