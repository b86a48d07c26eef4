"""Runs: scores and curves of a recorded training run."""

from typing import Any

import gradio as gr

from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.library import Opened
from skd_lab.app.parts import notice, picture, say
from skd_lab.errors import SkdError
from skd_lab.views import curve_svg
from skd_lab.views.page import visible

SCORE_HEADS = ["", "score", "95% interval", "KL references", "KL samples", "replaced", "CPU s"]


def add_runs(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    names = gr.Dropdown(frame.library.names(), label="Run", interactive=True)
    said = notice()
    with gr.Row():
        loss, replaced = picture(), picture()
    scores = gr.Dataframe(
        headers=SCORE_HEADS, label="Held-out scores", interactive=False, visible=False
    )

    def show(name: str | None) -> tuple[Any, ...]:
        try:
            opened = frame.library.open(name or "")
            curves = [_curve(opened, metric) for metric in ("loss", "replacement_rate")]
            rows = _scores(opened)
        except SkdError as error:
            return say(str(error), "bad"), "", "", gr.update(visible=False)
        nothing = "" if any(curves) or rows else f"{opened.name} holds no steps and no scores."
        return say(nothing), *curves, gr.update(value=rows, visible=bool(rows))

    def refresh(name: str | None) -> tuple[Any, ...]:
        found = frame.library.names()
        name = name if name in found else found[0] if found else None
        return (gr.update(choices=found, value=name), *show(name))

    outputs = [said, loss, replaced, scores]
    names.input(show, names, outputs, **PLUMBING)
    tab.select(refresh, names, [names, *outputs], **PLUMBING)
    frame.app.load(refresh, names, [names, *outputs], **PLUMBING)


def _curve(opened: Opened, metric: str) -> str:
    run = opened.run
    if run is None or not any(metric in record.metrics for record in run.steps):
        return ""
    return curve_svg([run], metric)


def _scores(opened: Opened) -> list[list[str]]:
    rows = opened.run.table.get("rows", []) if opened.run else []

    def figure(value: Any, form: str) -> str:
        return format(value, form) if isinstance(value, int | float) else ""

    return [
        [
            visible(str(row.get("name", ""))),
            figure(row.get("value"), ".1%"),
            f"{figure(row.get('low'), '.1%')} to {figure(row.get('high'), '.1%')}",
            figure(row.get("kl_references"), ".3f"),
            figure(row.get("kl_samples"), ".3f"),
            figure(row.get("replacement_rate"), ".1%"),
            figure(row.get("cpu_seconds"), ".0f"),
        ]
        for row in rows
    ]
