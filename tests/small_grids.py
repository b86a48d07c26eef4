"""Grids of the smallest size and made-up rows, for tests of what runs and shows them."""

import re

from skd_lab.grids import Grid

SMALL = {"steps": 2, "eval_every": 1, "eval_prompts": 2}
SQUARE = Grid(
    blocks=({"method": ("supervised_kd", "skd"), "seed": (0, 1), "prompts": (8,)},),
    fixed=SMALL,
    test_prompts=3,
)
QUIET = {"progress": False, "say": lambda text: None}


def apart_from_time(rows):
    clocks = re.compile("seconds")
    return [{k: v for k, v in row.items() if not clocks.search(k) and k != "curve"} for row in rows]


def row_of(method, seed, scores, cost=None, curve=None, **values):
    row = {"cell": f"{method}{seed}", "status": "done", "task": "summaries", "method": method}
    row |= {"prompts": 100, "start": "own", "seed": seed, "metric": "m", "n": len(scores)}
    row |= {"scores": scores, "seconds": 1.0, "kl_references": 0.5, "cpu_seconds": cost}
    return row | {"curve": curve, **values}
