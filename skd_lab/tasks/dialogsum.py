"""DialogSum, summaries of everyday dialogues (Chen et al. 2021, https://arxiv.org/abs/2105.06762).

One line of the data, and one of its test set, where three people wrote a summary each::

    {"dialogue": "#Person1#: Hi, Jim.\\n#Person2#: Hello!", "summary": "#Person1# greets Jim."}
    {"dialogue": "#Person1#: ...", "summary1": "...", "summary2": "...", "summary3": "..."}

The Hub's copy repeats a test dialogue for each of its summaries. Rows with one dialogue become one
example here, so every form gives the same: a prompt, and all of its references for the score.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skd_lab.errors import DataError
from skd_lab.metrics import rouge
from skd_lab.tasks.base import Example, Task
from skd_lab.tasks.rows import held_out_split, hub_rows, read_rows, shuffled
from skd_lab.tasks.summaries import INSTRUCTION

HUB_NAME = "knkarthick/dialogsum"
FILES = {"train": ("train",), "validation": ("validation", "dev"), "test": ("test",)}
"""Names, without .jsonl, that a split may have in a folder; the data's authors say dev."""


class DialogSum(Task):
    """Real dialogues to summarise, scored by ROUGE against every summary people wrote."""

    name = "dialogsum"
    description = "Summarise an everyday dialogue (knkarthick/dialogsum, or a file of that form)."
    headline = "rouge_l"
    max_new_tokens = 128

    def load(
        self,
        split: str,
        n: int | None = None,
        seed: int = 0,
        data_path: str | Path | None = None,
    ) -> list[Example]:
        """Dialogues from the Hub, from a folder with train, dev and test.jsonl, or from one file.

        A single file is split into train, validation and test (80:10:10) by a hash of the
        dialogue. The reference is the first summary; `meta["references"]` holds all of them.
        """
        self.check_request(split, n)
        if data_path is None:
            source, rows = HUB_NAME, hub_rows(HUB_NAME, None, split, "dialogue and summary")
        else:
            path = Path(data_path)
            path = _file_of(path, split) if path.is_dir() else path
            source, rows = str(path), read_rows(path)
        examples = _examples(source, rows)
        if data_path is not None and Path(data_path).is_file():
            parts = held_out_split([example.meta["dialogue"] for example in examples])
            examples = [examples[index] for index in parts[split]]
        return [examples[index] for index in shuffled(len(examples), n, seed)]

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """ROUGE F1 of words, without stemming: `rouge_l`, `rouge_1` and `rouge_2` are means over
        the references, as the data's authors report; `rouge_l_best` is the best of them.
        """
        scores = [rouge(completion_text, text) for text in example.meta["references"]]
        means = {name: sum(s[name] for s in scores) / len(scores) for name in scores[0]}
        best = max(s["rouge_l"] for s in scores)
        return {"rouge_l": means.pop("rouge_l"), "rouge_l_best": best, **means}


def _file_of(folder: Path, split: str) -> Path:
    options = [folder / f"{name}.jsonl" for name in FILES[split]]
    return next((path for path in options if path.is_file()), options[0])


def _examples(source: str, rows: Iterable[tuple[int, dict[str, Any]]]) -> list[Example]:
    """One example a dialogue, with the summaries of all of its rows."""
    found: dict[str, tuple[int, list[str]]] = {}
    for line, row in rows:
        dialogue = row.get("dialogue")
        if not isinstance(dialogue, str) or not dialogue.strip():
            raise DataError(
                f'{source}, line {line}: no text in field "dialogue". A DialogSum line holds '
                "dialogue and summary."
            )
        found.setdefault(dialogue.strip(), (line, []))[1].extend(_summaries(source, line, row))
    return [
        Example(
            id=f"dialogsum-{line}",
            messages=[{"role": "user", "content": INSTRUCTION + dialogue}],
            reference=summaries[0],
            meta={"dialogue": dialogue, "references": summaries},
        )
        for dialogue, (line, summaries) in found.items()
    ]


def _summaries(source: str, line: int, row: dict[str, Any]) -> list[str]:
    """What stands in "summary", or in "summary1", "summary2" and so on."""
    fields = [name for name in row if re.fullmatch(r"summary\d+", name)]
    texts = {name: row[name] for name in (["summary"] if "summary" in row else sorted(fields))}
    for name, text in (texts or {"summary": None}).items():
        if not isinstance(text, str) or not text.strip():
            raise DataError(
                f'{source}, line {line}: no text in field "{name}". A DialogSum line holds '
                "dialogue and summary (or summary1, summary2, ...)."
            )
    return [text.strip() for text in texts.values()]
