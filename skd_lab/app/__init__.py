"""The Gradio app: recorded runs in a browser, no model loaded."""

from skd_lab.app.blocks import build_app, launch, token_strip

__all__ = ["build_app", "launch", "token_strip"]
