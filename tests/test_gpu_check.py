"""The check for machines with a GPU, run on a CPU: its logic, what it writes, how it goes on."""

import importlib
import json
import signal

import pytest

from benchmarks import gpu_check, gpu_exact
from benchmarks.gpu_models import FAMILIES, LOADS, PAIRS, shape


def run(folder, *flags):
    base = ["--device", "cpu", "--size", "tiny", "--out", str(folder)]
    return gpu_check.main([*base, *flags])


def written(folder):
    return json.loads((folder / "gpu_check.json").read_text())


def test_there_is_an_item_for_everything(tmp_path):
    names = list(gpu_check.items(list(gpu_check.STAGES), "cuda", "full", tmp_path))
    assert names[:4] == [f"exact {family}" for family in FAMILIES]
    for family in PAIRS:
        for method in ("skd", "on_policy_kd", "supervised_kd"):
            assert f"update {family} {method}" in names
        assert f"decode {family} recorded" in names
    assert names[-6:-3] == ["bundled teacher", "bundled student", "bundled before"]


def test_full_size_means_the_published_shapes():
    for load in ("full", "small"):
        assert not LOADS[load].scaled
    whole, small = (shape(PAIRS["gemma3"][0], scaled=scaled) for scaled in (False, True))
    assert whole["hidden_size"] == 640 and whole["vocab_size"] == 262_144
    assert small["hidden_size"] == 64 and small["sliding_window"] == 8


def test_an_architecture_passes_and_is_not_done_twice(tmp_path, capsys):
    assert run(tmp_path, "--only", "exact gemma3") == 0
    found = written(tmp_path)["items"]["exact gemma3"]
    assert found["passed"] and len(found["checks"]) >= 10
    assert {one["limit"] for one in found["checks"]} >= {0.0, 1e-9}
    said = capsys.readouterr().out
    assert f"{len(found['checks'])} of {len(found['checks'])} checks" in said
    assert run(tmp_path, "--only", "exact gemma3") == 0
    assert written(tmp_path)["items"]["exact gemma3"] == found


def test_a_wrong_loss_fails_by_name(tmp_path, monkeypatch, capsys):
    right = gpu_exact.chunked_divergence

    def wrong(*args, **settings):
        loss, *others = right(*args, **settings)
        return loss * 1.001, *others

    monkeypatch.setattr(gpu_exact, "chunked_divergence", wrong)
    for name in ("_texts", "_forwards", "_training"):
        monkeypatch.setattr(gpu_exact, name, lambda config, device: ())
    assert run(tmp_path, "--only", "exact qwen2") == 1
    said = capsys.readouterr().out
    assert "loss in chunks, float32: 0.001, at most 1e-05" in said
    assert "FAILED: exact qwen2" in said
    monkeypatch.setattr(gpu_exact, "chunked_divergence", right)
    assert run(tmp_path, "--only", "exact qwen2", "--again") == 0


def test_an_item_that_breaks_does_not_take_the_others_with_it(tmp_path, monkeypatch, capsys):
    def breaks(family, device):
        raise RuntimeError(f"no {family}")

    monkeypatch.setattr(gpu_exact, "exactness", breaks)
    assert run(tmp_path, "--stages", "exact") == 1
    items = written(tmp_path)["items"]
    assert [items[f"exact {family}"]["error"] for family in FAMILIES] == [
        f"RuntimeError: no {family}" for family in FAMILIES
    ]


def test_no_item_begins_after_the_budget(tmp_path, capsys):
    assert run(tmp_path, "--stages", "exact", "--budget", "0") == 0
    said = capsys.readouterr().out
    assert "Left: exact qwen2, exact qwen3, exact gemma2, exact gemma3. The same command" in said


def test_a_file_of_another_size_is_not_gone_on_with(tmp_path):
    run(tmp_path, "--stages", "exact", "--budget", "0")
    path = tmp_path / "gpu_check.json"
    about = {"size": "full", "on": "cpu"}
    path.write_text(json.dumps({"machine": {}, **about, "items": {}}))
    with pytest.raises(SystemExit, match="another size or machine"):
        run(tmp_path)


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu_check.main(["--size", "full"]) == 2
    assert "no CUDA device" in capsys.readouterr().out


def test_updates_and_rollouts_are_timed(tmp_path, capsys):
    assert run(tmp_path, "--only", "gemma3 skd") == 0
    assert run(tmp_path, "--only", "decode qwen3") == 0
    found = written(tmp_path)["items"]
    update, decode = found["update gemma3 skd"], found["decode qwen3 plain"]
    assert update["updates_timed"] == 2 and update["kept_tokens_per_second"] > 0
    assert 0.7 < update["acceptance_rate"] <= 1
    assert sum(update["seconds"].values()) <= 2.1 * update["seconds"]["all"]
    assert min(update["seconds"][name] for name in ("draft", "verify", "update")) > 0
    assert decode["skd_kept_tokens_per_second"] > 0
    assert "tok/s" in capsys.readouterr().out


def test_training_that_is_stopped_in_time_goes_on(tmp_path, monkeypatch, capsys):
    loop = importlib.import_module("skd_lab.train")._Loop
    inner = loop._update

    def update(self):
        if self.done == 2:
            signal.raise_signal(signal.SIGALRM)  # as the clock does when the budget is used up
        return inner(self)

    with monkeypatch.context() as planted:
        planted.setattr(loop, "_update", update)
        assert run(tmp_path, "--only", "bundled teacher") == 0
    assert "Left: bundled teacher" in capsys.readouterr().out
    assert run(tmp_path, "--only", "bundled teacher") == 0
    steps = (tmp_path / "pair-tiny" / "teacher" / "steps.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in steps] == list(range(1, 21))
    assert written(tmp_path)["items"]["bundled teacher"]["updates"] == 20


@pytest.mark.slow
def test_a_pair_is_made_and_distilled(tmp_path, capsys):
    assert run(tmp_path, "--stages", "bundled") == 0
    found = written(tmp_path)["items"]
    assert list(found) == [
        *("bundled teacher", "bundled student", "bundled before"),
        *("bundled supervised_kd", "bundled on_policy_kd", "bundled skd"),
    ]
    assert all("error" not in one for one in found.values())
    assert found["bundled skd"]["score"] and found["bundled skd"]["loss"] > 0
