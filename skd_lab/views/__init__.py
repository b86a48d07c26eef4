"""Views: records in; an object that shows itself, or a Figure, out. No view runs a model."""

from skd_lab.views.strip import render_trace, wdiff

__all__ = ["render_trace", "wdiff"]
