"""Train: a small run from the page, watched while it learns, stopped when one wants."""

import json
import math
from collections.abc import Sequence
from typing import Any

import gradio as gr

from skd_lab.app.asks import whole
from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.job import buttons
from skd_lab.app.parts import drawn, ndjson, notice, say, script
from skd_lab.app.player import lapse_player
from skd_lab.app.train_ask import (
    MAX_PROMPTS,
    MAX_UPDATES,
    METHOD_WORDS,
    TASKS,
    TrainAsk,
    free_name,
)
from skd_lab.app.training import Training
from skd_lab.errors import SkdError, UsageError
from skd_lab.presets import PRESETS
from skd_lab.records import StepRecord

ABOUT = """A run of about a minute on models that come with the package. While the student learns,
held-out prompts are written again and again with the same random numbers; the one with most
refusals at the start is shown below. The run is kept; Stop saves it, too."""

TICK = 1.0
"""Seconds between two looks at the run that trains."""


def add_train(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    trainer, library = frame.trainer, frame.library
    pairs = [name for name, choice in library.pairs().items() if choice.pair == name]
    gr.Markdown(ABOUT)
    with gr.Row():
        method = gr.Dropdown(
            [(f"{name}: {words}", name) for name, words in METHOD_WORDS.items()],
            value="skd",
            label="Method",
            info="where the text comes from that the student learns from",
            min_width=300,
        )
        pair = gr.Dropdown(pairs, value=pairs[0] if pairs else None, label="Models", min_width=200)
        task = gr.Dropdown(list(TASKS), value=TASKS[0], label="Task", min_width=200)
    with gr.Row():
        k = _number("K", 3, "teacher's top K")
        updates = _number("Updates", 120, f"at most {MAX_UPDATES}")
        prompts = _number("Prompts", 100, f"at most {MAX_PROMPTS}")
        rate = gr.Number(
            0.001,
            label="Learning rate",
            info="of AdamW, at its peak",
            min_width=120,
            precision=None,
        )
        name = gr.Textbox(
            free_name(library.runs_dir, "skd"),
            label="Name of the run",
            info="one word",
            max_lines=1,
            max_length=60,
            min_width=160,
        )
    with gr.Row():
        start, stop = buttons("Start training")
    said = notice("Press Start training: 120 updates take about a minute on a laptop.")
    board = drawn(f"{script('charts.js')}\n{script('training.js')}")
    player = lapse_player(follow=True)
    seen = gr.State(("", 0))
    timer = gr.Timer(TICK, active=False)
    shown = [said, board, player, start, stop, timer, seen]

    def show(seen: tuple[str, int]) -> tuple[Any, ...]:
        training = trainer.latest
        if training is None:
            return (*[gr.skip()] * len(shown),)
        going = training.going
        tone = {"failed": "bad", "done": "good", "stopped": "good"}.get(training.state, "plain")
        traces, records = training.watched(), training.records
        now = (training.name, len(traces))
        fresh = now != tuple(seen)
        return (
            say(training.sentence(records), tone),
            board_value(training, records),
            ndjson(traces) if fresh else gr.skip(),
            gr.update(interactive=not going),
            gr.update(interactive=training.state == "training"),
            gr.update(active=going),
            now,
        )

    def begin(*values: Any) -> tuple[Any, ...]:
        *asked, seen = values
        try:
            training = trainer.start(read(*asked))
        except SkdError as error:
            return (say(str(error), "bad"), *[gr.skip()] * (len(shown) - 1), gr.skip())
        method = str(asked[1])
        return (*show(seen), free_name(library.runs_dir, method, training.name))

    def end(seen: tuple[str, int]) -> tuple[Any, ...]:
        trainer.stop()
        return show(seen)

    inputs = [name, method, pair, task, k, updates, prompts, rate]
    start.click(begin, [*inputs, seen], [*shown, name], **PLUMBING)
    stop.click(end, seen, shown, **PLUMBING)
    timer.tick(show, seen, shown, **PLUMBING)
    pair.input(lambda one: PRESETS.get(str(one), {}).get("task", TASKS[0]), pair, task, **PLUMBING)
    method.input(lambda one: free_name(library.runs_dir, str(one)), method, name, **PLUMBING)
    # a page that is loaded while a run trains, or after, shows it
    frame.app.load(show, seen, shown, **PLUMBING)
    tab.select(show, seen, shown, **PLUMBING)


def read(
    name: Any, method: Any, pair: Any, task: Any, k: Any, updates: Any, prompts: Any, rate: Any
) -> TrainAsk:
    """What is asked, checked.

    Raises:
        UsageError: for what cannot be; says what to do.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise UsageError(f"The learning rate must be a number, got {rate!r}.")
    return TrainAsk(
        name=str(name or "").strip(),
        pair=str(pair),
        method=str(method),
        task=str(task),
        accept_top_k=whole("K", k),
        updates=whole("The number of updates", updates),
        prompts=whole("The number of prompts", prompts),
        learning_rate=float(rate),
    )


def board_value(training: Training, records: Sequence[StepRecord]) -> str:
    """The value of the progress bar and the curves."""

    def column(metric: str) -> list[float | None]:
        values = [record.metrics.get(metric, math.nan) for record in records]
        return [value if math.isfinite(value) else None for value in values]

    return json.dumps(
        {
            "going": training.going,
            "done": len(records),
            "steps": training.config.steps,
            "x": [record.step for record in records],
            "loss": column("loss"),
            "replaced": column("replacement_rate"),
        }
    )


def _number(label: str, value: int, info: str) -> gr.Number:
    return gr.Number(value, label=label, info=info, precision=0, min_width=90)
