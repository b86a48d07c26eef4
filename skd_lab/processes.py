"""The processes of a run: started by torchrun or accelerate launch, one a device.

Every process holds the teacher and writes its share of each window's completions; gradients are
summed over all of them; the first one alone writes files. One process is a run like any other.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    InitProcessGroupKwargs,
    is_deepspeed_available,
)

from skd_lab.config import RunConfig
from skd_lab.errors import SkdError, UsageError
from skd_lab.trackers import tracking

# the others wait while the first one evaluates; by itself NCCL gives up after 10 minutes
_PATIENCE = timedelta(hours=6)
_ASKS_SHARDS = "ACCELERATE_USE_FSDP"
_ASKS_DEEPSPEED = "ACCELERATE_USE_DEEPSPEED"


def start_processes(config: RunConfig, device: torch.device, run_dir: Path) -> Accelerator:
    """This process' accelerator, joined with those of the others.

    Args:
        config: of the run.
        device: of the models; "cuda" without a number is this process' own GPU.
        run_dir: where trackers write.

    Raises:
        UsageError: if the processes cannot share the batch, or the device has no such precision.
    """
    _require_precision(config, device)
    asks_deepspeed = os.environ.get(_ASKS_DEEPSPEED, "").lower() == "true"
    if asks_deepspeed and not is_deepspeed_available():
        raise UsageError(
            "accelerate was asked for DeepSpeed, which is not installed. Run `pip install "
            "deepspeed`, or use --shard-student: it splits more, and its runs can go on."
        )
    # accelerate keeps its state for the whole process, and another run may want another one
    AcceleratorState._reset_state(reset_partial_state=not dist.is_initialized())
    with _without_its_own_shards():
        accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            cpu=device.type == "cpu",
            kwargs_handlers=[
                # buffers are tables that nothing changes
                DistributedDataParallelKwargs(broadcast_buffers=False),
                InitProcessGroupKwargs(timeout=_PATIENCE),
            ],
            **tracking(config.track, run_dir),
        )
    if uses_deepspeed(accelerator):
        _set_up_deepspeed(accelerator, config)
    elif asks_deepspeed:
        raise UsageError(
            f"accelerate was asked for DeepSpeed and has made none on {device.type}: the run would "
            "be plain data-parallel without a word. Use the DDP configuration, or --shard-student."
        )
    count = accelerator.num_processes
    if config.batch_size % count:
        dividers = [n for n in range(1, config.batch_size + 1) if config.batch_size % n == 0]
        raise UsageError(
            f"The {config.batch_size} prompts of an update (--batch-size) cannot be shared evenly "
            f"by {count} processes. Start {_either(dividers)}, or give another --batch-size: that "
            "is another run, as every update then sees another number of prompts."
        )
    if config.shard_student and count == 1:
        raise UsageError(
            "--shard-student splits the student over several processes, and there is one. Start "
            "with `torchrun --nproc_per_node 2 -m skd_lab train ...`, or leave it out."
        )
    if asks_shards(config, accelerator) and config.lora_rank is not None:
        raise UsageError(
            "A sharded student cannot have adapters: what is trained is small already. Leave out "
            "--shard-student (or accelerate's FSDP configuration), or --lora-rank."
        )
    return accelerator


def uses_deepspeed(accelerator: Accelerator) -> bool:
    """Whether DeepSpeed holds the optimizer: its engine then clips and steps in the backward."""
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def _set_up_deepspeed(accelerator: Accelerator, config: RunConfig) -> None:
    """What its engine has to know of a run.

    Raises:
        UsageError: for a run that is to go on, or is split in another way, too.
    """
    for asked, what in (
        (config.resume, "--resume"),
        (config.shard_student, "--shard-student"),
        (config.mixed_precision == "fp16", "--mixed-precision fp16"),
    ):
        if asked:
            raise UsageError(
                f"{what} does not go with DeepSpeed: its engine keeps optimizer state and loss "
                "scale to itself. Use the DDP configuration, or --shard-student."
            )
    plugin = accelerator.state.deepspeed_plugin
    plugin.deepspeed_config |= {
        "train_micro_batch_size_per_gpu": 1,  # of its own loader, which is not used
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.max_grad_norm,
    }


def asks_shards(config: RunConfig, accelerator: Accelerator) -> bool:
    """Whether the student is split over the processes: by the flag, or accelerate's FSDP config."""
    asked = config.shard_student or os.environ.get(_ASKS_SHARDS, "").lower() == "true"
    return asked and accelerator.num_processes > 1


def leave() -> None:
    """End this process' part; for a program that ends, too."""
    if dist.is_initialized():
        dist.destroy_process_group()


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not dist.is_initialized() or dist.get_rank() == 0


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def require_same(accelerator: Accelerator, done: int, run_dir: Path) -> None:
    """Every process has found the same checkpoint.

    Raises:
        UsageError: if not, which means that they look at different disks.
    """
    mine = torch.tensor([done], device=accelerator.device)
    found = accelerator.gather(mine).tolist()
    if len(set(found)) > 1:
        raise UsageError(
            f"The processes find different checkpoints in {run_dir}: of the updates "
            f"{', '.join(map(str, found))}. The run folder has to be on a disk that all of them "
            "share."
        )


def of_all(value: Any) -> list[Any]:
    """A plain value of every process, in their order; all processes call it."""
    if not dist.is_initialized():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


@contextlib.contextmanager
def lost_processes_said(go_on: str) -> Iterator[None]:
    """Turn the errors of a connection into one sentence: another process was killed, or failed.

    Args:
        go_on: the command, or the call, that goes on with the run.

    Raises:
        SkdError: in the place of such an error.
    """
    try:
        yield
    except RuntimeError as error:
        if not (dist.is_initialized() and _of_connection(error)):
            raise
        raise SkdError(
            f"Process {dist.get_rank()} of {dist.get_world_size()} lost the others: one of them "
            "was killed or has failed, and says why above if it could. What was saved is kept; go "
            f"on with: {go_on}"
        ) from error


def _of_connection(error: RuntimeError) -> bool:
    words = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


def _require_precision(config: RunConfig, device: torch.device) -> None:
    if config.mixed_precision != "fp16":
        return
    if device.type != "cuda":
        raise UsageError(
            f"--mixed-precision fp16 needs a CUDA GPU, and this run is on {device.type}. Use bf16, "
            "or leave it out."
        )
    adapters = config.lora_rank is not None and config.dtype == "float16"  # these are float32
    if (config.dtype != "float32" and not adapters) or config.shard_student:
        what = "--shard-student" if config.shard_student else f"--dtype {config.dtype}"
        raise UsageError(
            f"--mixed-precision fp16 scales the gradients of float32 weights and does not go with "
            f"{what}. Use --mixed-precision bf16, or leave {what} out."
        )


@contextlib.contextmanager
def _without_its_own_shards() -> Iterator[None]:
    """accelerate makes no shards: on CPUs it says nothing and makes none; sharding.py does both."""
    asked = os.environ.pop(_ASKS_SHARDS, None)
    try:
        yield
    finally:
        if asked is not None:
            os.environ[_ASKS_SHARDS] = asked


def _either(numbers: list[int]) -> str:
    words = [str(number) for number in numbers]
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
