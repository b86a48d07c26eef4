"""Checkpoints of a run: written whole under another name, then renamed; no pickle is loaded.

checkpoints/step-000040/student/        a plain Hugging Face folder; or
                        adapter/        of a student with adapters, these alone, as peft reads them
                        optimizer.pt    torch.save, read back with weights_only=True
                        memory.pt       in the same way, what a method keeps in each process
                        state.json      step, run, loss scale, and the SHA-256 of every file
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skd_lab.adapters import has_adapters, save_adapter
from skd_lab.errors import DataError, SkdError, UsageError
from skd_lab.files import read_json, replace_folder, write_json_atomic
from skd_lab.loading import quiet_bars

_LOG = logging.getLogger(__name__)

_PREFIX = "step-"
_FORMAT = 1
"""Of a checkpoint's files; a larger number is written when an older version cannot read them."""


def save_checkpoint(
    folder: Path,
    step: int,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    optimizer_state: Mapping[str, Any],
    keep: int | None = None,
    *,
    weights: Mapping[str, Tensor] | None = None,
    scaler: Mapping[str, Any] | None = None,
    memory: Sequence[Mapping[str, Any]] = (),
    run: str | None = None,
) -> Path:
    """Write checkpoints/step-N atomically, then drop all but the newest ones.

    Checkpoints of later updates go too: a run that went back behind them, because they were
    damaged, does those updates again.

    Args:
        folder: the run's checkpoints/ folder.
        step: optimizer updates done so far.
        student: unwrapped.
        tokenizer: saved beside the weights, so that the folder loads by itself.
        optimizer_state: the optimizer's state_dict, its tensors whole.
        keep: how many checkpoints stay; None keeps all.
        weights: the student's whole weights, where it holds only a part of them itself.
        scaler: a loss scaler's state_dict: numbers alone.
        memory: what each process keeps from update to update, in their order: numbers, texts,
            tensors, and lists and dicts of them.
        run: what the run is known by; newest_whole compares it.

    Raises:
        SkdError: on a full or read-only disk; checkpoints written before are untouched.
    """
    target = folder / f"{_PREFIX}{step:06d}"
    for left in folder.glob(f".{_PREFIX}*"):  # of a run that was killed while it wrote or deleted
        shutil.rmtree(left, ignore_errors=True)
    with _written_whole(target) as temporary:
        if has_adapters(student):
            save_adapter(temporary / "adapter", student)
        else:
            _save_model(temporary / "student", student, tokenizer, weights)
        torch.save(optimizer_state, temporary / "optimizer.pt")
        if any(memory):
            torch.save([dict(one) for one in memory], temporary / "memory.pt")
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        sums = {path.relative_to(temporary).as_posix(): _sha256(path, sync=True) for path in files}
        state = {"format": _FORMAT, "step": step, "run": run, "sha256": sums}
        more = {"scaler": dict(scaler)} if scaler else {}
        write_json_atomic(temporary / "state.json", state | more)
    saved = list_checkpoints(folder)
    behind = saved.index(target) + 1
    for other in saved[behind:] + ([] if keep is None else saved[: max(0, behind - keep)]):
        # renamed first: a kill half-way must not leave a checkpoint with holes
        other.rename(leaving := other.with_name(f".{other.name}.old"))
        shutil.rmtree(leaving)
    return target


def save_student(
    folder: Path,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    card: str,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the distilled student as a plain Hugging Face folder, whole or not at all.

    Args:
        folder: usually runs/<name>/student.
        student: unwrapped; safetensors, config and generation config are written.
        tokenizer: with its chat template.
        card: Markdown of the model card.
        weights: the student's whole weights, where it holds only a part of them itself.
    """
    with _written_whole(folder) as temporary:
        _save_model(temporary, student, tokenizer, weights)
        (temporary / "README.md").write_text(card, encoding="utf-8")


def _save_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: Mapping[str, Tensor] | None,
) -> None:
    with quiet_bars():
        model.save_pretrained(folder, state_dict=None if weights is None else dict(weights))
    tokenizer.save_pretrained(folder)


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.glob(f"{_PREFIX}*") if _number(path).isdigit()]
    return sorted(found, key=lambda path: int(_number(path)))


def _number(path: Path) -> str:
    return path.name.removeprefix(_PREFIX)


def newest_whole(folder: Path, run: str | None = None) -> tuple[Path, int] | None:
    """The newest checkpoint that can be gone on from, and its step; None if there are none.

    A damaged one is passed over, and that is said.

    Args:
        folder: the run's checkpoints/ folder.
        run: what the run is known by; None to take a checkpoint of any.

    Raises:
        UsageError: if there are checkpoints and all of them are damaged; if the newest whole one
            is another run's, or a newer version's.
    """
    damage: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            step = read_checkpoint(path)
        except DataError as error:
            damage.append(str(error))
            continue
        if damage:
            _LOG.warning("%s Going on from %s instead.", " ".join(damage), path.name)
        _require_own(path, run)
        return path, step
    if damage:
        raise UsageError(
            f"No checkpoint in {folder} can be gone on from. {' '.join(damage)} Put back a copy of "
            "one of them, or start again with --overwrite."
        )
    return None


def _require_own(path: Path, run: str | None) -> None:
    state = read_json(path / "state.json")
    if state.get("format", 1) > _FORMAT:
        raise UsageError(
            f"{path} was written by a newer skd_lab, in format {state['format']}; this one reads "
            f"up to {_FORMAT}. Update skd_lab, or remove it to go on from an older checkpoint."
        )
    if None not in (run, state.get("run")) and run != state["run"]:
        raise UsageError(
            f"{path} is of another run: it was made with another configuration than this run "
            "folder's. Remove it (an older checkpoint of this run is then taken), or start again "
            "with --overwrite."
        )


def read_checkpoint(path: Path) -> int:
    """The step of a checkpoint whose files are all there and as they were written.

    Raises:
        DataError: if a file is missing or another one than was written, be it by one byte.
    """
    try:
        state = read_json(path / "state.json")
        step, sums = int(state["step"]), dict(state["sha256"])
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path.name} is damaged: its state.json cannot be read.") from error
    if f"{_PREFIX}{step:06d}" != path.name:
        raise DataError(f"{path.name} is damaged: its state.json is of update {step}.")
    for name, sum_then in sums.items():
        try:
            fault = "was changed or cut short" if _sha256(path / name) != sum_then else None
        except OSError as error:
            fault = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        if fault:
            raise DataError(f"{path.name} is damaged: {name} {fault}.")
    return step


def _sha256(path: Path, sync: bool = False) -> str:
    """Hexadecimal digest of a file; sync also waits until the disk has it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        if sync:
            os.fsync(file.fileno())
    return digest.hexdigest()


def load_optimizer_state(path: Path) -> dict[str, Any]:
    """The optimizer's state of a checkpoint, on the CPU."""
    return torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)


def load_memory(path: Path) -> list[dict[str, Any]]:
    """What each process of the run kept when a checkpoint was made; empty if nothing."""
    if not (path / "memory.pt").exists():
        return []
    return torch.load(path / "memory.pt", map_location="cpu", weights_only=True)


def load_scaler(path: Path) -> dict[str, Any] | None:
    """The loss scaler's state of a checkpoint, if its run had one."""
    return read_json(path / "state.json").get("scaler")


def model_card(config: Mapping[str, Any]) -> str:
    """Markdown for the distilled student's folder: what it is and the whole configuration."""
    base = config["student"] or config["pair"]
    return (
        "---\nlicense: apache-2.0\nlibrary_name: transformers\ntags: [distillation, skd]\n---\n\n"
        f"# Student distilled with {config['method']}\n\n"
        f"Trained with skd_lab from `{base}` by `{config['method']}` on task `{config['task']}`, "
        f"{config['steps']} updates of {config['batch_size']} prompts. The whole configuration:\n\n"
        f"```json\n{json.dumps(config, indent=2)}\n```\n"
    )


@contextlib.contextmanager
def _written_whole(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes the target when everything in it was written."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
    # torch and safetensors report a full disk as RuntimeError or errors of their own
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise SkdError(
            f"Could not write {target}: {error}. What was written before is untouched; free some "
            "space or choose another --run-dir, then go on with --resume."
        ) from error
    replace_folder(temporary, target)
