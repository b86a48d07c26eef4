"""TensorBoard and Weights & Biases beside a run's own records, by accelerate's trackers.

The records in the run folder stay what figures are made from; a tracker shows the same numbers
while a run goes. A resumed run goes on in the same log: TensorBoard drops what an earlier session
wrote behind the checkpoint, and wandb gets the same run id (it keeps the first value of a step; the
second one is equal).
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, is_tensorboard_available, is_wandb_available

from skd_lab.environment import read_sessions
from skd_lab.errors import SkdError, UsageError
from skd_lab.records import EvalReport

_PROJECT = "skd_lab"
_AVAILABLE = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}

TRACKERS = tuple(_AVAILABLE)
"""What --track takes; pip installs each by the same name."""


def tracker_names(track: str | None) -> list[str]:
    """The trackers a configuration asks for, each once; their packages are installed.

    Args:
        track: names, comma-separated; None for no tracker.

    Raises:
        UsageError: for a name that is no tracker, or one whose package is missing.
    """
    names = list(dict.fromkeys(name.strip() for name in (track or "").split(",") if name.strip()))
    if track is not None and not names:
        raise UsageError(f"--track names no tracker, got {track!r}. Use {_choices()}.")
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"Unknown tracker '{name}' in --track {track}. Use {_choices()}.")
        if not _AVAILABLE[name]():
            raise UsageError(
                f"--track {name} needs the package {name}, which is not installed. Run "
                f"`pip install {name}`, or leave --track out: the run folder holds the same "
                "numbers."
            )
    return names


def tracking(track: str | None, run_dir: Path) -> dict[str, Any]:
    """Arguments of accelerate's Accelerator for these trackers; errors are tracker_names'."""
    names = tracker_names(track)
    if not names:
        return {}
    folders = ProjectConfiguration(str(run_dir), logging_dir=str(run_dir / "tensorboard"))
    return {"log_with": names, "project_config": folders}


@contextlib.contextmanager
def open_trackers(
    accelerator: Accelerator, config: Mapping[str, Any], run_dir: Path, step: int
) -> Iterator[None]:
    """Start the accelerator's trackers, give them the configuration, and close them at the end.

    Args:
        accelerator: made with `tracking`; without trackers nothing happens.
        config: of the run, JSON-able.
        run_dir: the run folder; TensorBoard writes into tensorboard/, wandb into wandb/.
        step: updates done. What a tracker holds of later ones is of a session that was stopped.

    Raises:
        SkdError: if a tracker cannot start, such as wandb without a key.
    """
    if not accelerator.log_with:
        yield
        return
    options = {
        "tensorboard": {"purge_step": step + 1},
        "wandb": {
            "name": run_dir.name,
            "dir": str(run_dir),
            "id": _wandb_id(run_dir),
            "resume": "allow",
        },
    }
    try:
        accelerator.init_trackers(_PROJECT, init_kwargs=options)
        for tracker in accelerator.trackers:
            # every call would make TensorBoard another folder
            if not any((run_dir / tracker.name).rglob("hparams.yml")):
                tracker.store_init_configuration({k: _plain(v) for k, v in config.items()})
    except Exception as error:  # each package has errors of its own
        raise SkdError(
            f"A tracker of --track did not start ({type(error).__name__}: {error}). For wandb log "
            "in with `wandb login` or set WANDB_MODE=offline; or leave --track out."
        ) from error
    try:
        yield
    finally:
        # not end_training: that also ends the process group, which the next run may need
        for tracker in accelerator.trackers:
            tracker.finish()


def log_metrics(accelerator: Accelerator, group: str, values: Mapping[str, Any], step: int) -> None:
    """Give the finite numbers among the values to the trackers, as group/name.

    Args:
        accelerator: whose trackers are open.
        group: "train" or "eval".
        values: by name; what is no finite number is left out.
        step: updates done.
    """
    numbers = {
        f"{group}/{name}": value
        for name, value in values.items()
        if type(value) in (int, float) and math.isfinite(value)
    }
    if accelerator.log_with and numbers:
        accelerator.log(numbers, step=step)


def scores(report: EvalReport) -> dict[str, float]:
    """The numbers of an evaluation by name, without the intervals."""
    of_task = {name: metric["value"] for name, metric in report.metrics.items()}
    names = ("kl_references", "kl_samples", "replacement_rate", "acceptance_rate", "mean_length")
    return of_task | {name: getattr(report, name) for name in names}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _wandb_id(run_dir: Path) -> str:
    """The same for every session of a run, another one when the run is started anew."""
    first = json.dumps(read_sessions(run_dir)[:1])
    return hashlib.sha256(f"{run_dir.resolve().name} {first}".encode()).hexdigest()[:16]


def _choices() -> str:
    return f"{' or '.join(TRACKERS)}, or both with a comma"
