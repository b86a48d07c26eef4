"""Models without numbers: torch's fake tensors in the place of weights, and what lives of them.

Fake tensors have shapes and no numbers, so that the real modules can be run for the sake of what
they would hold in memory. A model of 2 and one of 4 of its layers tell what n layers need: all of
it is a straight line in n. Kernels' own scratch space and what an allocator wastes are not seen.
"""

import contextlib
import copy
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from skd_lab.config import RunConfig
from skd_lab.trainable import make_trainable

Needs = dict[str, float]
"""Bytes or numbers by name."""

_DEPTHS = (2, 4)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that operations in here make, for as long as they live.

    Attributes:
        now: bytes alive.
        peak: the most there were since `mark`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return out

    def known(self, *tensors: Tensor) -> None:
        """What was there before and is not counted."""
        for tensor in tensors:
            self._seen[tensor.untyped_storage()] = 0

    def mark(self) -> int:
        """Begin a new peak; returns the one before."""
        before, self.peak = self.peak, self.now
        return before

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            size = storage.nbytes()
            self._seen[storage] = size
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size


def at_depth(config: PretrainedConfig, measure: Callable[[PretrainedConfig], Needs]) -> Needs:
    """`measure` of models of 2 and of 4 layers, on the line to the model's own number."""
    layers = config.get_text_config().num_hidden_layers
    if layers <= _DEPTHS[-1]:
        return measure(config)
    few, more = (measure(_with_layers(config, depth)) for depth in _DEPTHS)
    steps = (layers - _DEPTHS[0]) / (_DEPTHS[1] - _DEPTHS[0])
    return {name: few[name] + steps * (more[name] - few[name]) for name in few}


def _with_layers(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    part = copy.deepcopy(config)
    text = part.get_text_config()
    if kinds := getattr(text, "layer_types", None):
        # one of each kind first, so that masks of all kinds are made
        text.layer_types = [*sorted(set(kinds), key=kinds.index), *kinds][:layers]
    text.num_hidden_layers = layers
    return part


@contextlib.contextmanager
def fake_model(
    config: PretrainedConfig, dtype: str, run: RunConfig | None
) -> Iterator[PreTrainedModel]:
    """A model on fake tensors, in eval mode; inside, all new tensors are fake too.

    Args:
        config: as load_config gives it.
        dtype: of the weights.
        run: makes it a student, trainable as this says; None for a model that is not trained.
    """

    with torch.device("meta"), torch.random.fork_rng([]):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        if run is None:
            model.requires_grad_(False)
        else:
            make_trainable(model, run)
    with FakeTensorMode():
        # by hand: fake parameters cannot be moved or cast by their modules
        fakes: dict[Tensor, Tensor] = {}
        for module in model.modules():
            for held in (module._parameters, module._buffers):
                for name, tensor in held.items():
                    if tensor is not None and tensor not in fakes:
                        fake = torch.empty(tensor.shape, dtype=tensor.dtype)
                        fakes[tensor] = (
                            nn.Parameter(fake, tensor.requires_grad)
                            if isinstance(tensor, nn.Parameter)
                            else fake
                        )
                    held[name] = None if tensor is None else fakes[tensor]
        yield model.eval()
