r"""Math with a boxed answer: MATH (Hendrycks et al. 2021, arXiv:2103.03874) and UltraInteract.

One line of MATH, as on the Hub (EleutherAI/hendrycks_math, seven subjects; the authors' own copy
is no longer there), and one of UltraInteract (Yuan et al. 2024, arXiv:2404.02078), which the paper
trains on::

    {"problem": "What is $\\frac12+\\frac13$?", "level": "Level 1", "type": "Prealgebra",
     "solution": "A common denominator gives $\\boxed{\\frac56}$."}
    {"task": "Math_CoT", "dataset": "MATH", "instruction": "Solve ...", "response": "...
     \\boxed{5}", "id": "...", "parent_id": "..."}
"""

from typing import Any

from skd_lab.errors import DataError
from skd_lab.metrics import exact_match
from skd_lab.tasks.answers import boxed_answer, same_answer
from skd_lab.tasks.base import Example
from skd_lab.tasks.rows import hub_rows
from skd_lab.tasks.word_problems import WordProblems

SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
"""Configurations of MATH on the Hub."""


class Math(WordProblems):
    r"""Competition problems; a completion is right if its last \boxed holds the answer."""

    name = "math"
    description = "Competition math (EleutherAI/hendrycks_math, or a file of the same form)."
    max_new_tokens = 512
    hub_name = "EleutherAI/hendrycks_math"
    fields = "problem and solution"
    question_field, solution_field = "problem", "solution"

    def hub_rows(self, part: str) -> list[tuple[int, dict[str, Any]]]:
        """All subjects, one after the other, numbered through."""
        rows = [
            row
            for subject in SUBJECTS
            for _, row in hub_rows(self.hub_name, subject, part, self.fields)
        ]
        return list(enumerate(rows, start=1))

    def example(self, source: str, line: int, row: dict[str, Any]) -> Example | None:
        question = self.text_of(source, line, row, self.question_field)
        solution = self.text_of(source, line, row, self.solution_field)
        answer = boxed_answer(solution)
        if answer is None:
            raise DataError(
                f"{source}, line {line}: the solution must hold its answer in \\boxed{{}}, got "
                f"{solution[-40:]!r}. Repair or remove that line."
            )
        return Example(
            id=f"{self.name}-{line}",
            messages=[{"role": "user", "content": question}],
            reference=solution,
            meta={"question": question, "answer": answer},
        )

    def score(self, example: Example, completion_text: str) -> dict[str, float]:
        r"""`accuracy`: the last \boxed holds the same answer (`answers.same_answer`);
        `exact_match`: it is written alike, white space aside.
        """
        said = boxed_answer(completion_text)
        return {
            "accuracy": same_answer(said, example.meta["answer"]),
            "exact_match": exact_match(said or "", example.meta["answer"]),
        }


class UltraInteract(Math):
    """Chains of thought on math problems, for training; a tenth each is held out.

    Rows of other kinds (code, logic, programs) and rows without a boxed answer are left out.
    """

    name = "ultrainteract"
    description = "Math instructions (openbmb/UltraInteract_sft, or a file of the same form)."
    hub_name = "openbmb/UltraInteract_sft"
    hub_split = "train"
    fields = "task, instruction and response"
    question_field, solution_field = "instruction", "response"

    def hub_rows(self, part: str) -> list[tuple[int, dict[str, Any]]]:
        return hub_rows(self.hub_name, None, part, self.fields)

    def example(self, source: str, line: int, row: dict[str, Any]) -> Example | None:
        kind = self.text_of(source, line, row, "task")
        if kind != "Math_CoT" or boxed_answer(self.text_of(source, line, row, "response")) is None:
            return None
        return super().example(source, line, row)
