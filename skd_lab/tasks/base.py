"""What a task is: examples with references, and a score for a completion's text."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skd_lab.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Example:
    """One problem, as text. Exactly one of `prompt` and `messages` is given.

    Attributes:
        id: unique within what one `load` returns, and stable between calls.
        prompt: plain text to be continued as it stands, without a chat template.
        messages: chat turns `{"role", "content"}` up to the one the model writes next.
        reference: the data set's answer; None where there is none.
        meta: whatever the task's own scorer needs.
    """

    id: str
    prompt: str | None = None
    messages: list[dict[str, str]] | None = None
    reference: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.messages is None):
            raise UsageError(
                f"example {self.id!r} needs either a prompt or messages, "
                f"got {'neither' if self.prompt is None else 'both'}. Give exactly one of the two."
            )


class Task(ABC):
    """A named source of examples with a scorer.

    Attributes:
        name: key in `TASKS` and value of `--task`.
        description: one sentence for help texts and the app.
        headline: the first key of every `score`; its value lies in [0, 1].
        splits: names `load` takes.
        max_new_tokens: a completion limit that fits the task's references.
        has_references: whether every example carries a reference.
        packages: what `score` imports, by import name.
    """

    name: str
    description: str
    headline: str
    splits: Sequence[str] = ("train", "validation", "test")
    max_new_tokens: int = 64
    has_references: bool = True
    packages: Sequence[str] = ()

    @abstractmethod
    def load(
        self,
        split: str,
        n: int | None = None,
        seed: int = 0,
        data_path: str | Path | None = None,
    ) -> list[Example]:
        """Examples of one split, the same for the same arguments.

        Args:
            split: one of `splits`.
            n: how many; None for all there are (generated tasks: their default number).
                A smaller n gives the first n of what a larger one gives.
            seed: which examples (generated tasks), or their order (files and data sets).
            data_path: a file or folder to read instead of the task's own source.

        Raises:
            UsageError: unknown split, n below 1, or a data_path the task cannot use.
            DataError: the data cannot be read; names the file and the line.
        """

    @abstractmethod
    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """Scores in [0, 1] of a completion's text, the headline metric first."""

    def corpus_scores(
        self, examples: Sequence[Example], texts: Sequence[str]
    ) -> dict[str, dict[str, float | str]]:
        """Scores that are no mean over examples: value in [0, 1] and signature, by name.

        None for most tasks.
        """
        return {}

    def check_request(self, split: str, n: int | None) -> None:
        """Raise UsageError for a split or a number of examples that cannot be."""
        if split not in self.splits:
            raise UsageError(
                f"task {self.name} has no split {split!r}. Choose one of: {', '.join(self.splits)}."
            )
        if n is not None and n < 1:
            raise UsageError(f"the number of examples must be at least 1, got {n}.")
