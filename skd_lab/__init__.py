"""skd_lab: learn, see and run Speculative Knowledge Distillation (arXiv 2410.11325).

Public names are loaded when first used, so that `skd-lab --help` does not wait for torch.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skd_lab.bundle import bundled_starts as bundled_starts
    from skd_lab.compare import run_grid as run_grid
    from skd_lab.config import RunConfig as RunConfig
    from skd_lab.drafts import draft_report as draft_report
    from skd_lab.encode import encode_examples as encode_examples
    from skd_lab.evaluate import evaluate as evaluate
    from skd_lab.grids import Grid as Grid
    from skd_lab.losses import forward_kl as forward_kl
    from skd_lab.losses import generalized_jsd as generalized_jsd
    from skd_lab.losses import reverse_kl as reverse_kl
    from skd_lab.losses import skewed_forward_kl as skewed_forward_kl
    from skd_lab.losses import skewed_reverse_kl as skewed_reverse_kl
    from skd_lab.losses import total_variation as total_variation
    from skd_lab.methods import METHODS as METHODS
    from skd_lab.metrics import bootstrap_interval as bootstrap_interval
    from skd_lab.metrics import crossed_bootstrap as crossed_bootstrap
    from skd_lab.metrics import paired_bootstrap as paired_bootstrap
    from skd_lab.models import Pair as Pair
    from skd_lab.models import bundled_pairs as bundled_pairs
    from skd_lab.models import load_pair as load_pair
    from skd_lab.models import make_pair as make_pair
    from skd_lab.presets import with_preset as with_preset
    from skd_lab.recording import record_traces as record_traces
    from skd_lab.records import EvalReport as EvalReport
    from skd_lab.records import Rollout as Rollout
    from skd_lab.records import StepRecord as StepRecord
    from skd_lab.records import Trace as Trace
    from skd_lab.records import read_traces as read_traces
    from skd_lab.records import write_traces as write_traces
    from skd_lab.results import read_results as read_results
    from skd_lab.rollout import reference_rollout as reference_rollout
    from skd_lab.rollout import student_rollout as student_rollout
    from skd_lab.rollout import teacher_rollout as teacher_rollout
    from skd_lab.runs import Run as Run
    from skd_lab.runs import list_runs as list_runs
    from skd_lab.sampling import GREEDY as GREEDY
    from skd_lab.sampling import SamplingPolicy as SamplingPolicy
    from skd_lab.sampling import draw_uniforms as draw_uniforms
    from skd_lab.sampling import sample as sample
    from skd_lab.sampling import teacher_rank as teacher_rank
    from skd_lab.speculative import interleaved_rollout as interleaved_rollout
    from skd_lab.speculative import speculative_rollout as speculative_rollout
    from skd_lab.speculative import stream_rollout as stream_rollout
    from skd_lab.stopping import Stopped as Stopped
    from skd_lab.tasks import TASKS as TASKS
    from skd_lab.tasks import get_task as get_task
    from skd_lab.train import train as train
    from skd_lab.views import grid_table as grid_table
    from skd_lab.views import plot_grid_cost as plot_grid_cost
    from skd_lab.views import plot_grid_curves as plot_grid_curves
    from skd_lab.views import plot_grid_differences as plot_grid_differences
    from skd_lab.views import plot_grid_drafts as plot_grid_drafts
    from skd_lab.views import plot_grid_scores as plot_grid_scores
    from skd_lab.views import plot_grid_sweep as plot_grid_sweep
    from skd_lab.views import plot_grid_texts as plot_grid_texts
    from skd_lab.views import plot_strip as plot_strip
    from skd_lab.views import plot_training as plot_training
    from skd_lab.views import redecide as redecide
    from skd_lab.views import render_report as render_report
    from skd_lab.views import render_strip as render_strip
    from skd_lab.views import save_traces as save_traces

__version__ = "0.1.0"

_PUBLIC = {
    "bundle": ["bundled_starts"],
    "compare": ["run_grid"],
    "config": ["RunConfig"],
    "drafts": ["draft_report"],
    "encode": ["encode_examples"],
    "evaluate": ["evaluate"],
    "grids": ["Grid"],
    "losses": [
        "forward_kl",
        "generalized_jsd",
        "reverse_kl",
        "skewed_forward_kl",
        "skewed_reverse_kl",
        "total_variation",
    ],
    "methods": ["METHODS"],
    "metrics": ["bootstrap_interval", "crossed_bootstrap", "paired_bootstrap"],
    "models": ["Pair", "bundled_pairs", "load_pair", "make_pair"],
    "presets": ["with_preset"],
    "recording": ["record_traces"],
    "records": ["EvalReport", "Rollout", "StepRecord", "Trace", "read_traces", "write_traces"],
    "results": ["read_results"],
    "rollout": ["reference_rollout", "student_rollout", "teacher_rollout"],
    "runs": ["Run", "list_runs"],
    "sampling": ["GREEDY", "SamplingPolicy", "draw_uniforms", "sample", "teacher_rank"],
    "speculative": ["interleaved_rollout", "speculative_rollout", "stream_rollout"],
    "stopping": ["Stopped"],
    "tasks": ["TASKS", "get_task"],
    "train": ["train"],
    "views": [
        "grid_table",
        "plot_grid_cost",
        "plot_grid_curves",
        "plot_grid_differences",
        "plot_grid_drafts",
        "plot_grid_scores",
        "plot_grid_sweep",
        "plot_grid_texts",
        "plot_strip",
        "plot_training",
        "redecide",
        "render_report",
        "render_strip",
        "save_traces",
    ],
}
_HOME = {name: room for room, names in _PUBLIC.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605


class _Package(types.ModuleType):
    """The package, in which skd_lab.train is the function although a room has that name too."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'skd_lab' has no attribute '{name}'")
        value = getattr(importlib.import_module(f"skd_lab.{_HOME[name]}"), name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # an import of the room skd_lab.train would put the module in the function's place
        if not (name in _HOME and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *_HOME})


sys.modules[__name__].__class__ = _Package
