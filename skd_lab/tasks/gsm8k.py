r"""GSM8K, grade-school word problems (Cobbe et al. 2021, https://github.com/openai/grade-school-math).

One line of the data::

    {"question": "Weng earns $12 an hour ... How much did she earn?",
     "answer": "Weng earns 12/60 = $<<12/60=0.2>>0.2 per minute.\n... = $<<0.2*50=10>>10.\n#### 10"}

`<<12/60=0.2>>` marks a calculator call of the authors' models; the number behind it is repeated in
the text, so stripping the marks loses nothing.
"""

import re
from pathlib import Path
from typing import Literal

from skd_lab.errors import DataError, UsageError
from skd_lab.metrics import numeric_match, parse_number
from skd_lab.tasks.base import Example, Task
from skd_lab.tasks.rows import held_out_split, hub_rows, read_rows, shuffled

HUB_NAME = "openai/gsm8k"
_MARKS = re.compile(r"<<[^<>]*>>")


def final_answer(text: str) -> str | None:
    """What stands behind the last `####` of a solution, up to the end of its line; or None."""
    found = re.findall(r"####[ \t]*([^\n]*)", text)
    return found[-1].strip() if found and found[-1].strip() else None


class Gsm8k(Task):
    """Word problems; a completion is right if the number behind its last `####` is.

    Args:
        calculator_marks: "strip" takes `<<...>>` out of the references, "keep" leaves them in.
    """

    name = "gsm8k"
    description = "Grade-school math word problems (openai/gsm8k, or a file of the same form)."
    headline = "accuracy"
    max_new_tokens = 256

    def __init__(self, calculator_marks: Literal["strip", "keep"] = "strip") -> None:
        if calculator_marks not in ("strip", "keep"):
            raise UsageError(f"calculator_marks must be strip or keep, got {calculator_marks!r}.")
        self.calculator_marks = calculator_marks

    def load(
        self,
        split: str,
        n: int | None = None,
        seed: int = 0,
        data_path: str | Path | None = None,
    ) -> list[Example]:
        """Problems from the Hub, from a folder with train.jsonl and test.jsonl, or from one file.

        From the Hub and from a folder, validation is 10% of train by a hash of the question; a
        single file is split into train, validation and test (80:10:10) by the same hash.
        """
        self.check_request(split, n)
        # one file holds all three splits; the Hub and a folder keep their test apart
        apart = data_path is None or Path(data_path).is_dir()
        source, rows = _read(data_path, "test" if split == "test" else "train")
        examples = [self._example(source, line, row) for line, row in rows]
        if not (apart and split == "test"):
            parts = held_out_split([example.meta["question"] for example in examples])
            chosen = parts[split] + (parts["test"] if apart and split == "train" else [])
            examples = [examples[index] for index in sorted(chosen)]
        return [examples[index] for index in shuffled(len(examples), n, seed)]

    def _example(self, source: str, line: int, row: dict) -> Example:
        for field in ("question", "answer"):
            if not isinstance(row.get(field), str) or not row[field].strip():
                raise DataError(
                    f'{source}, line {line}: no text in field "{field}". A GSM8K line holds '
                    "question and answer."
                )
        answer = final_answer(row["answer"])
        if answer is None or parse_number(answer) is None:
            raise DataError(
                f"{source}, line {line}: the answer must end in #### and a number, got "
                f"{row['answer'][-40:]!r}. Repair or remove that line."
            )
        strip = self.calculator_marks == "strip"
        return Example(
            id=f"gsm8k-{line}",
            messages=[{"role": "user", "content": row["question"].strip()}],
            reference=(_MARKS.sub("", row["answer"]) if strip else row["answer"]).strip(),
            meta={"question": row["question"].strip(), "answer": answer},
        )

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`accuracy`: 1 if the number behind the last `####` equals the answer's."""
        return {
            "accuracy": numeric_match(final_answer(completion_text) or "", example.meta["answer"])
        }


def _read(data_path: str | Path | None, split: str) -> tuple[str, list[tuple[int, dict]]]:
    """The name of the source, for messages, and its numbered rows."""
    if data_path is None:
        return HUB_NAME, hub_rows(HUB_NAME, "main", split, "question and answer")
    path = Path(data_path)
    if path.is_dir():
        path = path / f"{split}.jsonl"
    return str(path), read_rows(path)
