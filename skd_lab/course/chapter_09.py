"""Exercises of notebook 09, Is the difference real?"""

from collections.abc import Sequence

import numpy as np

from skd_lab.course.exercises import Case, Exercise, Mistake, add, add_question

add_question(
    "09.1",
    "what do one run of each method and 2,000 prompts show? a, b or c",
    "b",
    {
        "a": "prompts say how well two students are told apart, not how well two methods are: "
        "the next seed gives other students.",
        "b": "the interval is over prompts alone. How runs differ can only be seen in several.",
        "c": "the two students do differ: more prompts would hardly change that.",
    },
)


def paired_interval(
    a: Sequence[float], b: Sequence[float], draws: Sequence[Sequence[int]]
) -> tuple[float, float]:
    """95% bootstrap interval of the mean of a - b; each draw lists the prompts it holds."""
    differences = np.subtract(a, b)
    means = [differences[list(draw)].mean() for draw in draws]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _other_way_round(
    a: Sequence[float], b: Sequence[float], draws: Sequence[Sequence[int]]
) -> tuple[float, float]:
    return paired_interval(b, a, draws)


def _ninety(
    a: Sequence[float], b: Sequence[float], draws: Sequence[Sequence[int]]
) -> tuple[float, float]:
    means = [np.subtract(a, b)[list(draw)].mean() for draw in draws]
    low, high = np.quantile(means, [0.05, 0.95])
    return float(low), float(high)


def _unpaired(
    a: Sequence[float], b: Sequence[float], draws: Sequence[Sequence[int]]
) -> tuple[float, float]:
    one, other = np.asarray(a), np.asarray(b)
    turned = [*draws[1:], draws[0]]
    means = [
        one[list(mine)].mean() - other[list(theirs)].mean()
        for mine, theirs in zip(draws, turned, strict=True)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _of_the_prompts(
    a: Sequence[float], b: Sequence[float], draws: Sequence[Sequence[int]]
) -> tuple[float, float]:
    low, high = np.quantile(np.subtract(a, b), [0.025, 0.975])
    return float(low), float(high)


def _ends_of_all(
    a: Sequence[float], b: Sequence[float], draws: Sequence[Sequence[int]]
) -> tuple[float, float]:
    means = [np.subtract(a, b)[list(draw)].mean() for draw in draws]
    return float(min(means)), float(max(means))


_RNG = np.random.Generator(np.random.Philox(9))
_A, _B = ([float(x) for x in _RNG.integers(0, 2, 12)] for _ in range(2))
_DRAWS = _RNG.integers(0, 12, (60, 12)).tolist()
_FEW = [[0, 1, 2], [2, 2, 2], [0, 0, 1], [1, 2, 2]]

add(
    Exercise(
        number="09.2",
        asks="a function paired_interval(a, b, draws) that gives (low, high).",
        answer=paired_interval,
        cases=(
            Case("sixty draws of twelve prompts", (_A, _B, _DRAWS)),
            Case("four draws of three prompts", ([1.0, 0.0, 1.0], [0.0, 0.0, 1.0], _FEW)),
            Case("the same scores", (_A, _A, _DRAWS)),
        ),
        mistakes=(
            Mistake(_other_way_round, "The sign: a minus b, positive where a is better."),
            Mistake(_ninety, "95% inside leaves 2.5% on each side: quantiles 0.025 and 0.975."),
            Mistake(_unpaired, "Both students answer the drawn prompts: one draw serves both."),
            Mistake(
                _of_the_prompts, "Those are single prompts. Take the mean of every draw first."
            ),
            Mistake(_ends_of_all, "Not the least and the largest mean: 2.5% lie outside each end."),
        ),
    )
)


def verdict(intervals: Sequence[tuple[float, float]]) -> str:
    """The rule of the claims page; an interval above 0 is on the claimed side."""
    if not intervals:
        return "not run"
    if any(high < 0 for _, high in intervals):
        return "does not hold here"
    clear = sum(low > 0 for low, _ in intervals)
    return "holds" if 2 * clear >= len(intervals) else "cannot be told at this size"


def _by_the_middle(intervals: Sequence[tuple[float, float]]) -> str:
    return verdict([((low + high) / 2, (low + high) / 2) for low, high in intervals])


def _majority(intervals: Sequence[tuple[float, float]]) -> str:
    if not intervals:
        return "not run"
    clear = sum(low > 0 for low, _ in intervals)
    against = sum(high < 0 for _, high in intervals)
    if against > clear:
        return "does not hold here"
    return "holds" if 2 * clear >= len(intervals) else "cannot be told at this size"


def _all_must_speak(intervals: Sequence[tuple[float, float]]) -> str:
    said = verdict(intervals)
    if said == "holds" and not all(low > 0 for low, _ in intervals):
        return "cannot be told at this size"
    return said


def _open_is_against(intervals: Sequence[tuple[float, float]]) -> str:
    if not intervals:
        return "not run"
    return "holds" if all(low > 0 for low, _ in intervals) else "does not hold here"


def _one_is_enough(intervals: Sequence[tuple[float, float]]) -> str:
    said = verdict(intervals)
    if said == "cannot be told at this size" and any(low > 0 for low, _ in intervals):
        return "holds"
    return said


add(
    Exercise(
        number="09.3",
        asks="a function verdict(intervals) that gives one of four texts.",
        answer=verdict,
        cases=(
            Case("nothing was compared", ([],)),
            Case("both clear", ([(0.1, 0.3), (0.05, 0.2)],)),
            Case("half of them clear", ([(0.1, 0.3), (-0.1, 0.2)],)),
            Case("one of three clear", ([(0.1, 0.3), (-0.1, 0.2), (-0.2, 0.3)],)),
            Case("one speaks against", ([(0.1, 0.3), (0.2, 0.3), (0.1, 0.2), (-0.2, -0.1)],)),
            Case("it ends at 0", ([(0.0, 0.3)],)),
        ),
        mistakes=(
            Mistake(
                _by_the_middle, "Not the middle: the whole interval must lie on one side of 0."
            ),
            Mistake(_majority, "One that speaks against is enough, whatever the others say."),
            Mistake(_all_must_speak, "Half of them is enough, if none speaks against."),
            Mistake(_open_is_against, "An interval around 0 is open: it speaks neither way."),
            Mistake(_one_is_enough, "One clear one is not enough: it must be half of them."),
        ),
    )
)
add_question(
    "09.4",
    "80 comparisons without any difference: how many speak for? a, b or c",
    "b",
    {
        "a": "a 95% interval misses in one of twenty, and half of its misses lie on the claimed "
        "side.",
        "b": "one in twenty misses 0, half of these on each side: one in forty, so two of 80.",
        "c": "that counts the misses of both sides: two of the four speak against.",
    },
)
