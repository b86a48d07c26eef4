"""Runs: every recorded run in a list; one of them as a page; files in and out."""

import time
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from skd_lab.app import importing
from skd_lab.app.frame import PLUMBING, Frame
from skd_lab.app.listing import look, page_of, page_value, table_value
from skd_lab.app.parts import drawn, notice, say, script
from skd_lab.errors import SkdError
from skd_lab.views import strip_body
from skd_lab.views.page import script_json
from skd_lab.views.report import source

HOW_TO_RECORD = (
    "No run is here yet. Train one on the Train tab, import a file, or run skd-lab demo in a "
    "terminal (a few minutes)."
)


def add_runs(frame: Frame, tab: gr.Tab) -> None:
    """Fill the tab."""
    library = frame.library
    table = drawn(script("runs_table.js"), table_value(library), chosen="")
    with gr.Accordion("Import a file of traces", open=False):
        gr.Markdown(
            "NDJSON that skd-lab or Export wrote, or an exported page of strips; at most "
            f"{importing.MAX_BYTES // 1_000_000} MB. It is kept as a run folder of its own."
        )
        with gr.Row(equal_height=True):
            name = gr.Textbox(
                label="Name of the imported run",
                info="one word; the file's own name if empty",
                max_lines=1,
                max_length=60,
            )
            upload = gr.UploadButton("Choose a file", min_width=160)
        imported = notice()
    said = notice("Choose a run in the list." if library.names() else HOW_TO_RECORD)
    opened = gr.State("")
    with gr.Row(visible=False) as outs:
        exports = {
            kind: gr.Button(f"Export {words}", size="sm", min_width=150)
            for kind, words in importing.KINDS.items()
        }
    page = drawn(_page_body())
    saver = drawn(script("save.js"), padding=False)

    def show(chosen: Any) -> tuple[Any, ...]:
        """Values of (said, opened, outs, page, table)."""
        try:
            found = look(library, chosen)
            value = page_value(page_of(found))
        except SkdError as error:
            return say(str(error), "bad"), "", gr.update(visible=False), "", gr.skip()
        words = " ".join(found.notes) if found.run is None else ""
        table = gr.update(value=table_value(library), chosen=found.name)
        return say(words), found.name, gr.update(visible=True), value, table

    def choose(event: gr.EventData) -> tuple[Any, ...]:
        return show(getattr(event, "name", ""))

    def take(file: Any, wanted: Any) -> tuple[Any, ...]:
        try:
            kept, sentence = import_file(frame, Path(str(file)), wanted)
        except SkdError as error:
            return (say(str(error), "bad"), *[gr.skip()] * 6)
        return (say(sentence, "good"), "", *show(kept))

    def hand_out(kind: str, chosen: str) -> tuple[Any, ...]:
        try:
            file, text = importing.export(look(library, chosen), kind)
        except SkdError as error:
            return say(str(error), "bad"), gr.skip()
        wish = {"name": file, "text": text, "count": time.time_ns()}
        return say(f"{file} is saved where your browser puts downloads.", "good"), script_json(wish)

    def refresh(chosen: str) -> Any:
        return gr.update(value=table_value(library), chosen=chosen)

    shown = [said, opened, outs, page, table]
    slow = {**PLUMBING, "show_progress": "minimal"}
    table.choose(choose, None, shown, **slow)
    upload.upload(take, [upload, name], [imported, name, *shown], **slow)
    for kind, button in exports.items():
        button.click(
            lambda chosen, kind=kind: hand_out(kind, chosen), opened, [said, saver], **slow
        )
    tab.select(refresh, opened, table, **PLUMBING)
    frame.app.load(refresh, opened, table, **PLUMBING)


def import_file(frame: Frame, path: Path, wanted: Any, own: str | None = None) -> tuple[str, str]:
    """Keep a file of traces as a run.

    Args:
        frame: of the app.
        path: where the file lies.
        wanted: name of the run; the file's own if empty.
        own: the file's own name, if it is not that of `path`.

    Returns:
        The run's name, and what was read, in a sentence.

    Raises:
        SkdError: if it cannot be read or kept; says why.
    """
    own = path.name if own is None else own
    name = importing.run_name(str(wanted or "").strip() or Path(own).stem)
    frame.trainer.check_room()
    traces, notes = importing.read_upload(path, own)
    importing.keep(frame.library.runs_dir, name, traces)
    tokens = sum(len(trace.tokens) for trace in traces)
    many = f"{len(traces)} completions" if len(traces) > 1 else "1 completion"
    return name, " ".join([f"{name}: {many}, {tokens:,} tokens.", *notes])


@cache
def _page_body() -> str:
    """The script of the run's page: the strip's renderer and the walk through the pictures."""
    strip = f"const renderStrip = function (element, props, trigger, watch) {{\n{strip_body()}\n}};"
    walk = f"const walkPanels = function (document) {{\n{source('panels.js')}\n}};"
    return "\n".join([strip, walk, script("run_page.js")])
