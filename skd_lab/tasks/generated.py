"""Tasks that write their own examples: seeded, offline, with splits that share no problem."""

import hashlib
from abc import abstractmethod
from collections.abc import Hashable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from skd_lab.errors import UsageError
from skd_lab.tasks.base import Example, Task


class Problem(Protocol):
    """What a generated example is about, before it is put into words."""

    @property
    def key(self) -> Hashable:
        """Equal for two problems that count as the same."""

    @property
    def split(self) -> str:
        """The one split this problem can appear in, whatever the seed."""


P = TypeVar("P", bound=Problem)


def split_by_hash(text: str) -> str:
    """train, validation or test (80:10:10) by the SHA-256 of a text."""
    bucket = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 10
    return {0: "test", 1: "validation"}.get(bucket, "train")


def pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    """One of the values."""
    return values[int(rng.random() * len(values))]


class Generated(Task, Generic[P]):
    """A task without a file: `load` draws problems of the split until it has enough of them."""

    default_n = 1000
    _patience = 1000  # draws in a row that give nothing new

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> P:
        """A problem of any split."""

    @abstractmethod
    def put_into_words(self, rng: np.random.Generator, problem: P, id: str) -> Example:
        """The problem as a prompt with a reference, in one of its wordings."""

    @abstractmethod
    def size(self, split: str) -> int:
        """How many different problems a split has: `load` gives no more."""

    def load(
        self,
        split: str,
        n: int | None = None,
        seed: int = 0,
        data_path: str | Path | None = None,
    ) -> list[Example]:
        """Other examples for every seed; splits share no problem, whatever the seeds.

        Within one call no problem comes twice.
        """
        self.check_request(split, n)
        if data_path is not None:
            raise UsageError(
                f"task {self.name} makes its own examples and reads no file, got data_path "
                f"{str(data_path)!r}. Leave it out, or use task jsonl for a file of your own."
            )
        if n is not None and n > self.default_n and n > self.size(split):
            raise self._too_many(split, self.size(split), n)
        # Philox: counter-based, so the stream is the same on every machine.
        entropy = np.random.SeedSequence([seed, self.splits.index(split)])
        rng = np.random.Generator(np.random.Philox(entropy))
        examples: dict[Hashable, Example] = {}
        missed = 0
        while len(examples) < (n or self.default_n):
            problem = self.draw(rng)
            if problem.split != split or problem.key in examples:
                missed += 1
                if missed == self._patience:
                    raise self._too_many(split, len(examples), n or self.default_n)
                continue
            missed = 0
            name = f"{self.name}-{split}-{seed}-{len(examples)}"
            examples[problem.key] = self.put_into_words(rng, problem, name)
        return list(examples.values())

    def _too_many(self, split: str, count: int, n: int) -> UsageError:
        return UsageError(
            f"split {split} of task {self.name} has about {count} different problems, got a "
            f"request for {n}. Ask for fewer."
        )
