"""Processes that work for this one, and end when it does, however it ends."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait

from skd_lab.errors import SkdError

PATIENCE = 20.0
"""Seconds that a process has to save its run between one SIGTERM and the next."""


@contextlib.contextmanager
def process_pool(
    workers: int, prepare: Callable[[], None] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Processes with one thread each; an error in the block, or the end of this process, stops
    them: they get a SIGTERM, at which a run saves itself first.

    Ctrl-C at a terminal reaches every process of its group. Here it is for this one to act on.

    Args:
        workers: how many.
        prepare: called by each before its first work; a function of a module, since another
            process must find it.

    Raises:
        SkdError: one of them died of itself.
    """
    context = get_context("spawn")  # a fork of a process with torch's threads can hang
    # nothing is written to it: its end is reached when `holder` is closed, or this process dead
    alive, holder = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _begin, (alive, prepare))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise SkdError(
            "One of the worker processes died, most likely for want of memory. What was finished "
            "is kept: give the command again, with fewer --workers."
        ) from error
    except BaseException:
        holder.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        holder.close()
        alive.close()


def _begin(alive: Connection, prepare: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()

    import torch

    torch.set_num_threads(1)
    if prepare is not None:
        prepare()


def _end_with(alive: Connection) -> None:
    """End this process when the one it works for wants it to, or is gone."""
    wait([alive])
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
