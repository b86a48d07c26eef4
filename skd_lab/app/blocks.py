"""The page: a recorded run's strips before and after training, its scores and its curves.

Everything shown is read from records; opening the page loads no model and asks no other machine
for anything.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# gradio asks two machines for news when it is imported, unless this is set before
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr  # noqa: E402

from skd_lab.app.library import Library, Opened  # noqa: E402
from skd_lab.errors import SkdError  # noqa: E402
from skd_lab.records import Trace, dumps_traces  # noqa: E402
from skd_lab.views import curve_svg, strip_body  # noqa: E402
from skd_lab.views.page import visible  # noqa: E402

INTRO = """# Which student tokens did the teacher refuse?
The student writes one token after another. The teacher keeps a token if it is among its own K most
likely ones, and writes its own in its place if not. The student then learns from the text that
results. Choose a token to see what both models thought."""

HOW_TO_RECORD = (
    "Nothing is recorded yet. `make demo` (or `skd-lab demo`) records a run in a few minutes; then "
    "load this page again."
)

WHEN = ("first and last", "every one")
"""Which recordings of a prompt are shown."""


def build_app(runs_dir: str | Path = "runs", run: str | Path | None = None) -> gr.Blocks:
    """The app over the runs of a folder.

    Args:
        runs_dir: folder of run folders; looked at anew whenever the page is loaded.
        run: a run folder to open first, wherever it lies; `demo` in runs_dir if None, else a
            recording that came with the package.

    Returns:
        Blocks, not launched.

    Raises:
        UsageError: if `run` is no run folder.
    """
    library = Library(runs_dir, run)
    with gr.Blocks(title="skd_lab", analytics_enabled=False) as app:
        gr.Markdown(INTRO)
        with gr.Row():
            names = gr.Dropdown(label="Run", choices=[], interactive=True)
            prompts = gr.Dropdown(label="Prompt", choices=[], interactive=True)
            when = gr.Radio(list(WHEN), value=WHEN[0], label="Recordings", interactive=True)
        note = gr.Markdown(visible=False)
        strip = token_strip()
        with gr.Row():
            loss, replaced = _picture(), _picture()
        scores = gr.Dataframe(
            headers=SCORE_HEADS, label="Held-out scores", interactive=False, visible=False
        )
        shown = [prompts, note, strip, loss, replaced, scores]
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}

        def choose() -> Any:
            found = library.names()
            return gr.update(choices=found, value=found[0] if found else None)

        app.load(choose, None, names, **private).then(
            lambda name, which: _show_run(library, name, which), [names, when], shown, **private
        )
        names.input(
            lambda name, which: _show_run(library, name, which), [names, when], shown, **private
        )
        for changed in (prompts, when):
            changed.input(
                lambda name, prompt, which: _show_prompt(library, name, prompt, which),
                [names, prompts, when],
                [note, strip],
                **private,
            )
        gr.api(_recorded(library), api_name="recorded")
    return app


def launch(app: gr.Blocks, host: str = "127.0.0.1", port: int | None = None, **more: Any) -> Any:
    """Serve the app on this machine alone: no share link, no history, no footer of links.

    Args:
        app: from `build_app`.
        host: address to listen on.
        port: a free one from 7860 on if None.
        more: for `gr.Blocks.launch`.
    """
    return app.queue(max_size=8).launch(
        server_name=host,
        server_port=port,
        share=False,
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        theme=gr.themes.Default(),
        **more,
    )


def token_strip(value: str = "", **settings: Any) -> gr.HTML:
    """A token strip as a Gradio component; its value is the NDJSON text of traces.

    The template is empty and the text reaches the page as a property only: gradio's templates
    would run what a token says. (A function, as a subclass of gr.HTML writes a file at import.)
    """
    return gr.HTML(
        value,
        html_template="",
        css_template="",
        js_on_load=strip_body(),
        apply_default_css=False,
        **settings,
    )


def _picture() -> gr.HTML:
    """An SVG picture that takes the page's colours; its value is the SVG text."""
    return gr.HTML("", html_template="", css_template="", js_on_load=_DRAW, apply_default_css=False)


# parsed as an image, not as HTML: no script in it would run
_DRAW = """
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
const draw = () => {
  const svg = new DOMParser().parseFromString(props.value || "<svg/>", "image/svg+xml");
  root.replaceChildren(document.importNode(svg.documentElement, true));
};
draw();
watch("value", draw);
"""

SCORE_HEADS = ["", "score", "95% interval", "KL references", "KL samples", "replaced", "CPU s"]


def _show_run(library: Library, name: str | None, which: str) -> tuple:
    """Everything on the page for one run."""
    empty = (gr.update(choices=[], value=None), None, "", "", "", gr.update(visible=False))
    if not name:
        return (empty[0], gr.update(value=HOW_TO_RECORD, visible=True), *empty[2:])
    try:
        opened = library.open(name)
        prompts = list(opened.prompts())
        loss, replaced = (_curve(opened, metric) for metric in ("loss", "replacement_rate"))
        scores = _scores(opened)
    except SkdError as error:
        return (empty[0], _say(str(error)), *empty[2:])
    first = prompts[0] if prompts else None
    note, strip = _show_prompt(library, name, first, which)
    return (
        gr.update(choices=prompts, value=first),
        note,
        strip,
        loss,
        replaced,
        gr.update(value=scores, visible=bool(scores)),
    )


def _show_prompt(
    library: Library, name: str | None, prompt: str | None, which: str
) -> tuple[Any, str]:
    """The note and the strip of one prompt."""
    try:
        opened = library.open(str(name))
    except SkdError as error:
        return _say(str(error)), ""
    traces = opened.prompts().get(str(prompt), [])
    if not traces:
        return _say(f"{opened.name} has no recorded completion."), ""
    chosen = [traces[0], traces[-1]] if which == WHEN[0] and len(traces) > 1 else traces
    note = _say(" ".join(opened.notes)) if opened.notes else gr.update(visible=False)
    return note, _ndjson(chosen)


def _ndjson(traces: list[Trace]) -> str:
    """NDJSON without a "<": the same records, and nothing that gradio takes for a script."""
    return dumps_traces(traces).replace("<", "\\u003c")


def _say(text: str) -> Any:
    # a code span keeps names and values from being read as Markdown or HTML
    return gr.update(value="`" + visible(text).replace("`", "'") + "`", visible=True)


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


def _recorded(library: Library) -> Callable[[str], str]:
    def recorded(name: str) -> str:
        """Traces of a run as NDJSON (schema skd-trace/1).

        Args:
            name: the run's name; "" for the one that the page opens first.
        """
        names = library.names()
        if not name and not names:
            raise gr.Error("Nothing is recorded yet.")
        try:
            return dumps_traces(library.open(name or names[0]).traces)
        except SkdError as error:
            raise gr.Error(str(error)) from error

    return recorded
