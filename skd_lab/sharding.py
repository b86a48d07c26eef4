"""A student that no single device can train: its parts spread over the processes (FSDP2).

Weights, gradients and optimizer state are split by torch's `fully_shard` (Zhao et al. 2023, arXiv
2304.11277; one group a decoder layer), on CPUs and GPUs alike. Rollouts run on gathered weights:
one all-gather an update in the place of one for every token, and processes whose texts have
different lengths may run different numbers of forwards.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel


def shard(module: nn.Module, layers: list[nn.Module], device: torch.device) -> None:
    """Split a module's parameters over all processes, in place; they become other objects.

    Args:
        module: the root, whose forward will be called; on every process with the same weights.
        layers: its submodules that are gathered and let go one at a time.
        device: of the process.
    """
    module.to(device)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    # The first forward settles who is the root, and a rollout calls a part of it. This is one.
    setattr(module, _FIRST, lambda: None)
    register_fsdp_forward_method(module, _FIRST)
    getattr(module, _FIRST)()
    if isinstance(module, FSDPModule):
        module.reshard()  # it stays gathered otherwise, and an optimizer would get those tensors


_FIRST = "_first_forward"


def blocks(model: PreTrainedModel) -> list[nn.Module]:
    """A model's decoder layers, by what its class says may not be taken apart."""
    names = set(model._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` has split it."""
    return isinstance(module, FSDPModule)


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Inside, every process holds the whole weights, and forwards need no other process.

    All processes enter and leave together. A module that is not sharded is left as it is.
    """
    if not isinstance(module, FSDPModule):
        yield
        return
    parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.unshard()
    module.set_reshard_after_forward(False)
    try:
        yield
    finally:
        module.set_reshard_after_forward(True)
        for part in parts:
            part.reshard()


def whole_weights(model: nn.Module) -> dict[str, Tensor] | None:
    """The state dict of a sharded model on the CPU; None if it is not sharded.

    All processes call it. Tied weights are one tensor under their names.
    """
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return None
    known = {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)}
    made: dict[int, Tensor] = {}
    found = {}
    for name, value in model.state_dict().items():
        key = known.get(name, id(value))
        if key not in made:
            made[key] = whole(value)
        found[name] = made[key]
    return found


def whole(value: Any) -> Any:
    """The same nested dicts and lists, with every sharded tensor whole, on the CPU.

    All processes call it.
    """
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, Mapping):
        return {key: whole(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(whole(one) for one in value)
    return value


def like_parameters(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's whole state, split as the parameters of this optimizer are.

    Args:
        state: an optimizer's state_dict with whole tensors.
        optimizer: a new one of the same parameters, in the same order; not changed.

    Returns:
        What its load_state_dict takes; the given state where no parameter is sharded.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    split = {}
    for index, entries in state["state"].items():
        like = parameters[index]
        split[index] = {name: _as_split(entry, like) for name, entry in entries.items()}
    masters = state.get("masters")  # optimizers.MasterWeights keeps copies of its parameters
    if masters is not None:
        pairs = zip(masters, parameters, strict=True)
        state = {**state, "masters": [_as_split(copy, like) for copy, like in pairs]}
    return {**state, "state": split}


def _as_split(entry: Any, like: Tensor) -> Any:
    if isinstance(like, DTensor) and isinstance(entry, Tensor) and entry.shape == like.shape:
        return distribute_tensor(entry.to(like.device), like.device_mesh, like.placements)
    return entry
