"""The course behind the notebooks: exercises with hints, widgets with a still picture, set-up.

In a notebook: `from skd_lab import course`.
"""

from skd_lab.course import toy
from skd_lab.course.checking import NotSolved, check
from skd_lab.course.committed import Judged, Setting, committed, judged
from skd_lab.course.drawings import bars, side_by_side, token_cells
from skd_lab.course.explore import Explorer, explore, figure, step_through
from skd_lab.course.machine import describe_machine, real_models_available

__all__ = [
    "Explorer",
    "Judged",
    "NotSolved",
    "Setting",
    "bars",
    "check",
    "committed",
    "describe_machine",
    "explore",
    "figure",
    "judged",
    "real_models_available",
    "side_by_side",
    "step_through",
    "token_cells",
    "toy",
]
