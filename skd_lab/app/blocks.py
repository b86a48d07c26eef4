"""The page's frame: its tabs, each with an address of its own (#watch, #step ...), and its limits.

Opening the page loads no model and asks no other machine for anything.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# gradio asks two machines for news when it is imported, unless this is set before
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr  # noqa: E402

from skd_lab.app.endpoints import add_endpoints  # noqa: E402
from skd_lab.app.endpoints_more import add_more_endpoints  # noqa: E402
from skd_lab.app.frame import Frame  # noqa: E402
from skd_lab.app.library import Library  # noqa: E402
from skd_lab.app.models import Models  # noqa: E402
from skd_lab.app.parts import drawn, script  # noqa: E402
from skd_lab.app.tab_branch import add_branch  # noqa: E402
from skd_lab.app.tab_compare import add_compare  # noqa: E402
from skd_lab.app.tab_draft import add_draft  # noqa: E402
from skd_lab.app.tab_lapse import add_lapse  # noqa: E402
from skd_lab.app.tab_learn import add_learn  # noqa: E402
from skd_lab.app.tab_paste import add_paste  # noqa: E402
from skd_lab.app.tab_runs import add_runs  # noqa: E402
from skd_lab.app.tab_step import add_step  # noqa: E402
from skd_lab.app.tab_train import add_train  # noqa: E402
from skd_lab.app.tab_watch import add_watch  # noqa: E402

INTRO = """# Which student tokens did the teacher refuse?
A small student model proposes each token. A large teacher keeps it if it is among the teacher's own
K most likely ones, and else writes its own in its place. The student then learns from that text."""

TABS: list[tuple[str, str, Callable[[Frame, gr.Tab], None]]] = [
    ("watch", "Watch", add_watch),
    ("step", "Step", add_step),
    ("compare", "Compare", add_compare),
    ("branch", "Branch", add_branch),
    ("paste", "Paste", add_paste),
    ("draft", "Draft", add_draft),
    ("train", "Train", add_train),
    ("lapse", "Time-lapse", add_lapse),
    ("runs", "Runs", add_runs),
    ("learn", "Learn", add_learn),
]
"""Address, label, and the function that fills the tab."""

QUEUE = 8
"""Requests that may wait for the model; the next one is told so."""


def build_app(
    runs_dir: str | Path = "runs", run: str | Path | None = None, *, own_models: bool = True
) -> gr.Blocks:
    """The app over the runs of a folder.

    Args:
        runs_dir: folder of run folders; looked at anew whenever the page is loaded.
        run: a run folder to open first, wherever it lies; `demo` in runs_dir if None, else a
            recording that came with the package.
        own_models: whether visitors may name folders and Hub ids of models to load.

    Returns:
        Blocks, not launched.

    Raises:
        UsageError: if `run` is no run folder.
    """
    library = Library(runs_dir, run)
    with gr.Blocks(title="skd_lab", analytics_enabled=False) as app:
        frame = Frame(
            library=library, models=Models(), own_models=own_models, mine=gr.State([]), app=app
        )
        gr.Markdown(INTRO)
        with gr.Tabs(overflow_behavior="wrap"):
            for address, label, add in TABS:
                with gr.Tab(label, id=address) as tab:
                    add(frame, tab)
        drawn(script("route.js"), padding=False)
        add_endpoints(frame)
        add_more_endpoints(frame)

        def leave(request: gr.Request) -> None:
            frame.sessions.leave(request.session_hash)

        app.unload(leave)
    return app


def launch(app: gr.Blocks, host: str = "127.0.0.1", port: int | None = None, **more: Any) -> Any:
    """Serve the app on this machine alone: no share link, no history, no footer of links.

    Args:
        app: from `build_app`.
        host: address to listen on.
        port: a free one from 7860 on if None.
        more: for `gr.Blocks.launch`.
    """
    return app.queue(max_size=QUEUE).launch(
        server_name=host,
        server_port=port,
        share=False,
        ssr_mode=False,
        # without: gradio gives the first page three seconds, and on a busy machine that is not
        # enough; its message then speaks of share links and proxies
        _frontend=False,
        run_history=False,
        footer_links=[],
        max_file_size="32mb",
        theme=_theme(),
        css=script("app.css"),
        **more,
    )


def _theme() -> gr.themes.Base:
    """Gradio's own, in the strip's blues, with small print dark enough to read."""
    quiet = {"light": "*neutral_600", "dark": "*neutral_300"}
    names = ("body_text_color_subdued", "block_info_text_color", "block_label_text_color")
    small = {name: quiet["light"] for name in names}
    small |= {f"{name}_dark": quiet["dark"] for name in names}
    colours = {"primary_hue": "blue", "neutral_hue": "slate"}
    return gr.themes.Default(**colours).set(  # type: ignore[arg-type]
        **small,
        block_title_text_color="*neutral_800",
        input_placeholder_color="*neutral_500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
    )
