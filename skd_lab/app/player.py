"""The time-lapse player: recordings of a prompt, one at a time, with all of them as a map."""

from functools import cache
from typing import Any

import gradio as gr

from skd_lab.app.parts import drawn, script
from skd_lab.views import strip_body


def lapse_player(value: str = "", *, follow: bool = False, **settings: Any) -> gr.HTML:
    """A player as a Gradio component.

    Args:
        value: NDJSON text of traces in step order; while it grows at its end, the player goes on.
        follow: whether it goes to each new recording as it comes.
        settings: for gr.HTML.
    """
    return drawn(_body(), value, follow=follow, **settings)


@cache
def _body() -> str:
    """The player's script, with the strip's renderer as a function in it."""
    strip = f"const renderStrip = function (element, props, trigger, watch) {{\n{strip_body()}\n}};"
    return "\n".join([strip, script("charts.js"), script("lapse.js")])
