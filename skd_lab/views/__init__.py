"""Views: records in; an object that shows itself, or a Figure, out. No view runs a model."""

from skd_lab.views.strip import render_strip
from skd_lab.views.text import wdiff

__all__ = ["render_strip", "wdiff"]
