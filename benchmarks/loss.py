"""The loss alone at Qwen's vocabulary, in chunks and dense: `python -m benchmarks.loss`.

Dense means what one writes first: logits of both models for all tokens, two log-softmaxes, the
divergence, backward. It is measured on fewer tokens too, as its memory grows with them.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.machine import write_result
from benchmarks.meter import peak_memory
from skd_lab.losses import forward_kl
from skd_lab.projection import Projection, chunked_divergence

VOCABULARY = 151_936
STUDENT, TEACHER = 128, 256
"""Widths of the hidden states: small, so that what is not a matrix product is seen."""


class Case:
    """Random hidden states and heads."""

    def __init__(self, tokens: int, vocabulary: int) -> None:
        draw = torch.Generator().manual_seed(0)
        self.weights = torch.full((tokens,), 1 / tokens, dtype=torch.float64)
        self.hidden = torch.randn(tokens, STUDENT, generator=draw).requires_grad_()
        self.head = (0.02 * torch.randn(vocabulary, STUDENT, generator=draw)).requires_grad_()
        self.teacher_hidden = torch.randn(tokens, TEACHER, generator=draw)
        self.teacher_head = 0.02 * torch.randn(vocabulary, TEACHER, generator=draw)

    def chunked(self) -> torch.Tensor:
        """skd_lab's."""
        loss, _, _ = chunked_divergence(
            forward_kl,
            self.hidden,
            Projection(self.head),
            self.teacher_hidden,
            Projection(self.teacher_head),
            self.weights,
        )
        return loss

    def dense(self) -> torch.Tensor:
        """All logits at once."""
        student = (self.hidden @ self.head.t()).log_softmax(dim=-1)
        with torch.no_grad():
            teacher = (self.teacher_hidden @ self.teacher_head.t()).log_softmax(dim=-1)
        return (forward_kl(student, teacher) * self.weights).sum()

    def both_ways(self, loss: Callable[[], torch.Tensor]) -> float:
        """Value and gradient of one of them."""
        self.hidden.grad = self.head.grad = None
        value = loss()
        value.backward()
        return value.item()


def measure(
    tokens: list[int], dense_up_to: int, repeats: int, vocabulary: int = VOCABULARY
) -> list[dict[str, Any]]:
    """Seconds and peak bytes of value and gradient, a row for each way and number of tokens."""
    rows = []
    order = random.Random(0)
    for count in tokens:
        case = Case(count, vocabulary)
        ways = {"chunked": case.chunked} | ({"dense": case.dense} if count <= dense_up_to else {})
        seen: dict[str, list[float]] = {name: [] for name in ways}
        peaks = {}
        for repeat in range(repeats + 1):
            for name in order.sample(list(ways), len(ways)):
                if repeat == repeats:
                    with peak_memory() as peak:
                        case.both_ways(ways[name])
                    peaks[name] = peak[0]
                    continue
                began = time.process_time()
                case.both_ways(ways[name])
                seen[name].append(time.process_time() - began)
        for name, seconds in seen.items():
            rows.append(
                {
                    "way": name,
                    "tokens": count,
                    "cpu_seconds": {
                        "median": statistics.median(seconds),
                        "min": min(seconds),
                        "max": max(seconds),
                    },
                    "peak_bytes": peaks[name],
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", nargs="+", type=int, default=[256, 512, 1024, 4096])
    parser.add_argument("--dense-up-to", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", help="name of the file in results/")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = measure(args.tokens, args.dense_up_to, args.repeats)
    for row in rows:
        seconds, peak = row["cpu_seconds"]["median"], row["peak_bytes"] / 2**20
        print(f"{row['way']:8} {row['tokens']:6} tokens {seconds:8.3f} cpu s {peak:8.0f} MB")
    if args.save:
        result = {"benchmark": "loss", "vocabulary": VOCABULARY, "rows": rows}
        print(f"Written to {write_result(args.save, result).name}.")


if __name__ == "__main__":
    main()
