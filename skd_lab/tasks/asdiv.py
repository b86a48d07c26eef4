"""ASDiv, word problems of many kinds (Miao et al. 2020, arXiv:2106.15772).

One line of the data, as on the Hub (EleutherAI/asdiv: 2,305 problems, all in one split)::

    {"body": "Seven red apples and two green apples are in the basket.",
     "question": "How many apples are in the basket?", "solution_type": "Addition",
     "answer": "9 (apples)", "formula": "7+2=9"}

A tenth is held out for the test, and a tenth for validation, by a hash of the question. Problems
whose answer is not one number (but two, a name, a ratio or a time) are left out.
"""

import re
from typing import Any

from skd_lab.metrics import parse_number
from skd_lab.tasks.base import Example
from skd_lab.tasks.svamp import number_said, worked_example
from skd_lab.tasks.word_problems import WordProblems


class Asdiv(WordProblems):
    r"""One number is right: behind the last `####`, or where there is none in the last \boxed."""

    name = "asdiv"
    description = "Word problems of many kinds (EleutherAI/asdiv, or a file of the same form)."
    hub_name = "EleutherAI/asdiv"
    hub_split = "validation"
    fields = "body, question, answer and formula"

    def example(self, source: str, line: int, row: dict[str, Any]) -> Example | None:
        body, question, answer, formula = (
            self.text_of(source, line, row, field)
            for field in ("body", "question", "answer", "formula")
        )
        number = re.sub(r"\s*\([^()]*\)$", "", answer)  # the unit
        if parse_number(number) is None:
            return None
        return worked_example(
            f"asdiv-{line}", (source, line), f"{body} {question}", formula, number
        )

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`accuracy`: 1 if the final answer is the number; a unit may follow it."""
        return {"accuracy": number_said(completion_text, example.meta["answer"])}
