"""Views: records in; an object that shows itself, or a Figure, out. No view runs a model."""

from skd_lab.views.curves import curve_svg, plot_training
from skd_lab.views.page import Fragment
from skd_lab.views.report import before_and_after, render_report
from skd_lab.views.strip import boot_script, render_strip, strip_body
from skd_lab.views.text import wdiff

__all__ = [
    "Fragment",
    "before_and_after",
    "boot_script",
    "curve_svg",
    "plot_training",
    "render_report",
    "render_strip",
    "strip_body",
    "wdiff",
]
