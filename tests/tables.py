"""Language models that are tables: small enough that the law of every text is known by hand."""

from types import SimpleNamespace

import torch
from torch import nn


class TableModel(nn.Module):
    """A language model that is a table: the last token decides the next one's distribution."""

    def __init__(self, table):
        super().__init__()
        self.register_buffer("table", torch.tensor(table, dtype=torch.float64).log())
        self.config = SimpleNamespace(
            num_hidden_layers=0, _attn_implementation="sdpa", vocab_size=len(table)
        )
        self.config.get_text_config = lambda: self.config
        self.device, self.dtype = self.table.device, self.table.dtype

    def forward(self, input_ids, **unused):
        return SimpleNamespace(logits=self.table[input_ids])


STUDENT_TABLE = [[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1],
                 [0.05, 0.05, 0.45, 0.45]]  # fmt: skip
TEACHER_TABLE = [[0.4, 0.3, 0.2, 0.1], [0.1, 0.6, 0.25, 0.05], [0.05, 0.15, 0.3, 0.5],
                 [0.3, 0.3, 0.3, 0.1]]  # fmt: skip


def law_of(keep, length, eos):
    """Probability of every completion of up to `length` tokens that starts behind token 0.

    Args:
        keep: (student's row, teacher's row, place) -> probability of each kept token.
    """
    law = {}

    def go_on(prefix, last, probability):
        if len(prefix) == length or (prefix and last == eos):
            law[prefix] = law.get(prefix, 0.0) + probability
            return
        kept = keep(STUDENT_TABLE[last], TEACHER_TABLE[last], len(prefix))
        for token, share in enumerate(kept):
            go_on((*prefix, token), token, probability * share)

    go_on((), 0, 1.0)
    return law


def excess(rollouts, law):
    """How far counts lie from a law: (chi-square - its mean) in standard deviations.

    A text that the law rules out is infinitely far.
    """
    seen = {}
    for rollout in rollouts:
        text = tuple(rollout.completion_ids.tolist())
        seen[text] = seen.get(text, 0) + 1
    possible = {text: p for text, p in law.items() if p > 1e-12}
    if not set(seen) <= set(possible):
        return float("inf")
    rows = len(rollouts)
    chi = sum((seen.get(t, 0) - rows * p) ** 2 / (rows * p) for t, p in possible.items())
    freedom = max(len(possible) - 1, 1)
    return (chi - freedom) / (2 * freedom) ** 0.5
