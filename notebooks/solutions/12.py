"""Solutions of notebook 12. Made by `make notebooks`; do not edit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skd_lab import course


# 12.1: a function to_line(row) that gives a dictionary with messages.
def to_line(row: Mapping[str, str]) -> dict[str, Any]:
    """The row as a chat: what is asked, and the answer as the assistant's turn if there is one."""
    asked = "Summarize the dialogue.\n" + row["dialogue"]
    turns = [{"role": "user", "content": asked}]
    if row.get("summary"):
        turns.append({"role": "assistant", "content": row["summary"]})
    return {"messages": turns}


course.check("12.1", to_line)


# 12.2: a trained student drafts under the lossless rule. Whose law has the text? a, b or c
course.check("12.2", "b")


# 12.3: a function acceptance(student, teacher) that gives a probability.
def acceptance(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    """How often a proposal of the student stands under the lossless rule: 1 - TV."""
    return sum(min(student[word], teacher[word]) for word in student)


course.check("12.3", acceptance)


# 12.4: a function tokens_per_block(accepted, gamma) that gives a number of tokens.
def tokens_per_block(accepted: float, gamma: int) -> float:
    """Tokens that a forward of the teacher gives: 1 + a + a^2 + ... + a^gamma."""
    return sum(accepted**drafted for drafted in range(gamma + 1))


course.check("12.4", tokens_per_block)
