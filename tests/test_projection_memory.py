"""The chunked loss never holds a number for every token and id."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skd_lab.losses import forward_kl, token_nll
from skd_lab.projection import Projection, chunked_divergence, chunked_nll


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor any operation gives out."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.numel = max(self.numel, leaf.numel())
        return out


def test_never_holds_tokens_times_vocabulary():
    tokens, dim, vocab, chunk = 300, 4, 1000, 16
    hidden = torch.randn(tokens, dim, generator=torch.Generator().manual_seed(0))
    hidden.requires_grad_()
    weight = torch.ones(vocab, dim).requires_grad_()
    head, ids = Projection(weight), torch.zeros(tokens, dtype=torch.long)
    weights = torch.full((tokens,), 1 / tokens)
    with LargestTensor() as chunked:
        loss, _, _ = chunked_divergence(
            forward_kl, hidden, head, hidden, head, weights, chunk_tokens=chunk
        )
        loss.backward()
    assert chunked.numel == chunk * vocab
    with LargestTensor() as chunked:
        chunked_nll(hidden, head, ids, weights, chunk_tokens=chunk)[0].backward()
    assert chunked.numel == chunk * vocab
    # The counter does see a dense computation.
    with LargestTensor() as dense:
        token_nll(torch.log_softmax(head.logits(hidden), dim=-1), ids).mean().backward()
    assert dense.numel == tokens * vocab
