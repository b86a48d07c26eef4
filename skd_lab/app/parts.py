"""Parts of the page that gradio does not have: the strip, a sentence beside a control, a picture.

Their templates are empty and text reaches the page as a property only: gradio's templates would
run what a token says. (Functions, as a subclass of gr.HTML writes a file at import.)
"""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import gradio as gr

from skd_lab.records import Trace, dumps_traces
from skd_lab.views import strip_body
from skd_lab.views.page import script_json

# gradio knows a custom event by its quoted name in the script
STRIP_EVENTS = '/* "pick" "unpick" "k_change" "rerun" "branch" "guess" */\n'


def token_strip(value: str = "", **settings: Any) -> gr.HTML:
    """A token strip as a Gradio component; its value is the NDJSON text of traces."""
    return drawn(STRIP_EVENTS + strip_body(), value, **settings)


def step_player(value: str = "", **settings: Any) -> gr.HTML:
    """A trace replayed as it was made; its value is the NDJSON text of one trace."""
    return drawn(_step_body(), value, **settings)


def notice(value: str = "", tone: str = "plain", **settings: Any) -> gr.HTML:
    """A sentence beside a control; its value is plain text, and "" takes no room.

    Args:
        value: the sentence.
        tone: "plain", "good" or "bad"; a bad one is read out at once.
        settings: for gr.HTML.
    """
    return drawn(script("notice.js"), value, tone=tone, **settings)


def picture(value: str = "", **settings: Any) -> gr.HTML:
    """An SVG picture that takes the page's colours; its value is the SVG text."""
    return drawn(script("picture.js"), value, **settings)


def drawn(body: str, value: str = "", **settings: Any) -> gr.HTML:
    """A component that a script draws from its value.

    Args:
        body: JavaScript function body with (element, props, trigger, watch).
        value: text.
        settings: for gr.HTML; names it does not know become props.
    """
    return gr.HTML(
        value,
        html_template="",
        css_template="",
        js_on_load=body,
        apply_default_css=False,
        **settings,
    )


def say(text: str, tone: str = "plain") -> Any:
    """The update that puts a sentence into a notice."""
    return gr.update(value=text, tone=tone)


def judged_with(k: int | None) -> Any:
    """The update that asks a strip what this K would do; it follows the one with the traces.

    (A strip that has no traces yet has no K to change.)
    """
    return gr.update(k=k)


def ndjson(traces: Iterable[Trace]) -> str:
    """The traces as the value of a strip: without a "<", so gradio takes nothing for a script."""
    return dumps_traces(traces).replace("<", "\\u003c")


@cache
def _step_body() -> str:
    """The player's script behind the strip's style and its functions for the text of tokens."""
    views = files("skd_lab.views")
    names = ("strip_text.js", "strip_model.js", "strip_paint.js")
    sources = [views.joinpath(name).read_text(encoding="utf-8") for name in names]
    css = views.joinpath("strip.css").read_text(encoding="utf-8")
    styles = [f"const CSS = {script_json(css)}, STEP_CSS = {script_json(script('step.css'))};"]
    return "\n".join([*styles, *sources, script("step.js")])


@cache
def script(name: str) -> str:
    """A script of this folder."""
    return files("skd_lab.app").joinpath(name).read_text(encoding="utf-8")
