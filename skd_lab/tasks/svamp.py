"""SVAMP, word problems that punish shallow reading (Patel et al. 2021, arXiv:2103.07191).

One line of the data, as on the Hub (ChilleD/SVAMP: 700 to train, 300 to test)::

    {"ID": "chal-777", "Body": "There are 87 oranges and 290 bananas in Philip's collection.",
     "Question": "How big is each group of bananas?", "Equation": "( 290.0 / 2.0 )",
     "Answer": "145", "Type": "Common-Division"}

There is no solution in words: the reference is the equation, and the answer behind `####` as in
GSM8K, so that a model trained on one is scored alike on the other.
"""

import re
from typing import Any

from skd_lab.errors import DataError
from skd_lab.metrics import numeric_match, parse_number
from skd_lab.tasks.answers import leading_number, marked_answer, plain_answer, value_of
from skd_lab.tasks.base import Example
from skd_lab.tasks.word_problems import WordProblems


class Svamp(WordProblems):
    r"""One number is right: behind the last `####`, or where there is none in the last \boxed."""

    name = "svamp"
    description = "Word problems with distractors (ChilleD/SVAMP, or a file of the same form)."
    hub_name = "ChilleD/SVAMP"
    fields = "Body, Question, Equation and Answer"

    def example(self, source: str, line: int, row: dict[str, Any]) -> Example:
        body, question, equation, answer = (
            self.text_of(source, line, row, field)
            for field in ("Body", "Question", "Equation", "Answer")
        )
        return worked_example(
            f"svamp-{line}", (source, line), f"{_sentence(body)} {question}", equation, answer
        )

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`accuracy`: 1 if the final answer is the number; a unit may follow it."""
        return {"accuracy": number_said(completion_text, example.meta["answer"])}


def worked_example(
    name: str, place: tuple[str, int], question: str, equation: str, answer: str
) -> Example:
    """A problem whose reference is an equation and the number behind `####`.

    Raises:
        DataError: the answer is no number; names source and line of `place`.
    """
    number = parse_number(answer)
    if number is None:
        source, line = place
        raise DataError(
            f"{source}, line {line}: the answer must be a number, got {answer!r}. Repair or "
            "remove that line."
        )
    shown = f"{number:.10g}"
    # 3.0 is 3 in the equations of both data sets
    worked = re.sub(r"(\d)\.0+(?!\d)", r"\1", equation)
    worked = worked.removeprefix("(").removesuffix(")").strip() if _wrapped(worked) else worked
    worked = worked if "=" in worked else f"{worked} = {shown}"
    return Example(
        id=name,
        messages=[{"role": "user", "content": question}],
        reference=f"{worked}\n#### {shown}",
        meta={"question": question, "answer": shown},
    )


def number_said(text: str, right: str) -> float:
    """1.0 if the final answer of a solution is that number, a unit behind it or not, else 0.0."""
    said = marked_answer(text)
    if said is None:
        return 0.0
    if numeric_match(leading_number(said), right):
        return 1.0
    value = value_of(plain_answer(said))  # a fraction, or a number in LaTeX
    return float(value is not None and value == value_of(plain_answer(right)))


def _wrapped(text: str) -> bool:
    """Whether the bracket that opens a text is the one that closes it."""
    depth = 0
    for place, mark in enumerate(text):
        depth += (mark == "(") - (mark == ")")
        if depth == 0:
            return mark == ")" and place == len(text) - 1
    return False


def _sentence(text: str) -> str:
    return text if text[-1] in ".?!," else f"{text}."
