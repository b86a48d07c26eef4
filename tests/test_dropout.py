"""Dropout's draws are a function of the key, and nobody else's generator notices."""

import itertools

import torch

from skd_lab.dropout import keyed_dropout

CPU = torch.device("cpu")


def kept(*key):
    """Which of 64 values dropout keeps."""
    with keyed_dropout(CPU, *key):
        return tuple(torch.nn.functional.dropout(torch.ones(64), 0.5).tolist())


def test_the_same_key_draws_the_same_whatever_was_drawn_before():
    torch.manual_seed(1)
    first = kept(0, 7, 0)
    torch.manual_seed(2)
    assert kept(0, 7, 0) == first


def test_seed_update_and_process_each_matter():
    keys = list(itertools.product((0, 1), repeat=3))
    assert len({kept(*key) for key in keys}) == len(keys)


def test_generators_are_left_as_they_were_found():
    before = torch.get_rng_state()
    kept(3, 4, 5)
    assert torch.equal(torch.get_rng_state(), before)
