"""The controls of one text to be written: prompt, models, K, and how tokens are drawn."""

from functools import cache
from typing import Any

import gradio as gr

from skd_lab.app.asks import MAX_NEW_TOKENS, MAX_PROMPT_CHARACTERS, Ask, policy, whole
from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.job import buttons
from skd_lab.app.models import PairChoice
from skd_lab.app.parts import notice
from skd_lab.errors import UsageError
from skd_lab.presets import PRESETS
from skd_lab.tasks import get_task

OWN = "my own pair"


@cache
def examples(task: str = "summaries", n: int = 12) -> list[tuple[str, str]]:
    """Prompts that nobody was trained on, with a reference each.

    Args:
        task: a generated one, as the bundled pairs are made for.
        n: how many.
    """
    found = get_task(task).load("test", n)
    return [
        (str(one.messages[-1]["content"] if one.messages else one.prompt), one.reference or "")
        for one in found
    ]


def task_of(frame: Frame, name: Any) -> str:
    """The task that a pair is made for; that of the first bundled pair for one's own."""
    choice = frame.library.pairs(checkpoints=True).get(name)
    preset = PRESETS.get((choice.pair if choice else None) or "", {})
    return preset.get("task", "summaries")


class PairForm:
    """A dropdown of pairs, with two boxes for one's own.

    Args:
        frame: of the app.
        label: of the dropdown.
    """

    def __init__(self, frame: Frame, label: str = "Models", checkpoints: bool = False) -> None:
        self._frame, self._checkpoints = frame, checkpoints
        names = self._names()
        self.pair = gr.Dropdown(names, value=names[0], label=label, interactive=True)
        with gr.Group(visible=False) as boxes:
            self.student = gr.Textbox(label="Student: folder or Hub id", max_lines=1)
            self.teacher = gr.Textbox(label="Teacher: folder or Hub id", max_lines=1)
        self.inputs = [self.pair, self.student, self.teacher]
        self.pair.input(lambda name: gr.update(visible=name == OWN), self.pair, boxes, **PLUMBING)
        frame.app.load(lambda: gr.update(choices=self._names()), None, self.pair, **PLUMBING)

    def _names(self) -> list[str]:
        own = [OWN] if self._frame.own_models else []
        return [*self._frame.library.pairs(self._checkpoints), *own]

    def read(self, name: Any, student: Any, teacher: Any) -> PairChoice:
        """The chosen pair; see pair_choice."""
        return pair_choice(self._frame, name, student, teacher)


def pair_choice(frame: Frame, name: Any, student: Any = "", teacher: Any = "") -> PairChoice:
    """The pair of this name, or one's own where a student and a teacher are named.

    Raises:
        UsageError: for an unknown name, half a pair, or own models where they are not allowed.
    """
    if name == OWN:
        if not frame.own_models:
            raise UsageError("This app loads no models of visitors. Choose one of its pairs.")
        student, teacher = (str(at or "").strip() for at in (student, teacher))
        if not (student and teacher):
            raise UsageError(
                "A pair is a student and a teacher: name both, each by a folder or a Hub id."
            )
        return PairChoice(f"{student} with {teacher}", student=student, teacher=teacher)
    pairs = frame.library.pairs(checkpoints=True)
    if name not in pairs:
        raise UsageError(f"There is no pair {name!r}. Choose one of: {', '.join(pairs)}.")
    return pairs[name]


class AskForm:
    """Everything one text needs; `inputs` in the order that `read` takes their values.

    Args:
        frame: of the app.
        run: label of the button.
        reference: a box that gets the example prompt's reference answer.
        checkpoints: whether every checkpoint of a run may be chosen.
        said: first sentence of the notice below the buttons.
    """

    def __init__(
        self,
        frame: Frame,
        run: str = "Run",
        reference: gr.Textbox | None = None,
        checkpoints: bool = False,
        said: str = "",
    ) -> None:
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self.prompt = gr.Textbox(
                    examples()[0][0],
                    label="Prompt",
                    lines=4,
                    max_lines=12,
                    max_length=MAX_PROMPT_CHARACTERS,
                )
                with gr.Row():
                    self.buttons = buttons(run)
                    another = gr.Button("New example", min_width=120)
                self.said = notice(said)
            with gr.Column(scale=2, min_width=280):
                self.models = PairForm(frame, checkpoints=checkpoints)
                with gr.Row():
                    self.k = _number("K", 3, "teacher's top K")
                    self.gamma = _number("Draft length", 5, "tokens per look")
                    self.tokens = _number("New tokens", 64, f"at most {MAX_NEW_TOKENS}")
                self._drawing()
        place = gr.State(0)
        filled = [place, self.prompt, *([reference] if reference else [])]
        if reference is not None:
            reference.value = examples()[0][1]

        def another_one(at: int, name: Any) -> tuple[Any, ...]:
            found = examples(task_of(frame, name))
            return (at + 1, *found[(at + 1) % len(found)])[: len(filled)]

        def fitting(at: int, name: Any, prompt: str) -> tuple[Any, ...]:
            """Another pair: an example prompt gives way to one of the pair's own task."""
            found = examples(task_of(frame, name))
            made_for = {preset.get("task", "summaries") for preset in PRESETS.values()}
            known = [text for task in made_for for text, _ in examples(task)]
            if prompt in known and prompt not in [text for text, _ in found]:
                return (at, *found[at % len(found)])[: len(filled)]
            return tuple(gr.skip() for _ in filled)

        name = self.models.pair
        another.click(another_one, [place, name], filled, **PLUMBING)
        name.input(fitting, [place, name, self.prompt], filled, **PLUMBING)
        self.inputs = [
            self.prompt,
            *self.models.inputs,
            self.k,
            self.gamma,
            self.tokens,
            self.seed,
            *self.student,
            *self.teacher,
        ]

    def _drawing(self) -> None:
        with gr.Accordion("How tokens are drawn", open=False):
            self.seed = _number("Seed", 0, "the same seed gives the same text")
            self.student, self.teacher = (
                [
                    _number(f"{role}: temperature", 1.0, "below 1: safer, above: wilder", None),
                    _number(f"{role}: top-p", 1.0, "1 keeps every token", None),
                    gr.Checkbox(False, label=f"{role}: always its likeliest token"),
                ]
                for role in ("Student", "Teacher")
            )

    def read(self, *values: Any) -> tuple[Ask, PairChoice]:
        """What is asked, checked.

        Raises:
            UsageError: for what cannot be; says what to do.
        """
        prompt, name, student, teacher, k, gamma, tokens, seed, *drawing = values
        ask = Ask(
            prompt=prompt,
            accept_top_k=whole("K", k),
            gamma=whole("The draft length", gamma),
            max_new_tokens=whole("The number of new tokens", tokens),
            seed=whole("The seed", seed),
            student_policy=policy("student", *drawing[:3]),
            teacher_policy=policy("teacher", *drawing[3:]),
        )
        return ask, self.models.read(name, student, teacher)


def _number(label: str, value: float, info: str, precision: int | None = 0) -> gr.Number:
    return gr.Number(value, label=label, info=info, precision=precision, min_width=90)
