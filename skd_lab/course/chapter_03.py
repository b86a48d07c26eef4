"""Exercises of notebook 03, Accept or replace: Algorithm 1 by hand."""

from fractions import Fraction

from skd_lab.course import toy
from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question
from skd_lab.course.toy import Law


def skd_step(student_law: Law, teacher_law: Law, k: int, u: float, v: float) -> tuple[str, str]:
    """One place of Algorithm 1: the word that stands, and who wrote it."""
    proposed = toy.draw(student_law, u)
    # Python's sort keeps the order of equal ones: the word that comes first is ahead
    top = sorted(teacher_law, key=lambda word: -teacher_law[word])[:k]
    if proposed in top:
        return proposed, "student"
    return toy.draw(teacher_law, v), "teacher"


def _ranks_by_student(
    student_law: Law, teacher_law: Law, k: int, u: float, v: float
) -> tuple[str, str]:
    proposed = toy.draw(student_law, u)
    top = sorted(student_law, key=lambda word: -student_law[word])[:k]
    return (proposed, "student") if proposed in top else (toy.draw(teacher_law, v), "teacher")


def _most_likely(student_law: Law, teacher_law: Law, k: int, u: float, v: float) -> tuple[str, str]:
    word, who = skd_step(student_law, teacher_law, k, u, v)
    best = max(teacher_law, key=lambda other: teacher_law[other])
    return (word, who) if who == "student" else (best, who)


def _one_number(student_law: Law, teacher_law: Law, k: int, u: float, v: float) -> tuple[str, str]:
    return skd_step(student_law, teacher_law, k, u, u)


def _named_by_the_word(
    student_law: Law, teacher_law: Law, k: int, u: float, v: float
) -> tuple[str, str]:
    word, _ = skd_step(student_law, teacher_law, k, u, v)
    return word, "student" if word == toy.draw(student_law, u) else "teacher"


def _fewer(student_law: Law, teacher_law: Law, k: int, u: float, v: float) -> tuple[str, str]:
    return skd_step(student_law, teacher_law, k - 1, u, v)


def _law(**tenths: int) -> Law:
    return {word: Fraction(count, 10) for word, count in tenths.items()}


_STUDENT = _law(cat=5, dog=2, bird=2, tree=1)
_TEACHER = _law(cat=2, dog=4, bird=3, tree=1)

add(
    Exercise(
        number="03.1",
        asks="a function skd_step(student_law, teacher_law, k, u, v) that gives (word, who).",
        answer=skd_step,
        cases=(
            Case("a proposal that stands", (_STUDENT, _TEACHER, 2, 0.6, 0.9)),
            Case("refused, the teacher draws", (_STUDENT, _TEACHER, 2, 0.1, 0.7)),
            Case("refused, and drawn again by the teacher", (_STUDENT, _TEACHER, 2, 0.1, 0.1)),
            Case("K = 3 lets it in", (_STUDENT, _TEACHER, 3, 0.1, 0.7)),
            Case("K = 1", (_STUDENT, _TEACHER, 1, 0.8, 0.95)),
            Case(
                "two words of equal rank", (_STUDENT, _law(cat=3, dog=3, bird=2, tree=2), 1, 0.1, 0)
            ),
        ),
        mistakes=(
            Mistake(_ranks_by_student, "The rank counts in the teacher's law, not the student's."),
            Mistake(_most_likely, "The teacher draws its word too: toy.draw(teacher_law, v)."),
            Mistake(_one_number, "The teacher draws with its own number, v."),
            Mistake(_named_by_the_word, "Who wrote it is decided by the rank, not by the word."),
            Mistake(_fewer, "Rank k itself stands: at most k, not below."),
        ),
    )
)
add_question(
    "03.2",
    "behind which text is the next proposal drawn? a, b or c",
    "b",
    {
        "a": "what was refused never enters the text; nobody goes on from it.",
        "b": "both models go on from what stands. The student learns what to do after a good word.",
        "c": "there is one text. The teacher has already decided about this place.",
    },
)
add(
    Exercise(
        number="03.3",
        asks="a probability, as a number such as 0.25 or Fraction(1, 4).",
        answer=Fraction(2, 10) + Fraction(6, 10) * Fraction(4, 10),
        mistakes=(
            Mistake(Fraction(2, 10), "That is the student's part. The teacher may write dog too."),
            Mistake(Fraction(4, 10), "That is the teacher's law. It only writes after a refusal."),
            Mistake(
                Fraction(6, 10),
                "The teacher draws only after a refusal, and then dog 4 times in 10.",
            ),
            Mistake(
                Fraction(6, 10) * Fraction(4, 10), "That is the teacher's part. Add the student's."
            ),
        ),
    )
)
