"""Optimizers by name; float32 masters behind weights of fewer bits.

bfloat16 keeps 8 bits of a number: next to a weight of 1, an update below 0.002 is rounded away,
and AdamW's updates are about as large as the learning rate. So weights of 16 bits are trained
through a float32 copy of them (Micikevicius et al. 2018, arXiv 1710.03740): the copy takes the
update, and the weights are the copy, rounded. Weights that are float32 and computed under autocast
need no copy: they are the masters.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from skd_lab.errors import UsageError

Groups = list[dict[str, Any]]


def make_optimizer(
    model: nn.Module, name: str = "adamw", *, learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """An optimizer of a model's trained parameters.

    Args:
        model: parameters with requires_grad are trained.
        name: "adamw", "adamw_8bit" or "paged_adamw_8bit" (the last two by bitsandbytes).
        learning_rate: of every group.
        weight_decay: of matrices; norms and biases have none.

    Raises:
        UsageError: for float16 weights, for 8 bits without bitsandbytes, and for pages without a
            CUDA device.
    """
    groups = parameter_groups(model, weight_decay)
    trained = [parameter for group in groups for parameter in group["params"]]
    dtypes = {parameter.dtype for parameter in trained}
    if torch.float16 in dtypes:
        raise UsageError(
            "float16 weights cannot be trained: their gradients under- and overflow. Use --dtype "
            "float32 with --mixed-precision, --dtype bfloat16, or train adapters (--lora-rank)."
        )
    kind: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
    settings: dict[str, Any] = {"lr": learning_rate}
    if name != "adamw":
        kind = _eight_bits(name, {parameter.device.type for parameter in trained})
    elif all(parameter.device.type == "cuda" for parameter in trained):
        settings["fused"] = True  # one kernel, and no second copy of the state while it runs
    if torch.bfloat16 in dtypes:
        return MasterWeights(groups, lambda masters: kind(masters, **settings))
    return kind(groups, **settings)


def parameter_groups(model: nn.Module, weight_decay: float) -> Groups:
    """Weight decay is for matrices: norms and biases have no scale to hold down."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]


class MasterWeights(torch.optim.Optimizer):
    """Any optimizer over float32 copies of the parameters; the parameters are their rounding.

    `param_groups` holds the model's own parameters, so that clipping, loss scaling and learning
    rate schedules work as with the optimizer alone. `state_dict` holds the copies.

    Args:
        groups: parameter groups of the model.
        make: the optimizer of groups of copies.
    """

    def __init__(self, groups: Groups, make: Callable[[Groups], torch.optim.Optimizer]) -> None:
        copies = [
            {**group, "params": [p.detach().float().clone() for p in group["params"]]}
            for group in groups
        ]
        self.inner = make(copies)
        settings = {key: value for key, value in self.inner.defaults.items()}
        super().__init__(groups, settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the copies, round them into the parameters; the gradients are used up."""
        assert closure is None, "a closure would see the parameters between two roundings"
        self._hand_down()
        for parameter, master in self._pairs():
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None  # two copies of all gradients would be the peak of the run
        self.inner.step()
        for parameter, master in self._pairs():
            master.grad = None
            parameter.copy_(master)

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's, and the copies in the order of the groups."""
        self._hand_down()
        return {**self.inner.state_dict(), "masters": [master for _, master in self._pairs()]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the copies and the state exactly; the parameters become the copies, rounded."""
        masters = state_dict["masters"]
        inner = {key: value for key, value in state_dict.items() if key != "masters"}
        self.inner.load_state_dict(inner)
        for (parameter, master), saved in zip(self._pairs(), masters, strict=True):
            parameter.copy_(master.copy_(saved))
        for group, of in zip(self.param_groups, self.inner.param_groups, strict=True):
            group.update({key: value for key, value in of.items() if key != "params"})

    def _hand_down(self) -> None:
        """Give the inner optimizer what a schedule has changed since."""
        for group, inner in zip(self.param_groups, self.inner.param_groups, strict=True):
            inner.update({key: value for key, value in group.items() if key != "params"})

    def _pairs(self) -> Iterable[tuple[Tensor, Tensor]]:
        for group, inner in zip(self.param_groups, self.inner.param_groups, strict=True):
            yield from zip(group["params"], inner["params"], strict=True)


def _eight_bits(name: str, devices: set[str]) -> Callable[..., torch.optim.Optimizer]:
    """An optimizer of bitsandbytes.

    Raises:
        UsageError: if it cannot be used here.
    """
    if name.startswith("paged") and devices != {"cuda"}:
        raise UsageError(
            f"--optimizer {name} pages between a CUDA device and the machine's memory, and the "
            f"student is on {' and '.join(sorted(devices))}. Use adamw_8bit or adamw."
        )
    try:
        import bitsandbytes
    except ImportError as error:
        raise UsageError(
            f"--optimizer {name} needs bitsandbytes, which is not installed. Install the extra: "
            "pip install 'skd-lab[quantised]'; or use --optimizer adamw."
        ) from error
    kinds = {
        "adamw_8bit": bitsandbytes.optim.AdamW8bit,
        "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit,
    }
    return kinds[name]
