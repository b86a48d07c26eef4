"""The course behind the notebooks: exercises with hints, widgets with a still picture, set-up.

In a notebook: `from skd_lab import course`.
"""

from skd_lab.course.checking import NotSolved, check
from skd_lab.course.explore import Explorer, explore, figure, step_through
from skd_lab.course.machine import describe_machine, real_models_available

__all__ = [
    "Explorer",
    "NotSolved",
    "check",
    "describe_machine",
    "explore",
    "figure",
    "real_models_available",
    "step_through",
]
