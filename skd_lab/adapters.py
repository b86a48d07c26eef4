"""LoRA: small trained matrices beside frozen weights, through peft.

A layer y = W x becomes y = W x + (alpha / rank) B A x with W frozen (Hu et al. 2021, arXiv
2106.09685). B starts at zero, so that the student starts as it was. The adapters are put into the
plain transformers model in place: rollouts, loss and evaluation know nothing of them. peft is
imported when it is needed: most runs have no adapters, and every command would wait for it.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from skd_lab.errors import DataError, UsageError

_ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TARGETS = {name: _ALL for name in ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text")}
"""Layers that get adapters by default: every projection inside the blocks, by model type."""

_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # what peft writes in front of every name


def add_adapters(
    model: PreTrainedModel,
    rank: int,
    *,
    alpha: int | None = None,
    dropout: float = 0.0,
    targets: Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Freeze a model's weights and put trained adapters beside them, in place.

    Adapters are float32 where the weights are of fewer bits, so that small updates are not lost.

    Args:
        model: a causal language model; its class stays.
        rank: rows of A, columns of B.
        alpha: the product counts alpha / rank; 2 * rank if None.
        dropout: in front of A, in train mode.
        targets: names of layers; those of TARGETS if None.
        seed: of A's start; torch's own generators are left as they were.

    Raises:
        UsageError: for an architecture that TARGETS does not know, without targets; for targets
            that the model has not, or that are its embedding or output head; for adapters already.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if has_adapters(model):
        raise UsageError(
            "This student has adapters already. Load it again, or merge them first "
            "(skd_lab.adapters.merge_adapters)."
        )
    chosen = _targets(model, targets)
    settings = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        lora_dropout=dropout,
        target_modules=chosen,
        task_type="CAUSAL_LM",
    )
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, model)
    for parameter in adapter_parameters(model):
        if parameter.dtype != torch.float64:
            parameter.data = parameter.data.float()


def has_adapters(model: nn.Module) -> bool:
    """Whether layers of the model carry adapters."""
    return hasattr(model, "peft_config")


def adapter_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The trained parameters of a model with adapters."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def save_adapter(folder: Path, model: PreTrainedModel, base: str | None = None) -> None:
    """Write adapter_model.safetensors and adapter_config.json, as peft reads them.

    Args:
        folder: made if it is not there.
        model: with adapters.
        base: name of the model they belong to, as peft is to load it.
    """
    from peft import get_peft_model_state_dict

    folder.mkdir(parents=True, exist_ok=True)
    found = get_peft_model_state_dict(model)
    weights = {_PREFIX + name: value.cpu().contiguous() for name, value in found.items()}
    save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
    settings = model.peft_config["default"]
    inference, name = settings.inference_mode, settings.base_model_name_or_path
    try:
        settings.inference_mode, settings.base_model_name_or_path = True, base
        settings.save_pretrained(str(folder))
    finally:
        settings.inference_mode, settings.base_model_name_or_path = inference, name


def load_adapter(folder: Path, model: PreTrainedModel) -> None:
    """Put saved adapters into those of a model, in place, exactly.

    Raises:
        DataError: if the folder's adapters are not the model's: other layers or another rank.
    """
    from peft import get_peft_model_state_dict
    from peft.utils import set_peft_model_state_dict

    weights = load_file(folder / _WEIGHTS)
    saved = {name.removeprefix(_PREFIX): value for name, value in weights.items()}
    here = get_peft_model_state_dict(model)
    odd = [
        name
        for name in sorted(saved.keys() | here.keys())
        if name not in saved or name not in here or saved[name].shape != here[name].shape
    ]
    if odd:
        raise DataError(
            f"The adapters in {folder} do not fit this student: {len(odd)} differ, the first is "
            f"{odd[0]}. Give the rank and the targets that they were trained with."
        )
    set_peft_model_state_dict(model, saved)


def merge_adapters(model: PreTrainedModel) -> None:
    """Add every adapter's product to the weight beside it and take the adapters out, in place.

    Raises:
        UsageError: if the weights are quantised: the sum would be rounded to a few bits. Load the
            model again unquantised, add the adapters (load_adapter), and merge those.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    if getattr(model, "is_quantized", False):
        raise UsageError(
            "Adapters cannot be merged into quantised weights without loss. Load the student "
            "unquantised, put the adapters in with load_adapter, and merge that one."
        )
    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], layer.get_base_layer())
    del model.peft_config
    model.requires_grad_(True)


def _targets(model: PreTrainedModel, asked: Sequence[str] | None) -> list[str]:
    kind = model.config.get_text_config().model_type
    if asked is None:
        if kind not in TARGETS:
            raise UsageError(
                f"Which layers of {type(model).__name__} (model type '{kind}') should get adapters "
                f"is not known; known are {', '.join(TARGETS)}. Name them: --lora-targets "
                "q_proj,v_proj for instance."
            )
        return list(TARGETS[kind])
    names = {name for name, _ in model.named_modules()}
    ends = [name for name in asked if not any(f".{has}".endswith(f".{name}") for has in names)]
    if ends:
        linear = {
            n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, nn.Linear)
        }
        raise UsageError(
            f"{type(model).__name__} has no layer '{ends[0]}' to put adapters on. It has "
            f"{', '.join(sorted(linear))}."
        )
    heads = {model.get_input_embeddings(), model.get_output_embeddings()}
    for has, module in model.named_modules():
        for name in asked:
            if module in heads and f".{has}".endswith(f".{name}"):
                raise UsageError(
                    f"'{name}' is the embedding or the output head. The loss projects with the "
                    "head's own weight, so an adapter on it would not be seen (nor on an embedding "
                    "that is tied to it). Choose layers inside the blocks, such as "
                    f"{', '.join(_ALL)}."
                )
    return list(asked)
