"""Exercises of notebook 11, The family: a bounded divergence, a gradient, controls, a verdict."""

import math
import statistics
from collections.abc import Sequence

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question


def skewed_kl(teacher: Sequence[float], student: Sequence[float], skew: float) -> float:
    """KL(teacher || mixture), the mixture being `skew` teacher and the rest student; nats."""
    total = 0.0
    for p, q in zip(teacher, student, strict=True):
        mixed = skew * p + (1 - skew) * q
        total += p * math.log(p / mixed) if p > 0 else 0.0
    return total


def _mixed_the_other_way(teacher: Sequence[float], student: Sequence[float], skew: float) -> float:
    return skewed_kl(teacher, student, 1 - skew)


def _from_the_student(teacher: Sequence[float], student: Sequence[float], skew: float) -> float:
    return skewed_kl(student, teacher, skew)


def _never_mixed(teacher: Sequence[float], student: Sequence[float], skew: float) -> float:
    return skewed_kl(teacher, student, 0.0)


def _nothing_about_zero(teacher: Sequence[float], student: Sequence[float], skew: float) -> float:
    pairs = zip(teacher, student, strict=True)
    return sum(p * math.log(p / (skew * p + (1 - skew) * q)) for p, q in pairs)


def _share_of_the_kl(teacher: Sequence[float], student: Sequence[float], skew: float) -> float:
    return (1 - skew) * skewed_kl(teacher, student, 0.0)


def _in_bits(teacher: Sequence[float], student: Sequence[float], skew: float) -> float:
    return skewed_kl(teacher, student, skew) / math.log(2)


_HALF, _ONE = (0.5, 0.5, 0.0), (1.0, 0.0, 0.0)

add(
    Exercise(
        number="11.1",
        asks="a function skewed_kl(teacher, student, skew) that gives nats.",
        answer=skewed_kl,
        cases=(
            Case("zero for equals", ((0.5, 0.25, 0.25), (0.5, 0.25, 0.25), 0.1)),
            Case("two models", ((0.5, 0.25, 0.25), (0.25, 0.25, 0.5), 0.1)),
            Case("the student rules out a word of the teacher's", (_HALF, _ONE, 0.5)),
            Case("the teacher rules out a word", ((1.0, 0.0), (0.25, 0.75), 0.1)),
        ),
        mistakes=(
            Mistake(_mixed_the_other_way, "The skew is the teacher's share of the mixture."),
            Mistake(
                _from_the_student, "The teacher's probabilities weigh the sum, not the student's."
            ),
            Mistake(_never_mixed, "Compare with the mixture, not with the student alone."),
            Mistake(
                _nothing_about_zero, "A word that the teacher rules out adds nothing: leave it out."
            ),
            Mistake(
                _share_of_the_kl, "Mix the probabilities first; a share of the KL is not that."
            ),
            Mistake(_in_bits, "That is in bits: take the natural logarithm."),
        ),
    )
)


def expected_gradient(student: Sequence[float], teacher: Sequence[float]) -> list[float]:
    """Of -A log q(y) by the student's logits, over all its draws y; A = log p(y) - log q(y)."""
    words = range(len(student))
    gain = [math.log(teacher[y] / student[y]) for y in words]
    return [sum(student[y] * -gain[y] * ((i == y) - student[i]) for y in words) for i in words]


def _uphill(student: Sequence[float], teacher: Sequence[float]) -> list[float]:
    return [-each for each in expected_gradient(student, teacher)]


def _without_the_normaliser(student: Sequence[float], teacher: Sequence[float]) -> list[float]:
    pairs = zip(student, teacher, strict=True)
    return [-q * math.log(p / q) for q, p in pairs]


def _drawn_by_the_teacher(student: Sequence[float], teacher: Sequence[float]) -> list[float]:
    words = range(len(student))
    gain = [math.log(teacher[y] / student[y]) for y in words]
    return [sum(teacher[y] * -gain[y] * ((i == y) - student[i]) for y in words) for i in words]


def _reward_alone(student: Sequence[float], teacher: Sequence[float]) -> list[float]:
    words = range(len(student))
    gain = [math.log(teacher[y]) for y in words]
    return [sum(student[y] * -gain[y] * ((i == y) - student[i]) for y in words) for i in words]


def _every_word_alike(student: Sequence[float], teacher: Sequence[float]) -> list[float]:
    words = range(len(student))
    gain = [math.log(teacher[y] / student[y]) for y in words]
    return [sum(-gain[y] * ((i == y) - student[i]) for y in words) / len(student) for i in words]


add(
    Exercise(
        number="11.2",
        asks="a function expected_gradient(student, teacher) that gives a number for each word.",
        answer=expected_gradient,
        cases=(
            Case("the three words above", ((0.5, 0.25, 0.25), (0.25, 0.25, 0.5))),
            Case("nothing to learn", ((0.5, 0.3, 0.2), (0.5, 0.3, 0.2))),
            Case("another student", ((0.7, 0.2, 0.1), (0.2, 0.3, 0.5))),
        ),
        mistakes=(
            Mistake(_uphill, "A loss goes down: there is a minus before the advantage."),
            Mistake(
                _without_the_normaliser,
                "log q(y) depends on all logits: minus the student's law, for every draw.",
            ),
            Mistake(_drawn_by_the_teacher, "The student draws, so its law weighs the draws."),
            Mistake(_reward_alone, "The advantage is log p minus log q, not log p alone."),
            Mistake(_every_word_alike, "Draws are not equally likely: weigh them by the student."),
        ),
    )
)
add_question(
    "11.3",
    "which control would show that the weights do nothing? a, b or c",
    "b",
    {
        "a": "that asks whether a teacher helps at all, and weights are not needed for it.",
        "b": "whatever the weights do by their mere sizes, shuffled ones do too. What is left over "
        "is that they stand in the right places.",
        "c": "two things differ then, and one cannot tell which of them did it.",
    },
)


def verdict(differences: Sequence[float]) -> str:
    """held, tied or lost: the mean of five seeds against its 95% interval (t = 2.776)."""
    mean = statistics.fmean(differences)
    half = 2.776 * statistics.stdev(differences) / math.sqrt(len(differences))
    return "held" if mean - half > 0 else "lost" if mean + half < 0 else "tied"


def _by_the_mean(differences: Sequence[float]) -> str:
    return "held" if statistics.fmean(differences) > 0 else "lost"


def _by_the_seeds(differences: Sequence[float]) -> str:
    if min(differences) > 0:
        return "held"
    return "lost" if max(differences) < 0 else "tied"


def _with_the_sd(differences: Sequence[float]) -> str:
    mean, half = statistics.fmean(differences), 2.776 * statistics.stdev(differences)
    return "held" if mean - half > 0 else "lost" if mean + half < 0 else "tied"


def _with_z(differences: Sequence[float]) -> str:
    mean = statistics.fmean(differences)
    half = 1.96 * statistics.stdev(differences) / math.sqrt(len(differences))
    return "held" if mean - half > 0 else "lost" if mean + half < 0 else "tied"


def _never_lost(differences: Sequence[float]) -> str:
    return "held" if verdict(differences) == "held" else "tied"


add(
    Exercise(
        number="11.4",
        asks='a function verdict(differences) that gives "held", "tied" or "lost".',
        answer=verdict,
        cases=(
            Case("better with every seed, by much", ([0.5, 1.0, 1.5, 0.7, 1.3],)),
            Case("worse with every seed", ([-0.5, -1.0, -1.5, -0.7, -1.3],)),
            Case("better with every seed, by luck of one", ([0.01, 0.02, 0.01, 0.30, 0.02],)),
            Case("just inside the interval", ([0.0, 0.3, 1.0, 1.7, 2.0],)),
            Case("both ways", ([-0.2, 0.3, 0.1, -0.1, 0.0],)),
        ),
        mistakes=(
            Mistake(_by_the_mean, "A mean says nothing without its interval."),
            Mistake(_by_the_seeds, "All on one side may be luck: look at mean and interval."),
            Mistake(_with_the_sd, "The mean of five varies less than one: divide by sqrt(5)."),
            Mistake(_with_z, "With five seeds 1.96 is too small: Student's t is 2.776."),
            Mistake(_never_lost, "The control can win, too: then the method lost."),
        ),
    )
)
