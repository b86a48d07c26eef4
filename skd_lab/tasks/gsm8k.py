r"""GSM8K, grade-school word problems (Cobbe et al. 2021, https://github.com/openai/grade-school-math).

One line of the data::

    {"question": "Weng earns $12 an hour ... How much did she earn?",
     "answer": "Weng earns 12/60 = $<<12/60=0.2>>0.2 per minute.\n... = $<<0.2*50=10>>10.\n#### 10"}

`<<12/60=0.2>>` marks a calculator call of the authors' models; the number behind it is repeated in
the text, so stripping the marks loses nothing.
"""

import re
from typing import Any, Literal

from skd_lab.errors import DataError, UsageError
from skd_lab.metrics import numeric_match, parse_number
from skd_lab.tasks.answers import final_answer, leading_number
from skd_lab.tasks.base import Example
from skd_lab.tasks.word_problems import WordProblems

_MARKS = re.compile(r"<<[^<>]*>>")


class Gsm8k(WordProblems):
    """Word problems; a completion is right if the number behind its last `####` is.

    Args:
        calculator_marks: "strip" takes `<<...>>` out of the references, "keep" leaves them in.
    """

    name = "gsm8k"
    description = "Grade-school math word problems (openai/gsm8k, or a file of the same form)."
    hub_name = "openai/gsm8k"
    hub_config = "main"
    fields = "question and answer"

    def __init__(self, calculator_marks: Literal["strip", "keep"] = "strip") -> None:
        if calculator_marks not in ("strip", "keep"):
            raise UsageError(f"calculator_marks must be strip or keep, got {calculator_marks!r}.")
        self.calculator_marks = calculator_marks

    def example(self, source: str, line: int, row: dict[str, Any]) -> Example:
        question = self.text_of(source, line, row, "question")
        solution = self.text_of(source, line, row, "answer")
        answer = final_answer(solution)
        if answer is None or parse_number(answer) is None:
            raise DataError(
                f"{source}, line {line}: the answer must end in #### and a number, got "
                f"{solution[-40:]!r}. Repair or remove that line."
            )
        strip = self.calculator_marks == "strip"
        return Example(
            id=f"gsm8k-{line}",
            messages=[{"role": "user", "content": question}],
            reference=_MARKS.sub("", solution) if strip else solution,
            meta={"question": question, "answer": answer},
        )

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        """`accuracy`: 1 if the number behind the last `####` equals the answer's.

        A unit may follow it, as the authors' own checker has it; a second number may not.
        """
        said = leading_number(final_answer(completion_text) or "")
        return {"accuracy": numeric_match(said, example.meta["answer"])}
