"""Exercises of notebook 08, Turning K from 1 to the whole vocabulary."""

from collections.abc import Mapping, Sequence

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question

add_question(
    "08.1",
    "K is 1 and the teacher draws its replacements. Whose text is it? a, b or c",
    "c",
    {
        "a": "its favourite comes more often than it would write it: the student may propose it "
        "first, and only then does the teacher draw.",
        "b": "a refused proposal is replaced by a draw, and the teacher does not always draw its "
        "favourite. With a greedy teacher it would be so.",
        "c": "the teacher's favourite has two chances at every place: proposed, or drawn.",
    },
)


def favourite_at_one(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    """With what chance the teacher's most likely word stands at a place, if K is 1."""
    best = max(teacher, key=lambda word: teacher[word])
    return student[best] + (1 - student[best]) * teacher[best]


def _proposed(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    return student[max(teacher, key=lambda word: teacher[word])]


def _of_the_teacher(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    return max(teacher.values())


def _always_drawn(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    return _proposed(student, teacher) + max(teacher.values())


def _students_favourite(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    best = max(student, key=lambda word: student[word])
    return student[best] + (1 - student[best]) * teacher[best]


def _certain(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
    return 1.0


add(
    Exercise(
        number="08.2",
        asks="a function favourite_at_one(student, teacher) that gives a chance in [0, 1].",
        answer=favourite_at_one,
        cases=(
            Case(
                "they differ",
                ({"cat": 0.6, "dog": 0.3, "bird": 0.1}, {"cat": 0.2, "dog": 0.5, "bird": 0.3}),
            ),
            Case(
                "the student never proposes it",
                ({"cat": 1.0, "dog": 0.0}, {"cat": 0.3, "dog": 0.7}),
            ),
            Case("the same law", ({"cat": 0.75, "dog": 0.25}, {"cat": 0.75, "dog": 0.25})),
        ),
        mistakes=(
            Mistake(
                _proposed, "That is the chance to be proposed. After a refusal it may be drawn."
            ),
            Mistake(_of_the_teacher, "That is what the teacher alone would do."),
            Mistake(
                _always_drawn, "The teacher draws only after a refusal: weigh its part by that."
            ),
            Mistake(
                _students_favourite, "The teacher's favourite is asked for, not the student's."
            ),
            Mistake(_certain, "The teacher draws: it may write something else than its favourite."),
        ),
    )
)


def k_at(done: int, steps: int, first: int, last: int) -> int:
    """K of the update that comes after `done` others, on a straight line over a run, rounded."""
    return round(first + (last - first) * done / max(steps - 1, 1))


def _never_arrives(done: int, steps: int, first: int, last: int) -> int:
    return round(first + (last - first) * done / steps)


def _cut_off(done: int, steps: int, first: int, last: int) -> int:
    return int(first + (last - first) * done / max(steps - 1, 1))


def _backwards(done: int, steps: int, first: int, last: int) -> int:
    return k_at(done, steps, last, first)


def _one_further(done: int, steps: int, first: int, last: int) -> int:
    return k_at(done + 1, steps, first, last)


def _divided_by_zero(done: int, steps: int, first: int, last: int) -> int:
    return round(first + (last - first) * done / (steps - 1))


add(
    Exercise(
        number="08.3",
        asks="a function k_at(done, steps, first, last) that gives a whole number.",
        answer=k_at,
        cases=(
            Case("the first update has the first K", (0, 100, 25, 1)),
            Case("the last update has the last K", (99, 100, 25, 1)),
            Case("on the way, rounded", (20, 100, 25, 1)),
            Case("a rising line", (7, 11, 1, 25)),
            Case("a run of one update", (0, 1, 25, 1)),
        ),
        mistakes=(
            Mistake(_never_arrives, "The last update is number steps - 1: there K must be `last`."),
            Mistake(_cut_off, "Round to the nearest: int() always cuts down."),
            Mistake(_backwards, "The line runs from `first` to `last`."),
            Mistake(_one_further, "`done` counts the updates before this one: the first has 0."),
            Mistake(_divided_by_zero, "A run of one update has no line: do not divide by 0."),
        ),
    )
)


def left_over(law: Sequence[float], temperature: float, top_p: float) -> int:
    """How many tokens a teacher has left that is sharpened first, and cut to its nucleus then."""
    sharp = sorted((p ** (1 / temperature) for p in law), reverse=True)
    reached, wanted = 0.0, top_p * sum(sharp)
    for count, p in enumerate(sharp, start=1):
        reached += p
        if reached >= wanted:
            return count
    return len(sharp)


def _not_sharpened(law: Sequence[float], temperature: float, top_p: float) -> int:
    return left_over(law, 1.0, top_p)


def _flattened(law: Sequence[float], temperature: float, top_p: float) -> int:
    return left_over(law, 1 / temperature, top_p)


def _without_the_last(law: Sequence[float], temperature: float, top_p: float) -> int:
    return left_over(law, temperature, top_p) - 1


def _not_shared_out(law: Sequence[float], temperature: float, top_p: float) -> int:
    reached = 0.0
    for count, p in enumerate(sorted((p ** (1 / temperature) for p in law), reverse=True), 1):
        reached += p
        if reached >= top_p:
            return count
    return len(law)


def _each_above(law: Sequence[float], temperature: float, top_p: float) -> int:
    sharp = [p ** (1 / temperature) for p in law]
    return sum(p / sum(sharp) >= top_p for p in sharp)


add(
    Exercise(
        number="08.4",
        asks="a function left_over(law, temperature, top_p) that gives a count.",
        answer=left_over,
        cases=(
            Case("one word ahead", ([0.5, 0.3, 0.15, 0.05], 0.2, 0.6)),
            Case("two equal ones ahead", ([0.05, 0.45, 0.45, 0.05], 0.2, 0.7)),
            Case("a flat teacher", ([0.2] * 5, 0.2, 0.5)),
            Case("temperature 1", ([0.4, 0.3, 0.2, 0.1], 1.0, 0.75)),
        ),
        mistakes=(
            Mistake(_not_sharpened, "Divide the logits by the temperature first: p ** (1 / T)."),
            Mistake(_flattened, "A temperature below 1 sharpens: p ** (1 / T), not p ** T."),
            Mistake(_without_the_last, "The token that crosses the line is inside."),
            Mistake(
                _not_shared_out, "After sharpening they no longer add up to 1: divide by the sum."
            ),
            Mistake(_each_above, "The nucleus is reached by their sum, not by each one alone."),
        ),
    )
)
add_question(
    "08.5",
    "one token is left and K is 25. Which proposals stand in the released code? a, b or c",
    "b",
    {
        "a": "the cut came before: all but one of these have probability 0 by then.",
        "b": "a top 25 must have 25 members: ids of probability 0 fill it up, whatever they mean.",
        "c": "that would be sensible, and the top K of 25 has more members than that one.",
    },
)
