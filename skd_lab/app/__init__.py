"""The Gradio app: recorded runs in a browser with no model loaded; models when asked for."""

from skd_lab.app.blocks import build_app, launch
from skd_lab.app.parts import token_strip

__all__ = ["build_app", "launch", "token_strip"]
