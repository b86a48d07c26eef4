"""A run that was stopped, killed or damaged goes on to what an uninterrupted one gives."""

import dataclasses
import json
import shutil
import signal
import threading

import kill_points
import pytest
import torch

import skd_lab as skd
from skd_lab.cli import main
from skd_lab.environment import read_sessions
from skd_lab.errors import DataError, SkdError, UsageError
from skd_lab.presets import with_preset
from skd_lab.stopping import Stopped, StopRequest
from skd_lab.train import _Loop

WORDS = (
    "--pair tiny-qwen3 --n-prompts 12 --batch-size 2 --max-new-tokens 16 --warmup-steps 2 "
    "--trace-prompts 1 --trace-every 2 --eval-every 3 --eval-prompts 2 --device cpu"
)
STEPS = 12


def words(run_dir, *more):
    return ["train", "--run-dir", str(run_dir), *WORDS.split(), "--quiet", *more]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The records of a run that nothing disturbed."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    assert main(words(run_dir, "--steps", str(STEPS))) == 0
    return kill_points.records(run_dir)


def test_runs_killed_at_any_moment_end_like_one_that_was_not(whole, tmp_path):
    run_dir = tmp_path / "run"
    start = words(run_dir, "--steps", str(STEPS), "--save-every", "2")
    for point, seconds in kill_points.draw_points(seed=0, kills=5):
        assert kill_points.run(run_dir, start, point, seconds) == -signal.SIGKILL, point
    assert main(["train", "--run-dir", str(run_dir), "--resume", "--quiet"]) == 0
    assert kill_points.records(run_dir) == whole


def config(run_dir, **changes):
    flags = dict(zip(WORDS.split()[::2], WORDS.split()[1::2], strict=True))
    settings = {name[2:].replace("-", "_"): value for name, value in flags.items()}
    numbers = {name: int(value) for name, value in settings.items() if value.isdigit()}
    return with_preset({**settings, **numbers, "steps": STEPS, "run_dir": str(run_dir), **changes})


def train(config):
    return skd.train(config, pair=skd.load_pair("tiny-qwen3", device="cpu"), progress=False)


@pytest.fixture
def at_update(monkeypatch):
    """at_update(n, do): call `do` once, in the middle of the nth update, after its rollouts."""

    def plan(number, do):
        rollouts = _Loop._rollouts

        def planned(self):
            made = rollouts(self)
            if self.done == number - 1:
                monkeypatch.setattr(_Loop, "_rollouts", rollouts)
                do()
            return made

        monkeypatch.setattr(_Loop, "_rollouts", planned)

    return plan


def ctrl_c(times=1):
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)


def checkpoints(run_dir):
    return sorted(path.name for path in (run_dir / "checkpoints").glob("*"))


def test_ctrl_c_finishes_the_update_saves_and_says_how_to_go_on(whole, tmp_path, at_update, capsys):
    run_dir = tmp_path / "run"
    at_update(4, ctrl_c)
    assert main(words(run_dir, "--steps", str(STEPS))) == 130
    said = capsys.readouterr().err
    assert "Stopping after this update" in said
    command = f"skd-lab train --run-dir {run_dir} --resume"
    assert f"4 of 12 updates are done and saved; go on with: {command}" in said
    assert checkpoints(run_dir) == ["step-000004"]
    assert main([*command.split()[1:], "--quiet"]) == 0
    assert kill_points.records(run_dir) == whole


def test_a_second_ctrl_c_stops_at_once_and_loses_nothing_saved(whole, tmp_path, at_update):
    run_dir = tmp_path / "run"
    at_update(6, lambda: ctrl_c(times=2))
    with pytest.raises(KeyboardInterrupt, match="at once after 5 of 12 updates, of which 4 are"):
        train(config(run_dir, save_every=2))
    assert checkpoints(run_dir) == ["step-000002", "step-000004"]
    train(config(run_dir, save_every=2, resume=True))
    assert kill_points.records(run_dir) == whole


def test_sigterm_is_143_and_the_last_update_is_no_exception(whole, tmp_path, at_update, capsys):
    run_dir = tmp_path / "run"
    at_update(STEPS, lambda: signal.raise_signal(signal.SIGTERM))
    assert main(words(run_dir, "--steps", str(STEPS))) == 143
    assert "12 of 12 updates are done and saved" in capsys.readouterr().err
    assert kill_points.records(run_dir) == whole  # the student was written too


def test_a_run_stopped_before_its_first_update_starts_again(whole, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    observe = _Loop._observe

    def stopped(self):
        ctrl_c()
        observe(self)

    monkeypatch.setattr(_Loop, "_observe", stopped)
    with pytest.raises(Stopped, match="before the first checkpoint; start again with: .*resume"):
        train(config(run_dir))
    monkeypatch.undo()
    assert checkpoints(run_dir) == []
    train(config(run_dir, resume=True))
    assert kill_points.records(run_dir) == whole


def test_a_stop_while_models_load_changes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("skd_lab.prepare.pair_for", lambda _: ctrl_c())
    assert main(words(tmp_path / "run")) == 130
    assert "before the first update; start again as you did" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_handlers_are_left_as_they_were_found():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Stopped) as stopped, StopRequest(4, "go") as stop:
        assert signal.getsignal(signal.SIGTERM) == stop._note
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.exit_code == 143
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest(4, "go") as stop:
            ctrl_c()
        assert stop.number is None and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_has_no_handlers_and_trains(tmp_path):
    seen = []

    def work():
        with StopRequest(4, "go"):
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_signal_after_the_last_update_is_not_swallowed():
    with pytest.raises(Stopped), StopRequest(4, "go") as stop:
        stop.patient = True
        ctrl_c()


def test_other_errors_leave_a_stop_request_as_they_are():
    with pytest.raises(ValueError, match="mine"), StopRequest(4, "go"):
        raise ValueError("mine")


def test_a_damaged_newest_checkpoint_falls_back_and_ends_the_same(
    whole, tmp_path, at_update, caplog
):
    run_dir = tmp_path / "run"
    at_update(6, ctrl_c)
    with pytest.raises(Stopped):
        train(config(run_dir, save_every=4))
    weights = run_dir / "checkpoints" / "step-000006" / "student" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    caplog.clear()
    train(config(run_dir, save_every=4, resume=True))
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1 and "step-000006 is damaged" in said[0] and "step-000004" in said[0]
    assert kill_points.records(run_dir) == whole


def test_a_resume_that_cannot_be_is_refused_by_name(tmp_path, at_update):
    run_dir = tmp_path / "run"
    with pytest.raises(UsageError, match="no run in .*run to go on with"):
        train(config(run_dir, resume=True))
    at_update(3, ctrl_c)
    with pytest.raises(Stopped):
        train(config(run_dir, save_every=2))
    before = kill_points.contents(run_dir)
    with pytest.raises(UsageError, match="--gamma was 4 and is now 2; --learning-rate was"):
        train(config(run_dir, save_every=2, resume=True, gamma=2, learning_rate=3e-4))
    for path in (run_dir / "checkpoints").iterdir():
        (path / "optimizer.pt").unlink()
    with pytest.raises(UsageError, match="No checkpoint .*step-000003.*step-000002.*--overwrite"):
        train(config(run_dir, save_every=2, resume=True))
    after = kill_points.contents(run_dir)
    assert {name: text for name, text in before.items() if "optimizer" not in name} == after


def test_a_run_of_a_version_with_fewer_fields_goes_on(tmp_path, at_update):
    run_dir = tmp_path / "run"
    at_update(1, ctrl_c)
    with pytest.raises(Stopped):
        train(config(run_dir, steps=2, warmup_steps=0))
    saved = json.loads((run_dir / "config.json").read_text())
    del saved["track"], saved["loss_temperature"]
    (run_dir / "config.json").write_text(json.dumps(saved))
    with pytest.raises(UsageError, match="--loss-temperature was 1.0 and is now 2.0"):
        train(config(run_dir, steps=2, warmup_steps=0, resume=True, loss_temperature=2.0))
    assert main(["train", "--run-dir", str(run_dir), "--resume", "--quiet"]) == 0
    assert len(skd.Run(run_dir).steps) == 2


def test_a_checkpoint_of_another_run_student_or_version_is_refused(tmp_path):
    short = dict(steps=2, warmup_steps=0, trace_prompts=0, eval_every=None)
    for name, more in (("mine", {}), ("other", {"gamma": 2})):
        train(config(tmp_path / name, **short, **more))
    ours, theirs = (tmp_path / name / "checkpoints/step-000002" for name in ("mine", "other"))
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)
    with pytest.raises(UsageError, match="step-000002 is of another run.*--overwrite"):
        train(config(tmp_path / "mine", **short, resume=True))
    state = json.loads((ours / "state.json").read_text())
    (ours / "state.json").write_text(json.dumps(state | {"format": 2}))
    with pytest.raises(UsageError, match="newer skd_lab, in format 2; this one reads up to 1"):
        train(config(tmp_path / "mine", **short, resume=True))
    del state["run"], state["format"]  # as versions before these two wrote it
    (ours / "state.json").write_text(json.dumps(state))
    pairs = [skd.load_pair("tiny-qwen3", device="cpu") for _ in range(2)]
    bigger = dataclasses.replace(pairs[0], student=pairs[1].teacher)
    with pytest.raises(UsageError, match="is not the one to go on with.*Give the models"):
        skd.train(config(tmp_path / "mine", **short, resume=True), pair=bigger, progress=False)
    assert len(train(config(tmp_path / "mine", **short, resume=True)).steps) == 2


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"steps": 10'])
def test_a_damaged_configuration_is_said(text, tmp_path, capsys):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "config.json").write_text(text)
    with pytest.raises(DataError, match="config.json is damaged.*copy of it back.*--overwrite"):
        train(config(run_dir, resume=True))
    assert main(["train", "--run-dir", str(run_dir), "--resume"]) == 2
    assert "config.json is damaged" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("schedule", ["linear", "constant", "constant_with_warmup"])
def test_every_schedule_goes_on_where_it_stood(schedule, tmp_path, at_update):
    changes = {"lr_schedule": schedule, "steps": 6, "trace_prompts": 0, "eval_every": None}
    rates = [step.metrics["lr"] for step in train(config(tmp_path / "a", **changes)).steps]
    at_update(4, ctrl_c)
    with pytest.raises(Stopped):
        train(config(tmp_path / "b", **changes))
    resumed = train(config(tmp_path / "b", resume=True, **changes))
    assert [step.metrics["lr"] for step in resumed.steps] == rates
    assert rates[0] == 0 or schedule == "constant"  # else it warms up


def test_a_student_with_dropout_goes_on_with_the_same_draws(tmp_path, at_update):
    def run(name, **changes):
        pair = skd.load_pair("tiny-qwen3", device="cpu")
        for module in pair.student.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.3
        settings = config(tmp_path / name, steps=6, trace_prompts=0, eval_every=None, **changes)
        torch.manual_seed(len(list(tmp_path.iterdir())))  # what went on before is no matter
        before = torch.get_rng_state()
        try:
            return [repr(s.metrics["loss"]) for s in skd.train(settings, pair=pair).steps]
        finally:
            assert torch.equal(torch.get_rng_state(), before)

    losses = run("whole")
    assert losses == run("again")
    plain = train(config(tmp_path / "plain", steps=6, trace_prompts=0, eval_every=None)).steps
    assert losses != [repr(step.metrics["loss"]) for step in plain]  # dropout does something
    at_update(4, ctrl_c)
    with pytest.raises(Stopped):
        run("stopped")
    assert run("stopped", resume=True) == losses


def test_a_disk_that_is_full_in_the_middle_of_a_record_costs_that_update(
    whole, tmp_path, monkeypatch
):
    run_dir, files = tmp_path / "run", []
    open_path = kill_points.Path.open

    class Full:
        """A file that takes ten bytes and no more."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, line):
            self.file.write(line[:10])
            raise OSError(28, "No space left on device")

    def open_(path, mode="r", *more, **options):
        file = open_path(path, mode, *more, **options)
        if path.name == "steps.jsonl" and mode == "ab":
            files.append(path)
            return Full(file) if len(files) == 6 else file
        return file

    monkeypatch.setattr(kill_points.Path, "open", open_)
    with pytest.raises(SkdError, match="steps.jsonl: No space left on device.*kept"):
        train(config(run_dir, save_every=4))
    assert not (run_dir / "steps.jsonl").read_bytes().endswith(b"\n")
    assert len(skd.Run(run_dir).steps) == 5
    monkeypatch.undo()
    train(config(run_dir, save_every=4, resume=True))
    assert kill_points.records(run_dir) == whole


def test_a_resumed_run_has_one_configuration_and_two_sessions(tmp_path, at_update):
    run_dir = tmp_path / "run"
    at_update(3, ctrl_c)
    with pytest.raises(Stopped):
        train(config(run_dir, overwrite=True))
    saved = (run_dir / "config.json").read_bytes()
    train(config(run_dir, resume=True))
    assert (run_dir / "config.json").read_bytes() == saved
    run = skd.Run(run_dir)
    assert (run.config["resume"], run.config["overwrite"]) == (False, False)
    sessions = read_sessions(run_dir)
    assert [one["from_step"] for one in sessions] == [0, 3]
    assert sessions[0]["torch"] == torch.__version__


def test_a_ctrl_c_of_no_run_says_that_what_was_written_is_kept(monkeypatch, capsys):
    monkeypatch.setattr("skd_lab.cli.train.config_from", lambda *_: ctrl_c())
    assert main(["train"]) == 130
    assert "Interrupted; what was written is kept." in capsys.readouterr().err
