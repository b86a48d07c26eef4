"""Going on where a run stood: its newest whole checkpoint, and its records cut back to it.

A run writes records after every update and checkpoints now and then. What the records say of
updates behind the checkpoint is done again, bit for bit, so it is taken out first: the records of
a run that was stopped equal those of one that was not, but for the times in them.
"""

import logging
from pathlib import Path
from typing import Any

from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel

from skd_lab.adapters import has_adapters, load_adapter
from skd_lab.checkpoints import load_memory, load_optimizer_state, newest_whole
from skd_lab.errors import UsageError
from skd_lab.files import read_jsonl, read_text, to_json, write_text_atomic
from skd_lab.loading import load_model
from skd_lab.records import StepRecord, dumps_traces, loads_traces
from skd_lab.sharding import like_parameters

_LOG = logging.getLogger(__name__)


def load_weights(
    run_dir: Path, student: PreTrainedModel, dtype: str, run: str | None = None
) -> tuple[Path, int] | tuple[None, None]:
    """Put the newest whole checkpoint's weights, or its adapters, into the student, in place.

    Args:
        run_dir: the run folder.
        student: as it was made for the run, not sharded yet.
        dtype: the run's type of weights.
        run: what the run is known by.

    Returns:
        The checkpoint and the updates done then; Nones if the run has no checkpoint yet.

    Raises:
        UsageError: if there are checkpoints and all of them are damaged, or the newest is another
            run's, another version's, or of another student.
    """
    found = newest_whole(run_dir / "checkpoints", run)
    if found is None:
        return None, None
    path, step = found
    if has_adapters(student):
        load_adapter(path / "adapter", student)
    else:
        saved = load_model(path / "student", dtype=dtype, device="cpu")
        try:
            student.load_state_dict(saved.state_dict())
        except RuntimeError as error:
            raise UsageError(
                f"The student in {path} is not the one to go on with: {_first_fault(error)} Give "
                "the models that the run was started with."
            ) from error
    return path, step


def load_progress(path: Path, step: int, schedule: LRScheduler) -> None:
    """Put a checkpoint's optimizer state into the schedule's optimizer, and the schedule there.

    Args:
        path: of the checkpoint.
        step: updates done then.
        schedule: a new one; its rate depends on nothing but the number of updates. Its optimizer
            may hold a sharded student: each process takes its part.
    """
    optimizer = schedule.optimizer
    optimizer.load_state_dict(like_parameters(load_optimizer_state(path), optimizer))
    # by hand, as transformers gives last_epoch to some of its schedules and not to others
    schedule.last_epoch = step
    schedule._last_lr = [group["lr"] for group in optimizer.param_groups]


def own_memory(path: Path, process: int, processes: int) -> dict[str, Any]:
    """What this process kept when the checkpoint was made.

    With another number of processes than then it is that of one of them, which is said: such a
    run is not the one that would have gone on.
    """
    saved = load_memory(path)
    if not saved:
        return {}
    if len(saved) != processes and process == 0:
        _LOG.warning(
            "%s holds what the method kept in %d processes, and there are %d now: each goes on "
            "with that of one of them.",
            *(path.name, len(saved), processes),
        )
    return saved[process % len(saved)]


def cut_records_back(run_dir: Path, step: int | None) -> None:
    """Leave in steps.jsonl, eval.jsonl and traces.ndjson what is of updates up to `step`.

    Each file is replaced whole; a kill in between does no harm, as this is done at every resume.

    Args:
        run_dir: the run folder.
        step: the checkpoint's; None empties the records, for a run that starts again.

    Raises:
        DataError: a line that is no record; the message names file and line.
        SkdError: the disk is full or read-only.
    """
    for name in ("steps.jsonl", "eval.jsonl"):
        path = run_dir / name
        if path.exists():
            kept = [record for record in read_jsonl(path) if _stays(record, step)]
            _replace(path, "".join(to_json(record) + "\n" for record in kept))
    path = run_dir / "traces.ndjson"
    if path.exists():
        traces = loads_traces(read_text(path), name=str(path), notes=[])
        _replace(path, dumps_traces(trace for trace in traces if _stays(trace.header, step)))


def records_so_far(run_dir: Path, step: int) -> list[StepRecord]:
    """Step records of the updates up to `step`, as steps.jsonl holds them; none without a file."""
    path = run_dir / "steps.jsonl"
    records = read_jsonl(path) if path.exists() else []
    return [StepRecord.from_json(to_json(record)) for record in records if _stays(record, step)]


def _first_fault(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines[1:] if line), lines[0]).rstrip(".") + "."


def _stays(record: dict[str, Any], step: int | None) -> bool:
    of = record.get("step")
    return step is not None and not (isinstance(of, int) and of > step)


def _replace(path: Path, text: str) -> None:
    if path.read_bytes() != text.encode():
        write_text_atomic(path, text)
