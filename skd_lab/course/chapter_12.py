"""Exercises of notebook 12, Your own task: lines of a file, and a student as a draft."""

from collections.abc import Mapping
from typing import Any

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question


def to_line(row: Mapping[str, str]) -> dict[str, Any]:
    """The row as a chat: what is asked, and the answer as the assistant's turn if there is one."""
    asked = "Summarize the dialogue.\n" + row["dialogue"]
    turns = [{"role": "user", "content": asked}]
    if row.get("summary"):
        turns.append({"role": "assistant", "content": row["summary"]})
    return {"messages": turns}


def _answer_by_the_user(row: Mapping[str, str]) -> dict[str, Any]:
    turns = to_line(row)["messages"]
    return {"messages": [{**turn, "role": "user"} for turn in turns]}


def _without_what_is_asked(row: Mapping[str, str]) -> dict[str, Any]:
    first, *rest = to_line(row)["messages"]
    return {"messages": [{**first, "content": row["dialogue"]}, *rest]}


def _empty_answers(row: Mapping[str, str]) -> dict[str, Any]:
    turns = to_line(row)["messages"][:1]
    return {"messages": [*turns, {"role": "assistant", "content": row.get("summary", "")}]}


def _no_answers(row: Mapping[str, str]) -> dict[str, Any]:
    return {"messages": to_line(row)["messages"][:1]}


def _turns_alone(row: Mapping[str, str]) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = to_line(row)["messages"]
    return turns


def _answer_first(row: Mapping[str, str]) -> dict[str, Any]:
    return {"messages": to_line(row)["messages"][::-1]}


_ANSWERED = {"dialogue": " Ann: Lunch at noon?\n Bob: Yes.", "summary": "They eat at noon."}
_OPEN = {"dialogue": " Ann: Where are you?\n Bob: At home."}

add(
    Exercise(
        number="12.1",
        asks="a function to_line(row) that gives a dictionary with messages.",
        answer=to_line,
        cases=(
            Case("a row with an answer", (_ANSWERED,)),
            Case("a row without one", (_OPEN,)),
            Case("an empty answer is none", ({**_OPEN, "summary": ""},)),
        ),
        mistakes=(
            Mistake(_answer_by_the_user, 'The answer is the assistant\'s turn: role "assistant".'),
            Mistake(
                _without_what_is_asked, "The model is to be told what to do with the dialogue."
            ),
            Mistake(_empty_answers, "Without an answer there is no assistant's turn at all."),
            Mistake(_no_answers, "Where there is an answer, keep it: it is what scores look at."),
            Mistake(_turns_alone, 'A line is a dictionary: {"messages": [...]}.'),
            Mistake(_answer_first, "The user asks first; the answer comes last."),
        ),
    )
)

add_question(
    "12.2",
    "a trained student drafts under the lossless rule. Whose law has the text? a, b or c",
    "b",
    {
        "a": "the rule mends every deviation of the student: notebook 05.",
        "b": "exactly the teacher's, whatever the draft is worth. A bad draft costs time alone.",
        "c": "that is SKD's rule with its top K. The lossless one gives one law exactly.",
    },
)


def acceptance(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    """How often a proposal of the student stands under the lossless rule: 1 - TV."""
    return sum(min(student[word], teacher[word]) for word in student)


def _never_together(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    return sum(student[word] * teacher[word] for word in student)


def _whole_difference(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    return 1 - sum(abs(student[word] - teacher[word]) for word in student)


def _unweighted(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    ratios = [min(1.0, teacher[w] / student[w]) for w in student if student[w] > 0]
    return sum(ratios) / len(ratios)


def _refused(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    return 1 - acceptance(student, teacher)


def _larger_of_both(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    return sum(max(student[word], teacher[word]) for word in student)


add(
    Exercise(
        number="12.3",
        asks="a function acceptance(student, teacher) that gives a probability.",
        answer=acceptance,
        cases=(
            Case("two models", ({"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.2, "b": 0.7, "c": 0.1})),
            Case("equal ones: all stands", ({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5})),
            Case("nothing in common: nothing stands", ({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0})),
            Case("a sure student", ({"a": 1.0, "b": 0.0}, {"a": 0.6, "b": 0.4})),
        ),
        mistakes=(
            Mistake(
                _never_together, "The teacher does not draw a word of its own to compare with."
            ),
            Mistake(_whole_difference, "TV is half of the sum of differences."),
            Mistake(_unweighted, "Proposals are drawn by the student: weigh each by its chance."),
            Mistake(_refused, "That is how often one is refused."),
            Mistake(_larger_of_both, "What both give a word is the smaller of the two."),
        ),
    )
)


def tokens_per_block(accepted: float, gamma: int) -> float:
    """Tokens that a forward of the teacher gives: 1 + a + a^2 + ... + a^gamma."""
    return sum(accepted**drafted for drafted in range(gamma + 1))


def _no_bonus(accepted: float, gamma: int) -> float:
    return sum(accepted**drafted for drafted in range(gamma))


def _only_what_stands(accepted: float, gamma: int) -> float:
    return tokens_per_block(accepted, gamma) - 1


def _independent(accepted: float, gamma: int) -> float:
    return 1 + accepted * gamma


def _all_or_nothing(accepted: float, gamma: int) -> float:
    return 1 + gamma * accepted**gamma


def _without_end(accepted: float, gamma: int) -> float:
    return 1 / (1 - accepted) if accepted < 1 else float("inf")


add(
    Exercise(
        number="12.4",
        asks="a function tokens_per_block(accepted, gamma) that gives a number of tokens.",
        answer=tokens_per_block,
        cases=(
            Case("half of the proposals stand", (0.5, 3)),
            Case("one proposal a block", (0.8, 1)),
            Case("nothing stands: the teacher's own token", (0.0, 5)),
            Case("everything stands: the block and one more", (1.0, 4)),
        ),
        mistakes=(
            Mistake(_no_bonus, "If the whole block stands, the teacher adds one more token."),
            Mistake(_only_what_stands, "The teacher's forward gives a token of its own as well."),
            Mistake(
                _independent, "What is drafted behind a refusal is lost, so later ones count less."
            ),
            Mistake(_all_or_nothing, "A block that breaks early still keeps its beginning."),
            Mistake(_without_end, "A block ends after gamma proposals: the sum is finite."),
        ),
    )
)
