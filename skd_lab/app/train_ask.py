"""A training run that somebody asks for on the page: its name, its settings, their limits."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skd_lab.config import RunConfig
from skd_lab.errors import UsageError
from skd_lab.presets import GENERATED_PROMPTS, with_preset

METHOD_WORDS = {
    "skd": "student and teacher write together",
    "on_policy_kd": "the student writes",
    "supervised_kd": "reference answers",
    "teacher_kd": "the teacher writes",
    "two_stage": "references first, then the student",
    "mixed_skd": "references and interleaved texts",
    "gkd": "references and the student's texts",
    "imit_kd": "references and the student's texts, plain KL",
    "seq_kd": "the teacher's texts by heart",
    "sft": "references by heart, no teacher",
}
"""Every method, and in a few words where the text comes from that the student learns from."""

TASKS = tuple(GENERATED_PROMPTS)
"""Tasks that make their own prompts: nothing is downloaded."""

MAX_UPDATES = 300
MAX_PROMPTS = 500
RECORDINGS = 6
"""About so often are checkpoint and recording made during a run."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def run_name(text: Any) -> str:
    """A name for a new run folder.

    Raises:
        UsageError: for a name that is empty, too long, a path, or no plain word.
    """
    name = text.strip() if isinstance(text, str) else ""
    if not name:
        raise UsageError("The run has no name. Write one, such as my-run.")
    if any(sign in name for sign in ("/", "\\", "..", ":", "\0")):
        raise UsageError(f"{name[:60]!r} is a path, and a run is named by one word. Use my-run.")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:60]!r} cannot be the name of a run. Use up to 60 letters, digits, dots, - "
            "and _, and begin with a letter or a digit."
        )
    return name


def free_name(runs_dir: Path, stem: str, taken: str = "") -> str:
    """The first of stem-1, stem-2 ... that no run has, and that is not the name just taken."""
    n = 1
    while (runs_dir / f"{stem}-{n}").exists() or f"{stem}-{n}" == taken:
        n += 1
    return f"{stem}-{n}"


@dataclass(frozen=True, kw_only=True)
class TrainAsk:
    """A run to be trained.

    Raises:
        UsageError: for a value that cannot be; says what to do.
    """

    name: str
    pair: str
    method: str = "skd"
    task: str = "summaries"
    accept_top_k: int = 3
    updates: int = 120
    prompts: int = 100
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        run_name(self.name)
        for what, value, known in (
            ("method", self.method, METHOD_WORDS),
            ("task", self.task, TASKS),
        ):
            if value not in known:
                raise UsageError(f"There is no {what} {value!r}. Use one of {', '.join(known)}.")
        for what, number, high in (
            ("K", self.accept_top_k, None),
            ("The number of updates", self.updates, MAX_UPDATES),
            ("The number of prompts", self.prompts, MAX_PROMPTS),
        ):
            if number < 1 or (high is not None and number > high):
                limits = f"from 1 to {high}" if high else "1 or more"
                raise UsageError(f"{what} must be {limits}; got {number}.")
        if not 0 < self.learning_rate <= 1:
            raise UsageError(
                f"The learning rate must be above 0 and at most 1; got {self.learning_rate:g}. "
                "0.001 suits these models."
            )

    def config(self, runs_dir: Path) -> RunConfig:
        """The run's configuration, with a checkpoint at every recording."""
        every = max(1, self.updates // RECORDINGS)
        return with_preset(
            {
                "pair": self.pair,
                "method": self.method,
                "task": self.task,
                "accept_top_k": self.accept_top_k,
                "steps": self.updates,
                "n_prompts": self.prompts,
                "learning_rate": self.learning_rate,
                "run_dir": str(runs_dir / self.name),
                "save_every": every,
                "trace_every": every,
                "trace_prompts": 4,
            }
        ).replace(n_prompts=self.prompts, keep_checkpoints=None)
