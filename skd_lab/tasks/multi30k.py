"""Real translation into English: Multi30k (German) and FLORES-200 (Assamese, as in the paper).

Multi30k holds image captions (Elliott et al. 2016, https://arxiv.org/abs/1605.00459). One line::

    {"de": "Ein Mann schläft auf einem Sofa.", "en": "A man sleeping on a couch."}

FLORES-200 (NLLB team 2022, https://arxiv.org/abs/2207.04672) has a dev and a devtest set only: the
training prompts are dev without a tenth, which is the validation, and devtest is the test. On the
Hub it is openlanguagedata/flores_plus (gated: accept its terms once), a configuration a language::

    {"id": 1, "iso_639_3": "asm", "iso_15924": "Beng", "text": "...", "domain": "wikinews", ...}

The older facebook/flores is a loading script, which datasets 4 and later refuse to run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skd_lab.comet import comet_model, comet_score
from skd_lab.errors import DataError, UsageError
from skd_lab.metrics import corpus_translation_scores, exact_match, translation_scores
from skd_lab.tasks.base import Example, Task
from skd_lab.tasks.rows import held_out_split, hub_rows, read_rows, shuffled

Row = tuple[str, int, dict[str, Any]]
"""Name of the source, line number from 1, and the line."""


class Parallel(Task):
    """Sentences with one translation each, from the Hub or from files.

    Attributes:
        source, target: names of the two languages' fields, and ends of the two files' names.
        language: of the source, in English.
    """

    headline = "chrf"
    max_new_tokens = 96
    packages = ("sacrebleu",)
    source: str
    target: str = "en"
    language: str
    files: dict[str, tuple[str, ...]]
    """Names, without ending, that a split may have in a folder."""

    def load(
        self,
        split: str,
        n: int | None = None,
        seed: int = 0,
        data_path: str | Path | None = None,
    ) -> list[Example]:
        """Pairs from the Hub, from a folder, or from one file.

        A folder has train, val (or validation, dev) and test files, each a .jsonl or two files of
        equally many lines, such as train.de and train.en. A single .jsonl is split into train,
        validation and test (80:10:10) by a hash of the sentence.
        """
        self.check_request(split, n)
        if data_path is None:
            rows, whole = self.from_hub(split), False
        else:
            rows, whole = self._from_path(Path(data_path), split)
        examples = [self._example(*row) for row in rows]
        if whole:
            parts = held_out_split([example.meta["source"] for example in examples])
            examples = [examples[index] for index in parts[split]]
        return [examples[index] for index in shuffled(len(examples), n, seed)]

    def from_hub(self, split: str) -> list[Row]:
        """The rows of a split as the Hub has them."""
        raise NotImplementedError

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`chrf` and `bleu` of the sentence against its one reference, and `exact`."""
        scores = translation_scores(completion_text, [example.reference or ""])
        return {
            "chrf": scores["chrf"],
            "bleu": scores["bleu"],
            "exact": exact_match(completion_text, example.reference or ""),
        }

    def corpus_scores(
        self, examples: Sequence[Example], texts: Sequence[str]
    ) -> dict[str, dict[str, float | str]]:
        """Corpus BLEU and chrF, what papers report, with sacrebleu's signature; and COMET, where
        it is asked for (`skd_lab.comet`).
        """
        references = [example.reference or "" for example in examples]
        found = corpus_translation_scores(texts, [[reference] for reference in references])
        if model := comet_model():
            sources = [example.meta["source"] for example in examples]
            found["comet"] = comet_score(model, sources, texts, references)
        return found

    def check_request(self, split: str, n: int | None) -> None:
        """Refuse a COMET that is asked for and not there before anything is loaded, too."""
        super().check_request(split, n)
        comet_model()

    def _from_path(self, path: Path, split: str) -> tuple[list[Row], bool]:
        """Rows, and whether they are all splits' together."""
        if not path.is_dir():
            if path.suffix != ".jsonl":
                raise UsageError(
                    f"task {self.name} reads a .jsonl file or a folder, got {path}. For two files "
                    f"of aligned lines give the folder that holds train.{self.source} and "
                    f"train.{self.target}."
                )
            return [(str(path), line, row) for line, row in read_rows(path)], True
        for name in self.files[split]:
            lines, aligned = path / f"{name}.jsonl", path / f"{name}.{self.source}"
            if lines.is_file():
                return [(str(lines), line, row) for line, row in read_rows(lines)], False
            if aligned.is_file():
                return self._aligned(aligned, path / f"{name}.{self.target}"), False
        name = self.files[split][0]
        raise DataError(
            f"{path} has no {split} set for task {self.name}. Give it as {name}.jsonl, or as "
            f"{name}.{self.source} and {name}.{self.target}."
        )

    def _aligned(self, source: Path, target: Path) -> list[Row]:
        """Two files, line by line."""
        texts = {}
        for path in (source, target):
            try:
                # not splitlines: a line may hold another of Unicode's line ends
                texts[path] = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            except UnicodeDecodeError as error:
                raise DataError(f"{path} is no UTF-8 text ({error}). Convert it.") from error
            except OSError as error:
                raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
        if len(texts[source]) != len(texts[target]):
            raise DataError(
                f"{source} has {len(texts[source])} lines and {target} has {len(texts[target])}. "
                "Line n of one must be the translation of line n of the other."
            )
        pairs = zip(texts[source], texts[target], strict=True)
        return [
            (f"{source} and {target.name}", line, {self.source: one, self.target: other})
            for line, (one, other) in enumerate(pairs, start=1)
        ]

    def _example(self, source: str, line: int, row: dict[str, Any]) -> Example:
        for field in (self.source, self.target):
            if not isinstance(row.get(field), str) or not row[field].strip():
                raise DataError(
                    f'{source}, line {line}: no text in field "{field}". A line of task '
                    f"{self.name} holds {self.source} and {self.target}."
                )
        text = row[self.source].strip()
        instruction = f"Translate from {self.language} to English.\n"
        return Example(
            id=f"{self.name}-{line}",
            messages=[{"role": "user", "content": instruction + text}],
            reference=row[self.target].strip(),
            meta={"source": text},
        )


class Multi30k(Parallel):
    """Image captions, German to English."""

    name = "multi30k"
    description = "Translate German captions (bentrevett/multi30k, or files of that form)."
    source = "de"
    language = "German"
    files = {
        "train": ("train",),
        "validation": ("val", "validation", "dev"),
        "test": ("test_2016_flickr", "test"),
    }
    hub_name = "bentrevett/multi30k"

    def from_hub(self, split: str) -> list[Row]:
        rows = hub_rows(self.hub_name, None, split, "de and en")
        return [(self.hub_name, line, row) for line, row in rows]


class Flores(Parallel):
    """Sentences of news and encyclopaedias, Assamese to English, as in the paper's translation."""

    name = "flores"
    description = "Translate Assamese (openlanguagedata/flores_plus, or files of that form)."
    source = "as"
    language = "Assamese"
    files = {"train": ("train",), "validation": ("dev", "validation"), "test": ("devtest", "test")}
    hub_name = "openlanguagedata/flores_plus"
    codes = {"as": "asm_Beng", "en": "eng_Latn"}
    """The names of the two languages' configurations, and of their files in the archive."""

    def from_hub(self, split: str) -> list[Row]:
        """The two languages' rows, joined by their id."""
        part = "devtest" if split == "test" else "dev"
        texts = {
            name: {row.get("id"): row.get("text") for _, row in self._language(code, part)}
            for name, code in self.codes.items()
        }
        rows = [
            (self.hub_name, line, {name: texts[name].get(key) for name in texts})
            for line, key in enumerate(texts[self.source], start=1)
        ]
        return self._of_dev(rows, split)

    def _language(self, code: str, part: str) -> list[tuple[int, dict[str, Any]]]:
        return hub_rows(self.hub_name, code, part, "as and en")

    def _from_path(self, path: Path, split: str) -> tuple[list[Row], bool]:
        """A folder may also be the archive flores200_dataset, with dev/ and devtest/."""
        part = "devtest" if split == "test" else "dev"
        texts = [path / part / f"{code}.{part}" for code in self.codes.values()]
        if not texts[0].is_file():
            return super()._from_path(path, split)
        return self._of_dev(self._aligned(*texts), split), False

    def _of_dev(self, rows: list[Row], split: str) -> list[Row]:
        """A tenth of dev is the validation, the rest is for training."""
        if split == "test":
            return rows
        held_out = set(held_out_split([str(row[self.source]) for _, _, row in rows])["validation"])
        return [row for n, row in enumerate(rows) if (n in held_out) == (split == "validation")]
