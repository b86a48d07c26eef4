"""Exercises: right answers pass, likely mistakes get their hint, no answer makes a check raise.

Notebooks and solutions: tests/test_notebooks.py.
"""

import math
from fractions import Fraction

import pytest
import torch

from skd_lab import course
from skd_lab.course.checking import CHAPTERS
from skd_lab.course.exercises import (
    EXERCISES,
    Case,
    Exercise,
    Mistake,
    add,
    judge,
    same,
)
from skd_lab.errors import UsageError

NUMBERS = sorted(EXERCISES)


def double(x):
    return 2 * x


def example(**changes):
    asked = dict(
        number="99.1",
        asks="a function double(x).",
        answer=double,
        cases=(Case("three", (3,)), Case("a fraction", (0.5,))),
        mistakes=(
            Mistake(lambda x: x * x, "That is the square."),
            Mistake(lambda x: x, "Nothing is doubled."),
            Mistake(lambda x: 1 / 0, "Do not divide by zero."),
        ),
    )
    return Exercise(**{**asked, **changes})


@pytest.mark.parametrize("number", NUMBERS)
def test_the_solution_of_every_exercise_passes(number, capsys, monkeypatch):
    monkeypatch.setenv("SKD_CHECK", "strict")
    course.check(number, EXERCISES[number].answer)
    assert capsys.readouterr().out.startswith(f"✓ {number} ")


@pytest.mark.parametrize("number", NUMBERS)
def test_every_mistake_is_refused_with_its_own_hint(number):
    exercise = EXERCISES[number]
    hints = [mistake.hint for mistake in exercise.mistakes]
    assert len(set(hints)) == len(hints) >= (2 if exercise.options else 3)
    for mistake in exercise.mistakes:
        said = judge(exercise, mistake.answer)
        assert said is not None and mistake.hint in said, mistake.hint
        assert len(mistake.hint) > 15


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("odd", [[], {}, -1, "?", 1j, object(), float("nan"), lambda: 1, print])
def test_an_answer_of_any_kind_gets_a_sentence_and_no_error(number, odd, capsys):
    course.check(number, odd)
    said = capsys.readouterr().out
    assert said[0] in "✗○" and number in said


def test_every_chapter_has_exercises_of_its_own_number():
    for room in CHAPTERS:
        chapter = room.__name__[-2:]
        assert [number for number in NUMBERS if number.startswith(chapter)], chapter


@pytest.mark.parametrize("nothing", [..., None, "", lambda x: None, lambda x: ...])
def test_what_was_not_begun_is_not_called_wrong(nothing, capsys, monkeypatch):
    monkeypatch.setitem(EXERCISES, "99.1", example())
    course.check("99.1", nothing)
    assert capsys.readouterr().out == "○ 99.1 not attempted yet: a function double(x).\n"
    monkeypatch.setenv("SKD_CHECK", "strict")
    with pytest.raises(course.NotSolved, match="not attempted"):
        course.check("99.1", nothing)


def test_a_hint_belongs_to_the_answer_that_behaves_like_the_mistake():
    squared = judge(example(), lambda number: number**2)
    assert squared == "case 1 (three): yours gives 9, expected 6. That is the square."
    other = judge(example(), lambda x: 2 * x + 1)
    assert other == "case 1 (three): yours gives 7, expected 6."


def test_an_error_in_the_readers_code_names_the_case_and_the_line():
    def broken(x):
        return {}["key"]

    said = judge(example(mistakes=(Mistake(1, "a" * 20), Mistake(2, "b"), Mistake(3, "c"))), broken)
    assert said is not None and "case 1 (three): your function stopped with KeyError: 'key'" in said
    assert f"line {broken.__code__.co_firstlineno + 1} of the cell" in said


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (6, "wants a function, and got 6"),
        (lambda x: str(x), "wants a number, and got text ('3')"),
        (lambda x: [x], "wants a number, and got a list ([3])"),
        (lambda: 1, "takes 0 positional arguments but 1 was given"),
        (lambda x: 6 if x == 3 else None, "Is there a return?"),
    ],
)
def test_a_wrong_kind_of_answer_says_what_is_wanted(answer, says):
    assert says in judge(example(), answer)


def test_a_number_to_work_out_is_not_given_away():
    asked = example(
        answer=0.25, cases=(), mistakes=tuple(Mistake(x, f"hint {x}") for x in (1, 2, 3))
    )
    assert judge(asked, 2) == "2 is not it. hint 2"
    assert judge(asked, 0.3) == "0.3 is not it."
    assert judge(asked, Fraction(1, 4)) is None
    assert "Call it" in judge(asked, double)
    assert "wants a number" in judge(asked, "0.25")


def test_more_can_be_asked_of_an_answer_than_its_cases():
    asked = example(holds=lambda answer: None if answer.__name__ == "double" else "Call it double.")
    assert judge(asked, double) is None
    assert judge(asked, lambda x: 2 * x) == "Call it double."


def test_the_same_value_in_another_form_is_the_same():
    assert same(torch.tensor([1.0, 2.0]), [1, 2])
    assert same((1, 2), [1, 2]) and same(Fraction(1, 3), 1 / 3) and same({"a": 1}, {"a": 1.0})
    assert same(math.nan, math.nan) and same(torch.tensor(True), True)
    assert not same(1, True) and not same(True, 1) and not same([1], [1, 2])
    assert not same("1", 1) and not same({"a": 1}, {"b": 1}) and not same(0.1, 0.2)


def test_an_unknown_exercise_names_those_of_its_notebook():
    with pytest.raises(UsageError, match=r"no exercise '02.99'. In this notebook: 02.1"):
        course.check("02.99", 1)
    with pytest.raises(UsageError, match="All: 00.1"):
        course.check("77.1", 1)


def test_an_exercise_without_hints_is_refused():
    with pytest.raises(UsageError, match="three mistakes"):
        example(mistakes=())
    with pytest.raises(UsageError, match="two exercises"):
        add(next(iter(EXERCISES.values())))


def test_a_slider_moves_the_drawing_and_the_still_picture_is_its_first_one():
    seen = course.explore(lambda K, on: f"<b>{K}{on}</b>", "how K works", K=(1, 10, 3), on=True)
    assert "<b>3True</b>" in seen.html and "how K works" in seen.html
    seen.controls["K"].value = 7
    assert "<b>7True</b>" in seen.html
    assert "<b>7False</b>" in seen.set(on=False).html
    bundle = seen._repr_mimebundle_()
    assert bundle["text/html"] == seen.html
    assert bundle["text/plain"] == "Figure: how K works (K = 7, on = False)"
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_steps_go_forth_and_back_and_stop_at_the_ends():
    steps = course.step_through(["one", "two", "three"], "a walk")
    assert ">one<" in steps.html
    for button, shown in (("next", "two"), ("next", "three"), ("next", "three"), ("back", "two")):
        steps.buttons[button].click()
        assert f">{shown}<" in steps.html


def test_a_drawing_may_be_a_figure_and_always_says_what_is_to_be_seen():
    from matplotlib.figure import Figure

    drawn = Figure()
    drawn.subplots().plot([1, 2])
    shown = course.figure(drawn, "a line that <rises>")
    assert 'alt="a line that &lt;rises&gt;"' in shown._repr_html_()
    assert repr(shown) == "Figure: a line that <rises>"
    with pytest.raises(UsageError, match="needs a sentence"):
        course.figure(drawn, " ")


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda: course.explore(str, "x", K=5), "Control 'K' is 5"),
        (lambda: course.explore(lambda K: 5, "x", K=(1, 2, 1)), "HTML text or a matplotlib"),
        (lambda: course.step_through([], "x"), "at least one frame"),
        (lambda: course.explore(lambda K: "", "x", K=(1, 2, 1)).set(k=1), "no control 'k'"),
    ],
)
def test_a_widget_that_cannot_be_is_refused(what, says):
    with pytest.raises(UsageError, match=says):
        what()


def test_no_real_models_are_looked_for_where_the_net_is_switched_off(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert course.real_models_available() is False


def test_the_machine_is_described_in_words(capsys):
    course.describe_machine()
    said = capsys.readouterr().out
    assert "skd_lab" in said and "torch" in said and "GPU" in said
