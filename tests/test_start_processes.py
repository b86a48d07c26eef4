"""How a process starts: the shipped accelerate configurations, and what is refused at once."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file

import skd_lab as skd
from skd_lab import processes
from skd_lab.errors import SkdError, UsageError
from skd_lab.loading import usable_device
from skd_lab.resume import own_memory

CONFIGS = Path(skd.__file__).parent / "configs"
KINDS = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero2": "DEEPSPEED"}


def config(**changes):
    return skd.RunConfig(**dict(pair="tiny-qwen3", device="cpu", run_dir="runs/none") | changes)


def test_the_shipped_configurations_are_accelerates_and_say_what_was_tested():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(KINDS)
    for name, kind in KINDS.items():
        found = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
        assert found.distributed_type == kind and found.num_processes == 8
        assert found.mixed_precision == "no"  # RunConfig decides
        text = (CONFIGS / f"{name}.yaml").read_text()
        assert "UNTESTED" in text if name != "ddp" else "Not run on several GPUs yet" in text
    assert load_config_from_file(str(CONFIGS / "fsdp2.yaml")).fsdp_config["fsdp_version"] == 2
    assert load_config_from_file(str(CONFIGS / "zero2.yaml")).deepspeed_config["zero_stage"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resume": True}, "--resume does not go with DeepSpeed"),
        ({"shard_student": True}, "--shard-student does not go with DeepSpeed"),
        ({"mixed_precision": "fp16"}, "--mixed-precision fp16 does not go with DeepSpeed"),
    ],
)
def test_deepspeed_refuses_what_its_engine_cannot(changes, said):
    with pytest.raises(UsageError, match=said):
        processes._set_up_deepspeed(SimpleNamespace(), config(**changes))


def test_deepspeed_that_would_not_be_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr(processes, "is_deepspeed_available", lambda: False)
    with pytest.raises(UsageError, match="DeepSpeed, which is not installed.*pip install"):
        processes.start_processes(config(), torch.device("cpu"), tmp_path)
    # where it is installed, accelerate makes none on a CPU all the same
    monkeypatch.setattr(processes, "is_deepspeed_available", lambda: True)
    monkeypatch.setattr(
        processes,
        "Accelerator",
        lambda **_: SimpleNamespace(distributed_type="MULTI_CPU", num_processes=2),
    )
    with pytest.raises(UsageError, match="has made none on cpu"):
        processes.start_processes(config(), torch.device("cpu"), tmp_path)


def test_deepspeed_gets_the_runs_own_numbers():
    plugin = SimpleNamespace(deepspeed_config={"train_micro_batch_size_per_gpu": "auto"})
    accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin))
    processes._set_up_deepspeed(accelerator, config(max_grad_norm=0.25))
    assert plugin.deepspeed_config["gradient_clipping"] == 0.25
    assert plugin.deepspeed_config["train_micro_batch_size_per_gpu"] == 1


def test_shards_are_asked_by_the_flag_or_by_accelerate_and_need_company(monkeypatch):
    two, one = SimpleNamespace(num_processes=2), SimpleNamespace(num_processes=1)
    assert processes.asks_shards(config(shard_student=True), two)
    assert not processes.asks_shards(config(shard_student=True), one)
    assert not processes.asks_shards(config(), two)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert processes.asks_shards(config(), two)


def test_under_torchrun_cuda_is_the_process_own_gpu(monkeypatch):
    asked = []
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch, "empty", lambda *_, device: asked.append(device))
    assert usable_device("cuda") == "cuda:3" and usable_device("cuda:1") == "cuda:1"
    assert usable_device("cpu") == "cpu" and asked == ["cuda:3", "cuda:1", "cpu"]


def test_errors_of_a_connection_say_that_another_process_is_gone(monkeypatch):
    dist = torch.distributed
    gloo = RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection closed by peer")
    with pytest.raises(RuntimeError, match="gloo"), processes.lost_processes_said("go"):
        raise gloo  # one process alone has lost nobody
    for name, value in (("is_initialized", True), ("get_rank", 1), ("get_world_size", 2)):
        monkeypatch.setattr(dist, name, lambda value=value: value)
    with pytest.raises(SkdError, match="Process 1 of 2 lost the others.*go on with: skd-lab train"):
        with processes.lost_processes_said("skd-lab train --resume"):
            raise gloo
    with pytest.raises(RuntimeError, match="shapes"), processes.lost_processes_said("go"):
        raise RuntimeError("shapes cannot be multiplied")


def test_each_process_goes_on_with_what_it_kept(tmp_path, caplog):
    kept = [{"buffer": torch.arange(2)}, {"buffer": torch.arange(3)}]
    torch.save(kept, tmp_path / "memory.pt")
    assert [len(own_memory(tmp_path, rank, 2)["buffer"]) for rank in (0, 1)] == [2, 3]
    assert not caplog.records
    assert [len(own_memory(tmp_path, rank, 3)["buffer"]) for rank in (0, 1, 2)] == [2, 3, 2]
    assert caplog.text.count("in 2 processes, and there are 3 now") == 1
    assert own_memory(tmp_path / "none", 0, 1) == {}


def test_adapters_are_not_sharded(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "asks_shards", lambda *_: True)
    with pytest.raises(UsageError, match="sharded student cannot have adapters"):
        processes.start_processes(config(lora_rank=2), torch.device("cpu"), tmp_path)
