"""Exercises of notebook 04, Where does the teacher step in?"""

from collections.abc import Sequence

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question


def replacement_rate(sources: Sequence[str]) -> float:
    """The share of tokens the teacher wrote; 0 for a text without tokens."""
    if not sources:
        return 0.0
    return sum(who == "teacher" for who in sources) / len(sources)


def _acceptance(sources: Sequence[str]) -> float:
    return 1 - replacement_rate(sources)


def _count(sources: Sequence[str]) -> int:
    return sum(who == "teacher" for who in sources)


def _against_the_student(sources: Sequence[str]) -> float:
    by_student = sum(who == "student" for who in sources)
    return _count(sources) / by_student if by_student else float(_count(sources) > 0)


def _in_percent(sources: Sequence[str]) -> float:
    return 100 * replacement_rate(sources)


def _empty_is_not_looked_at(sources: Sequence[str]) -> float:
    return _count(sources) / len(sources)


_MIXED = ["student", "student", "teacher", "student", "teacher", "student", "student", "student"]
_TEXTS = {
    "a text of both": _MIXED,
    "the teacher begins": ["teacher", "student", "student", "student", "teacher", "student"],
    "all replaced": ["teacher"] * 4,
    "an empty text": [],
}

add(
    Exercise(
        number="04.1",
        asks="a function replacement_rate(sources) that gives a number in [0, 1].",
        answer=replacement_rate,
        cases=tuple(Case(name, (sources,)) for name, sources in _TEXTS.items()),
        mistakes=(
            Mistake(_acceptance, "That is the share the student wrote: its complement."),
            Mistake(_count, "That is how many; the share divides by the number of tokens."),
            Mistake(_against_the_student, "Divide by all tokens, not by the student's alone."),
            Mistake(_in_percent, "A share lies between 0 and 1: leave out the factor 100."),
            Mistake(
                _empty_is_not_looked_at,
                "An empty text would divide by zero. Nothing was replaced in it: give 0.",
            ),
        ),
    )
)


def longest_kept_run(sources: Sequence[str]) -> int:
    """How many of the student's tokens stand in a row, at most."""
    longest = current = 0
    for who in sources:
        current = current + 1 if who == "student" else 0
        longest = max(longest, current)
    return longest


def _all_of_them(sources: Sequence[str]) -> int:
    return sum(who == "student" for who in sources)


def _before_the_first(sources: Sequence[str]) -> int:
    return next((i for i, who in enumerate(sources) if who == "teacher"), len(sources))


def _only_runs_that_end(sources: Sequence[str]) -> int:
    longest = current = 0
    for who in sources:
        if who == "student":
            current += 1
        else:
            longest, current = max(longest, current), 0
    return longest


def _the_last(sources: Sequence[str]) -> int:
    return _before_the_first(sources[::-1])


def _any_writer(sources: Sequence[str]) -> int:
    longest = current = 0
    for i, who in enumerate(sources):
        current = current + 1 if i and who == sources[i - 1] else 1
        longest = max(longest, current)
    return longest


add(
    Exercise(
        number="04.2",
        asks="a function longest_kept_run(sources) that gives a whole number.",
        answer=longest_kept_run,
        cases=tuple(Case(name, (sources,)) for name, sources in _TEXTS.items()),
        mistakes=(
            Mistake(_all_of_them, "Those are all of the student's tokens: only a row of them."),
            Mistake(_before_the_first, "That is the first run. A later one may be longer."),
            Mistake(
                _only_runs_that_end, "The run at the end counts too, without a refusal behind."
            ),
            Mistake(_the_last, "That is the last run. An earlier one may be longer."),
            Mistake(_any_writer, "Only the student's tokens make a run, not the teacher's."),
        ),
    )
)
add_question(
    "04.3",
    "the record of a run at K = 3 is what a run at K = 1 writes, a, b or c",
    "b",
    {
        "a": "once one token differs, the student proposes behind another text: other proposals, "
        "other ranks.",
        "b": "up to there both runs read the same text and draw with the same numbers.",
        "c": "the numbers are the same, so as long as the text before is, so is everything.",
    },
)
