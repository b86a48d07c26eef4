"""What this machine can do for the notebooks, in words."""

import importlib.util
import os
import platform
import sys
from importlib.metadata import version
from types import TracebackType
from typing import Any

import torch

_ORDER = (
    " Is it misspelt? If not, a cell further up has not run in this kernel: choose Run > Run All "
    "Above Selected Cell, then run this one again."
)


def describe_machine() -> None:
    """Print versions, cores and accelerator, and what will be different for it.

    From then on a name that is missing in a cell (they were run out of order) also says what to do.
    """
    _explain_missing_names()
    import transformers

    print(
        f"skd_lab {version('skd-lab')}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )
    print(f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} of them")
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        kinds = "bfloat16" if torch.cuda.is_bf16_supported() else "float16, no bfloat16"
        print(f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {kinds}")
    elif torch.backends.mps.is_available():
        print("Apple GPU (mps): training works, and its digits differ from a CPU's")
    else:
        print("no GPU: everything here runs on the CPU with the bundled models")
    missing = [name for name in ("ipywidgets", "matplotlib") if not importlib.util.find_spec(name)]
    if missing:
        print(f"missing: {', '.join(missing)}. Install with: pip install {' '.join(missing)}")


def _explain_missing_names() -> None:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        shell.set_custom_exc((NameError,), _show_missing_name)


def _show_missing_name(
    shell: Any,
    kind: type[NameError],
    error: NameError,
    trace: TracebackType,
    tb_offset: int | None = None,
) -> None:
    if kind is NameError and error.args and not str(error.args[0]).endswith(_ORDER):
        error.args = (f"{error.args[0]}.{_ORDER}",)
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def real_models_available(gigabytes: float = 8.0) -> bool:
    """Whether real Qwen or Gemma models can be used: a GPU with that memory, and a hub in reach.

    SKD_FAST=1 or HF_HUB_OFFLINE=1 in the environment say no.

    Args:
        gigabytes: memory the notebook's models need, GiB.
    """
    if os.environ.get("SKD_FAST") == "1" or os.environ.get("HF_HUB_OFFLINE") == "1":
        return False
    if not torch.cuda.is_available():
        return False
    free, _ = torch.cuda.mem_get_info()
    return free >= gigabytes * 2**30 and _hub_answers()


def _hub_answers() -> bool:
    from huggingface_hub import HfApi

    try:
        HfApi().model_info("Qwen/Qwen3-0.6B", timeout=5)
    except Exception:  # whatever the network does, the answer is no
        return False
    return True
