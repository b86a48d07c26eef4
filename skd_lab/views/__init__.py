"""Views: records in; an object that shows itself, or a Figure, out. No view runs a model."""

from skd_lab.views.curves import curve_svg, plot_training
from skd_lab.views.exports import traces_to_csv, traces_to_json, traces_to_text
from skd_lab.views.grid_curves import plot_grid_curves, plot_grid_texts
from skd_lab.views.grid_figures import (
    plot_grid_cost,
    plot_grid_differences,
    plot_grid_drafts,
    plot_grid_scores,
    plot_grid_sweep,
)
from skd_lab.views.grid_files import save_grid
from skd_lab.views.grid_table import grid_table, to_csv, to_markdown
from skd_lab.views.histograms import block_histogram, rank_histogram
from skd_lab.views.history import before_and_after
from skd_lab.views.index import render_index, run_summaries
from skd_lab.views.page import Fragment
from skd_lab.views.picture import plot_strip
from skd_lab.views.redecide import Redecided, acceptance_by_k, k_stops, redecide, why_not
from skd_lab.views.report import render_report
from skd_lab.views.strip import StripView, boot_script, render_strip, save_traces, strip_body
from skd_lab.views.text import wdiff

__all__ = [
    "Fragment",
    "Redecided",
    "StripView",
    "acceptance_by_k",
    "before_and_after",
    "block_histogram",
    "boot_script",
    "curve_svg",
    "grid_table",
    "k_stops",
    "plot_grid_cost",
    "plot_grid_curves",
    "plot_grid_differences",
    "plot_grid_drafts",
    "plot_grid_scores",
    "plot_grid_sweep",
    "plot_grid_texts",
    "plot_strip",
    "plot_training",
    "rank_histogram",
    "redecide",
    "render_index",
    "render_report",
    "render_strip",
    "run_summaries",
    "save_grid",
    "save_traces",
    "strip_body",
    "to_csv",
    "to_markdown",
    "traces_to_csv",
    "traces_to_json",
    "traces_to_text",
    "wdiff",
    "why_not",
]
