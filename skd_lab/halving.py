"""Out of memory: the same work once more, with half as many rows at a time."""

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from skd_lab.errors import NoMemoryError

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

LESS_MEMORY = (
    "Lower --microbatch-size, --max-new-tokens or --max-prompt-tokens; --gradient-checkpointing, "
    "--lora-rank 16, --teacher-dtype bfloat16 or --teacher-quantised 4bit make room, too. "
    "--microbatch-size and --gradient-checkpointing may change when a run goes on with --resume."
)
LESS_TEXT = (
    "Lower --max-new-tokens, --max-prompt-tokens or --batch-size, or make room by "
    "--teacher-dtype bfloat16 or --teacher-quantised 4bit."
)
"""What to change where an update, or its texts, do not fit."""

_SAID = ("out of memory", "DefaultCPUAllocator", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)


def with_half(work: Callable[[int], _T], rows: int, what: str, advice: str) -> tuple[_T, int]:
    """work(rows); where memory runs out, once more with half of the rows, rounded up.

    Args:
        work: does all of its rows, so many at a time; it can be begun again.
        rows: at a time.
        what: is done, for the message: "update 3".
        advice: what to change if half is still too much.

    Returns:
        What work returned, and the rows at a time that went through.

    Raises:
        NoMemoryError: if memory runs out again, or there is one row only.
    """
    try:
        return work(rows), rows
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, NoMemoryError) or not is_out_of_memory(error):
            raise
        if rows == 1:
            raise NoMemoryError(
                f"No memory left in {what}, with one row at a time. {advice}"
            ) from error
    # out here, as the error's frames held on to the tensors
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = -(-rows // 2)
    _LOG.warning("No memory left in %s: going on with %d rows at a time, not %d.", what, half, rows)
    try:
        return work(half), half
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, NoMemoryError) or not is_out_of_memory(error):
            raise
        raise NoMemoryError(
            f"No memory left in {what}, neither with {rows} rows at a time nor with {half}. "
            f"{advice}"
        ) from error
