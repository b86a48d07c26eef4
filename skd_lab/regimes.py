"""Settings in which the paper's mechanism should show, as grids: a search, run by one command.

The mechanism: text that a weak student writes misleads its teacher, so that on-policy KD learns
from bad advice; references are text that the student would not write; mended text is neither.
Each regime makes one cause of that stronger, and is run at equal updates and at equal CPU seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from skd_lab.axes import BASELINE, CPU
from skd_lab.errors import UsageError
from skd_lab.grids import Grid

_RIVALS = ("supervised_kd", "on_policy_kd", BASELINE)
_RATE = 3e-3
"""Of all three: the best or next to the best for each on validation prompts (results/rates)."""


@dataclass(frozen=True, kw_only=True)
class Regime:
    """A setting, and what is expected to make SKD the best of three there."""

    question: str
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


REGIMES: Mapping[str, Regime] = MappingProxyType(
    {
        "weak_student": Regime(
            question="From ever weaker students: does their own text mislead the teacher?",
            axes={"start": ("100x20", "100x80", "100x160")},
        ),
        "brittle_teacher": Regime(
            question="A teacher that saw 300 prompts only is sure of itself off its own text: does "
            "it advise students worse there?",
            axes={"teacher": ("300x1500",), "start": ("barely", "sft100")},
        ),
        "long_completions": Regime(
            question="Lists worked through step by step, the longest answers there are: do errors "
            "pile up in the student's own text?",
            axes={"task": ("instruction",), "prompts": (300,), "start": ("barely", "sft100")},
        ),
        "early_error": Regime(
            question="Worked sums, where a wrong first step makes the rest wrong: does mending the "
            "step help?",
            axes={"task": ("arithmetic",), "prompts": (300,), "start": ("barely", "sft100")},
        ),
        "capacity_gap": Regime(
            question="Students of a fraction of the width: does a text that they can write help "
            "more the less they can?",
            axes={"start": ("100x250@32", "100x250@48", "100x250")},
        ),
        "few_prompts": Regime(
            question="Ten and thirty prompts: do fresh texts of few prompts beat few references?",
            axes={"prompts": (10, 30), "start": ("barely", "sft100")},
        ),
        "high_rate": Regime(
            question="Twice the learning rate: when an update has spoilt the student, does text "
            "that the teacher mends bring it back, where its own does not?",
            axes={"learning_rate": (6e-3,), "start": ("barely", "sft100")},
        ),
    }
)


def regime_grid(names: Iterable[str] = (), seeds: int = 3) -> Grid:
    """The search, whole or in parts.

    Args:
        names: keys of REGIMES; all of them if there are none.
        seeds: runs of each method.

    Raises:
        UsageError: for a regime that there is not.
    """
    chosen = list(names) or list(REGIMES)
    for name in chosen:
        if name not in REGIMES:
            raise UsageError(f"there is no regime {name!r}. Choose of: {', '.join(REGIMES)}.")
    return Grid(
        name="regimes",
        blocks=[
            {
                "method": _RIVALS,
                "seed": tuple(range(seeds)),
                "budget": (None, CPU),
                **REGIMES[name].axes,
            }
            for name in chosen
        ],
        fixed={"steps": 150, "eval_every": 50, "eval_prompts": 40, "learning_rate": _RATE},
    )
