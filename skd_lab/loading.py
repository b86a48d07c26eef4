"""One model or tokenizer from a folder or a Hub id, or one paragraph on why it cannot be."""

import contextlib
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
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from skd_lab.errors import UsageError, hub_advice


def load_model(
    at: str | Path, *, dtype: str = "float32", device: str | None = None
) -> PreTrainedModel:
    """A causal language model from a folder or a Hub id, in eval mode.

    Safetensors only, no remote code, and an attention that takes per-row masks (sdpa, or eager
    where a model has no sdpa).

    Raises:
        UsageError: if it cannot be loaded; says what to do.
    """
    device = _usable_device(device)
    with _loading_errors(at, "model"):
        try:
            loaded = _from_pretrained(at, dtype)
        except (ValueError, ImportError) as error:
            if "scaled_dot_product_attention" not in str(error):
                raise
            loaded = _from_pretrained(at, dtype, attention="eager")
    model: Any
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UsageError(
            f"The weights in '{at}' are incomplete: {len(missing)} of the model's are missing, the "
            f"first is {missing[0]}. They would be random; save the whole model again."
        )
    return model.to(device).eval()


def _from_pretrained(
    at: str | Path, dtype: str, attention: str = "sdpa"
) -> tuple[PreTrainedModel, dict[str, Any]]:
    whole = AutoConfig.from_pretrained(at, trust_remote_code=False)
    config = _text_part(whole)
    if getattr(config.get_text_config(), "attn_logit_softcapping", None):
        attention = "eager"  # sdpa leaves Gemma2's cap out, in some releases without a word
    # flash attention takes no per-row masks; without config= one named in the file would be taken
    with quiet_bars():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            at,
            config=config,
            attn_implementation=attention,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **({} if config is whole else {"key_mapping": _TEXT_KEYS}),
        )
    return loaded


# names of a language model's weights inside a wrapper with other senses, before and since 2025
_TEXT_KEYS = {r"^language_model\.": "", r"^model\.language_model\.": "model."}


def _text_part(config: PretrainedConfig) -> PretrainedConfig:
    """The language model alone of a checkpoint that also sees (Gemma 3 from 4B on).

    Its other parts would take memory, and have no gradient to share between processes.
    """
    text = config.get_text_config()
    return text if type(text) in MODEL_FOR_CAUSAL_LM_MAPPING else config


def load_tokenizer(at: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder or Hub id.

    Raises:
        UsageError: if there is none at hand.
    """
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


def _usable_device(device: str | None) -> str:
    """The asked device, or the best one there is.

    Raises:
        UsageError: if the asked one is not there.
    """
    device = device or _best_device()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"Device '{device}' cannot be used here: {str(error).splitlines()[0]} "
            "Leave --device out to take the best one there is."
        ) from error
    return device


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
