"""Dropout's own random numbers: keyed by run and update, so that a resumed run draws the same.

The rest of the library takes its randomness as an argument. Dropout cannot: it draws from torch's
global generators. They are lent here for one forward and backward, and given back as they were.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def keyed_dropout(device: torch.device, *key: int) -> Iterator[None]:
    """Inside, what a model in train mode draws is a function of the key alone.

    Args:
        device: of the model. The generators of the CPU and of this device are left as they were
            found (on other devices than CUDA's, only the CPU's).
        key: whole numbers that are not negative, such as seed, update and process.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
