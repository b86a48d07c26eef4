"""Final answers: found where a solution says them, and compared as a teacher would."""

import pytest

from skd_lab.tasks.answers import (
    boxed_answer,
    final_answer,
    leading_number,
    marked_answer,
    same_answer,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so\n#### 12", "12"),
        ("#### 3\nno, rather\n####\t12 \n", "12"),
        ("#### 12\nand more", "12"),
        ("####", None),
        ("#### 12\n####  \n", None),
        ("### 12", None),
        ("", None),
    ],
)
def test_the_last_marks_say_the_answer(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"$\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"\boxed{\sqrt{\frac{a}{\sqrt{b}}}} done", r"\sqrt{\frac{a}{\sqrt{b}}}"),
        (r"first \boxed{1}, no: \boxed{2}", "2"),
        (r"\fbox{4}", "4"),
        (r"\boxed 5$ is it", "5"),
        (r"\boxed {6}", "6"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{ 7 }", "7"),
        (r"\boxed{}", None),
        (r"\boxed{8", None),
        (r"\boxed{1} but \boxed{8", None),  # what was said last is not finished
        (r"\boxed", None),
        ("boxed{9}", None),
        ("9", None),
    ],
)
def test_the_last_box_is_read_to_its_own_brace(text, answer):
    assert boxed_answer(text) == answer


def test_marks_come_before_a_box():
    assert marked_answer("\\boxed{1}\n#### 2") == "2"
    assert marked_answer(r"\boxed{1}") == "1"
    assert marked_answer("1") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12 apples", "12"),
        ("$1,250 in all", "$1,250"),
        ("-0.5 degrees", "-0.5"),
        ("10% of it", "10%"),
        ("12 or 13", "12 or 13"),
        ("12 and not 13", "12 and not 13"),
        ("12apples", "12apples"),
        ("apples 12", "apples 12"),
        ("1/2 cup", "1/2 cup"),
        ("", ""),
    ],
)
def test_a_unit_may_follow_a_number_and_nothing_else(text, number):
    assert leading_number(text) == number


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (r"\frac{1}{2}", "1/2"),
        (r"\dfrac12", "0.5"),
        (r"\tfrac1{2}", r"\frac{1}2"),
        ("1,000", "1000"),
        ("1{,}000", "1,000"),
        (r"1\,000", "1000"),
        ("-0.5", r"-\frac{1}{2}"),
        (r"\frac{-1}{2}", "-0.5"),
        ("3.0", "3"),
        (".5", "0.50"),
        ("+7", "7"),
        (r"1\frac{1}{2}", "3/2"),
        (r"-1\frac{1}{2}", "-1.5"),
        (r"5\text{ cm}^2", "5"),
        ("5 cm", "5"),
        ("10 square units", "10"),
        (r"90^\circ", "90"),
        (r"50\%", "50"),
        ("50 percent", "50"),
        (r"\$12.50", "12.5"),
        ("€3", "3"),
        ("$x = 7$", "7"),
        (r"\text{Monday}", r"\text{monday}"),
        (r"\text{(A)}", "A"),
        (r"\sqrt2", r"\sqrt{2}"),
        ("x^{2}+1", "x^2 + 1"),
        (r"\left( -\infty, 3 \right]", r"(-\infty,3]"),
        (r"(1, \frac12)", "(1,0.5)"),
        ("2,1", "1, 2"),
        (r"1 \text{ and } 2", "2,1"),
        (r"\{2, 1\}", r"\{1,2\}"),
        ("3.", "3"),
        (r"x \leq 3", r"x\le3"),
    ],
)
def test_answers_of_one_value_or_spelling_are_the_same(said, right):
    assert same_answer(said, right) == same_answer(right, said) == 1.0


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (None, "1"),
        ("", ""),
        ("", "1"),
        ("12 or 13", "12"),
        ("2x", "2"),
        ("5!", "5"),
        ("0.333", r"\frac{1}{3}"),  # no tolerance: the answer is the fraction
        ("0.5", r"50\%"),
        ("1000", "1,00"),
        (r"\frac{1}{0}", "0"),
        ("(0.5, 1)", "(1, 0.5)"),
        ("[1,2)", "[1,2]"),
        (r"\{1,2\}", "(1,2)"),
        ("1,1", "1,2"),
        ("1,2", "1,2,2"),
        ("-3", "3"),
        ("1e3", "1000"),
        ("١", "1"),
        (r"\text{yes}", r"\text{no}"),
        ("A", "B"),
    ],
)
def test_other_answers_are_not_the_same(said, right):
    assert same_answer(said, right) == 0.0
