"""The loop: every method trains, a run folder holds what it should, a stopped run goes on."""

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import skd_lab as skd
from skd_lab.errors import NonFiniteLossError, RunExistsError, UsageError
from skd_lab.prepare import prompt_order
from skd_lab.presets import with_preset
from skd_lab.train import _Loop

# of a step record, what a clock or a neighbour on the machine decides
TIMES = ("seconds_", "tokens_per_second", "cpu_seconds")


def config(tmp_path, **changes):
    settings = dict(
        pair="tiny-qwen3", n_prompts=12, steps=4, batch_size=4, learning_rate=1e-3,
        max_new_tokens=24, trace_prompts=1, trace_every=4, run_dir=str(tmp_path / "run"),
    )  # fmt: skip
    return with_preset(settings | changes)


def train(config, **changes):
    return skd.train(
        config, pair=skd.load_pair("tiny-qwen3", device="cpu"), progress=False, **changes
    )


def weights(student):
    return {name: value.clone() for name, value in student.state_dict().items()}


def measured(steps):
    """What was measured, digit for digit (as text, so that nan equals nan)."""
    return [
        {k: repr(float(v)) for k, v in record.metrics.items() if not k.startswith(TIMES)}
        for record in steps
    ]


def test_skd_comes_nearer_to_the_teacher(tmp_path):
    # a few updates on few prompts: the loss on the very same prompts must fall clearly
    result = train(config(tmp_path, steps=24, n_prompts=8, batch_size=8, trace_prompts=0))
    losses = [record.metrics["loss"] for record in result.steps]
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])


def test_the_run_folder_holds_everything_a_figure_needs(tmp_path):
    result = train(config(tmp_path, eval_every=4, eval_prompts=3))
    run = skd.Run(result.run_dir)
    assert skd.RunConfig.from_dict(run.config).method == "skd"
    assert measured(run.steps) == measured(result.steps)
    assert [trace.header["step"] for trace in run.traces] == [0, 4]
    assert run.traces[0].header["prompt_ids"] == run.traces[1].header["prompt_ids"]
    assert [line["step"] for line in run.evals] == [0, 4]
    assert sorted(path.name for path in (result.run_dir / "checkpoints").iterdir()) == [
        "step-000004"
    ]
    assert not [path for path in result.run_dir.rglob("*") if path.name.startswith(".")]


def test_the_student_folder_loads_without_skd_lab(tmp_path):
    result = train(config(tmp_path))
    folder = result.run_dir / "student"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for name, value in weights(result.student).items():
        assert torch.equal(model.state_dict()[name], value), name
    assert tokenizer.chat_template
    assert model.generation_config.eos_token_id is not None
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = train(config(tmp_path, run_dir=str(tmp_path / "whole"), steps=6))
    stopped = config(tmp_path, steps=6, save_every=2)
    update = _Loop._update

    def until_four(self):
        if self.done == 5:
            raise KeyboardInterrupt
        return update(self)

    monkeypatch.setattr(_Loop, "_update", until_four)
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    monkeypatch.undo()
    resumed = train(stopped.replace(resume=True))
    for name, value in weights(whole.student).items():
        assert torch.equal(weights(resumed.student)[name], value), name
    assert measured(resumed.steps) == measured(whole.steps)
    assert measured(skd.Run(resumed.run_dir).steps) == measured(whole.steps)


def test_a_finished_run_resumed_stays_as_it_is(tmp_path):
    done = train(config(tmp_path))
    again = train(config(tmp_path, resume=True))
    assert measured(again.steps) == measured(done.steps)
    for name, value in weights(done.student).items():
        assert torch.equal(weights(again.student)[name], value), name


def test_an_existing_run_is_never_overwritten_unasked(tmp_path):
    first = config(tmp_path)
    train(first)
    with pytest.raises(RunExistsError, match="--resume.*--overwrite"):
        train(first)
    with pytest.raises(UsageError, match="--gamma was 4 and is now 2"):
        train(first.replace(resume=True, gamma=2))
    with pytest.raises(UsageError, match="Unknown method 'skdd'"):
        train(first.replace(method="skdd", overwrite=True))
    assert len(skd.Run(first.run_dir).steps) == 4  # refused before anything was deleted
    train(first.replace(overwrite=True, steps=2))
    assert len(skd.Run(first.run_dir).steps) == 2


def test_there_is_nothing_to_resume(tmp_path):
    with pytest.raises(UsageError, match="no run in .* to go on with"):
        train(config(tmp_path, resume=True))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    update = _Loop._update

    def poisoned(self):
        if self.done == 3:
            with torch.no_grad():
                self.pair.student.model.norm.weight[0] = math.nan
        return update(self)

    monkeypatch.setattr(_Loop, "_update", poisoned)
    with pytest.raises(NonFiniteLossError, match="rows 12, 13, 14, 15"):
        train(config(tmp_path, method="supervised_kd", save_every=2))
    run_dir = tmp_path / "run"
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["step-000002"]
    assert len(skd.Run(run_dir).steps) == 3


def test_microbatches_change_cost_not_the_run(tmp_path):
    whole = train(config(tmp_path, run_dir=str(tmp_path / "a"), trace_prompts=0))
    parts = train(config(tmp_path, run_dir=str(tmp_path / "b"), trace_prompts=0, microbatch_size=3))
    for one, other in zip(whole.steps, parts.steps, strict=True):
        assert one.metrics["loss"] == pytest.approx(other.metrics["loss"], rel=1e-3)


def test_gamma_changes_cost_not_the_run(tmp_path):
    one = train(config(tmp_path, run_dir=str(tmp_path / "a"), gamma=1, trace_prompts=0))
    other = train(config(tmp_path, run_dir=str(tmp_path / "b"), gamma=6, trace_prompts=0))
    for a, b in zip(one.steps, other.steps, strict=True):
        assert a.metrics["loss"] == pytest.approx(b.metrics["loss"], rel=1e-2)


def test_every_epoch_is_a_permutation_that_does_not_depend_on_the_window():
    order = prompt_order(7, range(21), seed=3)
    for epoch in range(3):
        assert sorted(order[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert order[:7] != order[7:14]
    assert prompt_order(7, range(5, 12), seed=3) == order[5:12]
    assert prompt_order(7, range(21), seed=4) != order


def test_your_own_two_line_task_trains(tmp_path):
    data = tmp_path / "mine.jsonl"
    lines = [
        {"prompt": "What is one plus one?", "completion": "two"},
        {
            "messages": [
                {"role": "user", "content": "Say hi."},
                {"role": "assistant", "content": "hi"},
            ]
        },
    ]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = train(
        config(
            tmp_path, task="jsonl", data_path=str(data), n_prompts=None, steps=2, trace_prompts=0
        )
    )
    assert result.data.kept == 2 and len(result.steps) == 2
