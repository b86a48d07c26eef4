"""--track: the run's own numbers in TensorBoard and wandb, or a refusal before a model loads."""

import json
import math
import signal
import sys
import types

import pytest
from accelerate import tracking as accelerate_tracking
from accelerate.utils import LoggerType

import skd_lab as skd
from skd_lab import trackers
from skd_lab.cli import main
from skd_lab.errors import NonFiniteLossError, SkdError, UsageError
from skd_lab.presets import with_preset
from skd_lab.stopping import Stopped
from skd_lab.train import _Loop


def config(run_dir, track, **changes):
    settings = dict(
        pair="tiny-qwen3", n_prompts=8, steps=5, batch_size=2, max_new_tokens=12, trace_prompts=0,
        eval_every=2, eval_prompts=2, run_dir=str(run_dir), track=track,
    )  # fmt: skip
    return with_preset(settings | changes)


def train(config):
    return skd.train(config, pair=skd.load_pair("tiny-qwen3", device="cpu"), progress=False)


@pytest.fixture
def wandb(monkeypatch):
    """Stands in for the package: keeps what each wandb.init was told and given."""
    runs = []

    class Run:
        def __init__(self, **options):
            self.options, self.lines, self.finished = options, [], 0
            runs.append(self)

        def log(self, values, step=None):
            self.lines.append((step, values))

        def finish(self):
            self.finished += 1

    module = types.ModuleType("wandb")
    module.init = Run
    module.config = types.SimpleNamespace(
        update=lambda values, **_: runs[-1].options.update(config=values)
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setitem(trackers._AVAILABLE, "wandb", lambda: True)
    known = {*accelerate_tracking._available_trackers, LoggerType.WANDB}
    monkeypatch.setattr(accelerate_tracking, "_available_trackers", list(known))
    return runs


def scalars(run_dir):
    """{name: [(step, value), ...]} as TensorBoard shows them."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = events.EventAccumulator(str(run_dir / "tensorboard" / "skd_lab"))
    shown.Reload()
    return {
        name: [(event.step, event.value) for event in shown.Scalars(name)]
        for name in shown.Tags()["scalars"]
    }


def test_tensorboard_shows_every_update_every_evaluation_and_the_configuration(tmp_path):
    pytest.importorskip("tensorboard")
    result = train(config(tmp_path / "run", "tensorboard"))
    shown = scalars(result.run_dir)
    for name in ("loss", "lr", "replacement_rate", "tokens_per_second"):
        expected = [(r.step, pytest.approx(r.metrics[name], rel=1e-6)) for r in result.steps]
        assert shown[f"train/{name}"] == expected, name
    run = skd.Run(result.run_dir)
    for name in ("kl_references", "kl_samples"):
        expected = [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in run.evals]
        assert shown[f"eval/{name}"] == expected and len(expected) == 4, name
    scores = [(line["step"], line["metrics"]["facts_exact"]["value"]) for line in run.evals]
    assert shown["eval/facts_exact"] == scores
    (hparams,) = (result.run_dir / "tensorboard").rglob("hparams.yml")
    assert "batch_size: 2" in hparams.read_text() and "method: skd" in hparams.read_text()


def test_only_finite_numbers_are_shown(tmp_path):
    pytest.importorskip("tensorboard")
    result = train(config(tmp_path / "run", "tensorboard", method="sft"))
    assert all(math.isnan(record.metrics["teacher_nll"]) for record in result.steps)
    shown = scalars(result.run_dir)
    assert "train/teacher_nll" not in shown and len(shown["train/loss"]) == 5


def test_a_resumed_run_goes_on_in_the_same_log_without_a_step_twice(tmp_path, monkeypatch, wandb):
    pytest.importorskip("tensorboard")
    rollouts = _Loop._rollouts

    def stopped(self):
        if self.done == 3:
            raise KeyboardInterrupt
        return rollouts(self)

    settings = config(tmp_path / "run", "tensorboard,wandb", save_every=2)
    monkeypatch.setattr(_Loop, "_rollouts", stopped)
    with pytest.raises(Stopped):
        train(settings)
    monkeypatch.setattr(_Loop, "_rollouts", rollouts)
    train(settings.replace(resume=True))
    # update 3 was done twice: after checkpoint 2 by the first session, and by the second
    assert [step for step, _ in scalars(tmp_path / "run")["train/loss"]] == [1, 2, 3, 4, 5]
    assert len(list((tmp_path / "run" / "tensorboard").rglob("hparams.yml"))) == 1
    first, second = wandb
    assert first.options["id"] == second.options["id"] and second.options["resume"] == "allow"
    assert [step for step, values in second.lines if "train/loss" in values] == [3, 4, 5]
    train(settings.replace(overwrite=True))
    assert wandb[2].options["id"] != first.options["id"]
    assert [step for step, _ in scalars(tmp_path / "run")["train/loss"]] == [1, 2, 3, 4, 5]


def test_wandb_gets_the_run_its_configuration_and_its_numbers(tmp_path, wandb):
    result = train(config(tmp_path / "mine", "wandb"))
    (run,) = wandb
    assert run.options["project"] == "skd_lab" and run.options["name"] == "mine"
    assert run.options["dir"] == str(tmp_path / "mine") and run.options["config"]["batch_size"] == 2
    losses = [(step, v["train/loss"]) for step, v in run.lines if "train/loss" in v]
    assert losses == [(record.step, record.metrics["loss"]) for record in result.steps]
    assert [step for step, v in run.lines if "eval/kl_samples" in v] == [0, 2, 4, 5]
    assert run.finished == 1
    steps = [step for step, _ in run.lines]
    assert steps == sorted(steps)  # wandb drops what goes back


@pytest.mark.parametrize("end", ["error", "signal"])
def test_trackers_are_closed_when_a_run_does_not_end_well(end, tmp_path, monkeypatch, wandb):
    rollouts = _Loop._rollouts

    def ends(self):
        if self.done == 2:
            if end == "error":
                raise NonFiniteLossError("planted")
            signal.raise_signal(signal.SIGTERM)
        return rollouts(self)

    monkeypatch.setattr(_Loop, "_rollouts", ends)
    with pytest.raises(NonFiniteLossError if end == "error" else Stopped):
        train(config(tmp_path / "run", "wandb"))
    assert wandb[0].finished == 1


def test_a_tracker_that_does_not_start_is_said(tmp_path, monkeypatch, wandb):
    def refuse(**_):
        raise RuntimeError("no key")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with pytest.raises(SkdError, match="no key.*wandb login.*WANDB_MODE=offline"):
        train(config(tmp_path / "run", "wandb"))


def test_names_come_once_and_in_order(monkeypatch):
    monkeypatch.setattr(trackers, "_AVAILABLE", dict.fromkeys(trackers.TRACKERS, lambda: True))
    assert trackers.tracker_names(None) == []
    assert trackers.tracker_names("wandb, tensorboard,wandb") == ["wandb", "tensorboard"]


@pytest.mark.parametrize(
    "track, message",
    [
        ("mlflow", "Unknown tracker 'mlflow'.*tensorboard or wandb"),
        ("tensorboard,nosuch", "Unknown tracker 'nosuch'"),
        ("", "names no tracker"),
        (" , ", "names no tracker"),
    ],
)
def test_unknown_trackers_are_refused(track, message, monkeypatch):
    monkeypatch.setitem(trackers._AVAILABLE, "tensorboard", lambda: True)
    with pytest.raises(UsageError, match=message):
        trackers.tracker_names(track)


@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_a_missing_package_is_refused_before_anything_is_loaded(
    name, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(trackers._AVAILABLE, name, lambda: False)
    monkeypatch.setattr("skd_lab.prepare.load_pair", lambda *_, **__: pytest.fail("loaded"))
    words = ["train", "--run-dir", str(tmp_path / "run"), "--track", name]
    assert main(words) == 2
    assert f"pip install {name}" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_track_is_no_part_of_what_decides_a_run(tmp_path, wandb):
    train(config(tmp_path / "run", None, steps=2))
    train(config(tmp_path / "run", "wandb", steps=2, resume=True))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["track"] == "wandb"
