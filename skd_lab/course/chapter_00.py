"""Exercises of notebook 00, the quickstart."""

from skd_lab.course.exercises import add_question

add_question(
    "00.1",
    "K is set to the size of the vocabulary. Who writes the text? a, b or c",
    "a",
    {
        "a": "every proposal is in the top K then, so none is refused: on-policy distillation.",
        "b": "the teacher only writes where it refuses, and now it refuses nothing.",
        "c": "K does not mix the two models' probabilities. It decides which proposals stand.",
    },
)
