"""One model or tokenizer from a folder or a Hub id, or one paragraph on why it cannot be."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from skd_lab.errors import UsageError, hub_advice

ADAPTER_CONFIG = "adapter_config.json"
# where it is installed, it would ask every user of a CPU for a package that only spares time
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def load_model(
    at: str | Path, *, dtype: str = "float32", device: str | None = None, quantised: str = "no"
) -> PreTrainedModel:
    """A causal language model from a folder or a Hub id, in eval mode.

    Safetensors only, no remote code, and an attention that takes per-row masks (see
    `attention_reason`).

    Args:
        at: folder or Hub id.
        dtype: of the weights; of what is left unquantised, and of the arithmetic, if quantised.
        device: cpu, cuda, mps ...; the best there is if None.
        quantised: "no", "4bit" (NF4 with double quantisation) or "8bit" (LLM.int8), by
            bitsandbytes. The embedding and the output head stay as they are.

    Raises:
        UsageError: if it cannot be loaded, is a folder of adapters, or is to be quantised without
            bitsandbytes; says what to do.
    """
    device = usable_device(device)
    if quantised != "no":
        _require_bitsandbytes(quantised)
    with _loading_errors(at, "model"):
        try:
            loaded = _from_pretrained(at, dtype, device, quantised)
        except (ValueError, ImportError) as error:
            if "scaled_dot_product_attention" not in str(error):
                raise
            loaded = _from_pretrained(at, dtype, device, quantised, attention="eager")
    model: Any
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UsageError(
            f"The weights in '{at}' are incomplete: {len(missing)} of the model's are missing, the "
            f"first is {missing[0]}. They would be random; save the whole model again."
        )
    return model.eval() if getattr(model, "is_quantized", False) else model.to(device).eval()


def load_config(at: str | Path) -> PretrainedConfig:
    """A model's configuration without its weights: of its language part, attention chosen.

    Raises:
        UsageError: if there is none at hand, or it is a folder of adapters.
    """
    with _loading_errors(at, "configuration"):
        config = _text_part(_whole_config(at))
    config._attn_implementation = "eager" if _softcap(config) else "sdpa"
    return config


def attention_reason(config: PretrainedConfig) -> str:
    """Which attention a model runs with, and why, in a few words.

    A row of a ragged batch sees what stands before its own position, so that a forward needs a
    mask a row. Flash attention takes none; sdpa does, and uses torch's own flash kernels where a
    forward (a prompt, a teacher's reading of full texts) needs no mask.
    """
    if _softcap(config):
        return "eager: it caps the attention's scores, which sdpa leaves out"
    if config.get_text_config()._attn_implementation == "eager":
        return "eager: this architecture has no sdpa"
    return "sdpa: it takes a mask a row, which flash attention does not"


def _softcap(config: PretrainedConfig) -> float | None:
    return getattr(config.get_text_config(), "attn_logit_softcapping", None)


def _whole_config(at: str | Path) -> PretrainedConfig:
    _refuse_adapters(at)
    return AutoConfig.from_pretrained(at, trust_remote_code=False)


def _from_pretrained(
    at: str | Path, dtype: str, device: str, quantised: str, attention: str = "sdpa"
) -> tuple[PreTrainedModel, dict[str, Any]]:
    whole = _whole_config(at)
    config = _text_part(whole)
    if _softcap(config):
        attention = "eager"  # sdpa leaves Gemma2's cap out, in some releases without a word
    more: dict[str, Any] = {} if config is whole else {"key_mapping": _TEXT_KEYS}
    if quantised != "no":
        more |= {"quantization_config": _few_bits(quantised, dtype), "device_map": {"": device}}
    # without config= an attention that is named in the file would be taken
    with quiet_bars():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            at,
            config=config,
            attn_implementation=attention,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **more,
        )
    return loaded


def _few_bits(quantised: str, dtype: str) -> BitsAndBytesConfig:
    if quantised == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def _require_bitsandbytes(quantised: str) -> None:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"Loading weights in {quantised.removesuffix('bit')} bits needs bitsandbytes, which is "
            "not installed. Install the extra: pip install 'skd-lab[quantised]'; or load them in "
            "16 bits (--teacher-dtype bfloat16)."
        ) from error


# names of a language model's weights inside a wrapper with other senses, before and since 2025
_TEXT_KEYS = {r"^language_model\.": "", r"^model\.language_model\.": "model."}


def _text_part(config: PretrainedConfig) -> PretrainedConfig:
    """The language model alone of a checkpoint that also sees (Gemma 3 from 4B on).

    Its other parts would take memory, and have no gradient to share between processes.
    """
    text = config.get_text_config()
    return text if type(text) in MODEL_FOR_CAUSAL_LM_MAPPING else config


def _refuse_adapters(at: str | Path) -> None:
    if not (Path(at) / ADAPTER_CONFIG).is_file():
        return
    base = json.loads((Path(at) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    named = base.get("base_model_name_or_path")
    raise UsageError(
        f"'{at}' holds adapters, not a model"
        + (f" (they belong to '{named}')" if named else "")
        + ". Give a model with the adapters merged into it: of a run of skd_lab that is the "
        "folder student/ beside adapter/; of others, peft's merge_and_unload makes it."
    )


def load_tokenizer(at: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder or Hub id.

    Raises:
        UsageError: if there is none at hand.
    """
    _refuse_adapters(at)  # a folder of adapters may lack a tokenizer, and would be called broken
    with _loading_errors(at, "tokenizer"):
        return AutoTokenizer.from_pretrained(at, trust_remote_code=False)


@contextlib.contextmanager
def quiet_bars() -> Iterator[None]:
    """No progress bar for reading or writing weights: those of skd_lab say what takes long."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


@contextlib.contextmanager
def _loading_errors(at: str | Path, what: str) -> Iterator[None]:
    """Turn the framework's long stories into one paragraph."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        if isinstance(error, UsageError) or "out of memory" in str(error):
            raise
        if refused := hub_advice(at, error):
            raise UsageError(f"Cannot load a {what} from the Hub. {refused}") from error
        reason = str(error).strip().split("\n")[0]
        advice = (
            "The folder needs config.json, model.safetensors and the tokenizer's files, as "
            "save_pretrained writes them."
            if Path(at).is_dir()
            else "If it is a folder, check the path; if it is a Hub id, check its spelling and "
            "that this machine can reach the Hub or has it in its cache."
        )
        raise UsageError(f"Cannot load a {what} from '{at}': {reason} {advice}") from error


def usable_device(device: str | None) -> str:
    """The asked device, or the best one there is; of several GPUs the one of this process.

    Raises:
        UsageError: if the asked one is not there.
    """
    device = device or _best_device()
    if device == "cuda" and "LOCAL_RANK" in os.environ:  # set by torchrun and accelerate launch
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"Device '{device}' cannot be used here: {str(error).splitlines()[0].rstrip('.')}. "
            "Leave --device out to take the best one there is."
        ) from error
    return device


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
