"""Views: records in; an object that shows itself, or a Figure, out. No view runs a model."""

from skd_lab.views.curves import curve_svg, plot_training
from skd_lab.views.history import before_and_after
from skd_lab.views.index import render_index, run_summaries
from skd_lab.views.page import Fragment
from skd_lab.views.report import render_report
from skd_lab.views.strip import boot_script, render_strip, strip_body
from skd_lab.views.text import wdiff

__all__ = [
    "Fragment",
    "before_and_after",
    "boot_script",
    "curve_svg",
    "plot_training",
    "render_index",
    "render_report",
    "render_strip",
    "run_summaries",
    "strip_body",
    "wdiff",
]
