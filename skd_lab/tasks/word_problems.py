"""What the real sets of word problems share: how they are split, and one score."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

from skd_lab.errors import DataError
from skd_lab.tasks.base import Example, Task
from skd_lab.tasks.rows import held_out_split, hub_rows, read_rows, shuffled


class WordProblems(Task):
    """Problems with one right final answer, from the Hub, from files of its form, or from one file.

    Attributes:
        hub_name, hub_config: of the data set on the Hub; no configuration where it has only one.
        hub_split: its only split, for a set that has no test of its own; else None.
        fields: what a line holds, for messages.
    """

    headline = "accuracy"
    max_new_tokens = 256
    hub_name: str
    hub_config: str | None = None
    hub_split: str | None = None
    fields: str

    def load(
        self,
        split: str,
        n: int | None = None,
        seed: int = 0,
        data_path: str | Path | None = None,
    ) -> list[Example]:
        """Problems from the Hub, from a folder with train.jsonl and test.jsonl, or from one file.

        Where train and test are apart, validation is 10% of train by a hash of the question; what
        comes as one is split into train, validation and test (80:10:10) by the same hash.
        """
        self.check_request(split, n)
        part = "test" if split == "test" else "train"
        if data_path is None:
            apart, source = self.hub_split is None, self.hub_name
            rows = self.hub_rows(self.hub_split or part)
        else:
            path, apart = Path(data_path), Path(data_path).is_dir()
            path = path / f"{part}.jsonl" if apart else path
            source, rows = str(path), read_rows(path)
        made = (self.example(source, line, row) for line, row in rows)
        examples = [example for example in made if example is not None]
        if not examples:
            raise DataError(f"{source} has no problem for task {self.name}. Give other data.")
        if not (apart and split == "test"):
            parts = held_out_split([example.meta["question"] for example in examples])
            chosen = parts[split] + (parts["test"] if apart and split == "train" else [])
            examples = [examples[index] for index in sorted(chosen)]
        return [examples[index] for index in shuffled(len(examples), n, seed)]

    def hub_rows(self, part: str) -> list[tuple[int, dict[str, Any]]]:
        """Numbered rows of a split of the Hub's."""
        return hub_rows(self.hub_name, self.hub_config, part, self.fields)

    @abstractmethod
    def example(self, source: str, line: int, row: dict[str, Any]) -> Example | None:
        """One row as an example, with "question" and "answer" in its meta; None to leave it out.

        Raises:
            DataError: for a row that cannot be one; names source and line.
        """

    def text_of(self, source: str, line: int, row: dict[str, Any], field: str) -> str:
        """A field's text, white space at its ends taken away; a number counts as text."""
        value = row.get(field)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value:g}" if abs(value) < 1e6 else repr(value)
        if not isinstance(value, str) or not value.strip():
            raise DataError(
                f'{source}, line {line}: no text in field "{field}". A line of task {self.name} '
                f"holds {self.fields}."
            )
        return value.strip()
