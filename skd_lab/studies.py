"""Grids that are ready: a quick one, and the one of the committed results, tier by tier."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from skd_lab.axes import CPU
from skd_lab.errors import UsageError
from skd_lab.grids import Grid
from skd_lab.methods import CORE_METHODS

RIVALS = ("sft", "supervised_kd", "on_policy_kd", "imit_kd", "skd")
"""The methods that the paper sets side by side."""
_OTHERS = tuple(name for name in CORE_METHODS if name not in RIVALS)
_THREE, _FIVE = tuple(range(3)), tuple(range(5))

RATES = (3e-4, 1e-3, 3e-3)
"""What the committed results choose each method's learning rate from, task by task."""

# per block: quick is one answer in minutes, paper is every question the project can ask
QUICK = Grid(
    name="quick",
    blocks=(
        {"task": ("summaries",), "method": RIVALS, "start": ("sft100",)},
        {
            "task": ("arithmetic",),
            "method": ("supervised_kd", "on_policy_kd", "skd"),
            "prompts": (200,),
        },
    ),
    fixed={"steps": 120, "eval_every": 40, "eval_prompts": 40},
    test_prompts=200,
)
PAPER_TIERS: Mapping[int, Sequence[Mapping[str, Sequence[Any]]]] = MappingProxyType(
    {
        1: (
            {
                "task": ("summaries", "arithmetic"),
                "method": RIVALS,
                "start": ("sft100", "barely"),
                "seed": _FIVE,
            },
        ),
        2: (
            {
                "method": ("skd",),
                "start": ("sft100", "barely"),
                "seed": _THREE,
                "accept_top_k": (1, 2, 3, 5, 10, 25, 1024, "updates:25..1", "tokens:25..1"),
            },
        ),
        3: ({"method": _OTHERS, "start": ("sft100",), "seed": _FIVE},),
        4: (
            {
                "method": RIVALS,
                "prompts": (1000,),
                "start": ("sft100", "barely"),
                "seed": _FIVE,
            },
            {"method": RIVALS, "start": ("multitask",), "seed": _FIVE},
            {
                "method": RIVALS,
                "start": ("sft100", "barely"),
                "seed": _THREE,
                "budget": (None, CPU),
            },
            {
                "method": ("on_policy_kd", "skd"),
                "start": ("sft100",),
                "seed": _THREE,
                "objective": ("forward_kl", "reverse_kl", "generalized_jsd"),
            },
            {
                "method": ("skd",),
                "start": ("sft100",),
                "seed": _THREE,
                "replacement": ("teacher_argmax", "student_in_top_k"),
            },
        ),
        5: (
            {
                "task": ("translation", "instruction"),
                "method": RIVALS,
                "prompts": (1000,),
                "start": ("sft1k", "barely"),
                "seed": _THREE,
            },
            {
                "family": ("tiny-gemma3",),
                "task": ("summaries", "arithmetic"),
                "method": RIVALS,
                "start": ("sft100", "barely"),
                "seed": _THREE,
            },
        ),
    }
)
"""By tier, each complete before the next: the paper's methods, the knob K, the other methods, other
sizes and divergences, other tasks and models."""


def paper_grid(tiers: Iterable[int] = tuple(PAPER_TIERS)) -> Grid:
    """The grid of the committed results.

    Raises:
        UsageError: for a tier there is not.
    """
    chosen = list(tiers)
    for tier in chosen:
        if tier not in PAPER_TIERS:
            raise UsageError(
                f"there is no tier {tier}. Choose of: {', '.join(map(str, PAPER_TIERS))}."
            )
    return Grid(
        name="paper",
        blocks=[block for tier in chosen for block in PAPER_TIERS[tier]],
        fixed={"steps": 150, "eval_every": 50, "eval_prompts": 40},
        rates=RATES,
    )
