"""Checkpoints of a run: written whole under another name, then renamed; no pickle is loaded.

checkpoints/step-000040/student/        a plain Hugging Face folder
                        optimizer.pt    torch.save, read back with weights_only=True
                        state.json      step, and the size of every file
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skd_lab.errors import DataError, SkdError
from skd_lab.files import read_json, replace_folder, write_json_atomic
from skd_lab.loading import quiet_bars

_PREFIX = "step-"


def save_checkpoint(
    folder: Path,
    step: int,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: torch.optim.Optimizer,
    keep: int | None = None,
) -> Path:
    """Write checkpoints/step-N atomically, then drop all but the newest ones.

    Args:
        folder: the run's checkpoints/ folder.
        step: optimizer updates done so far.
        student: unwrapped.
        tokenizer: saved beside the weights, so that the folder loads by itself.
        optimizer: its state goes along.
        keep: how many checkpoints stay; None keeps all.

    Raises:
        SkdError: on a full or read-only disk; checkpoints written before are untouched.
    """
    target = folder / f"{_PREFIX}{step:06d}"
    with _written_whole(target) as temporary:
        with quiet_bars():
            student.save_pretrained(temporary / "student")
        tokenizer.save_pretrained(temporary / "student")
        torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        sizes = {path.relative_to(temporary).as_posix(): path.stat().st_size for path in files}
        write_json_atomic(temporary / "state.json", {"step": step, "files": sizes})
    if keep is not None:
        for old in list_checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    return target


def save_student(
    folder: Path, student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: str
) -> None:
    """Write the distilled student as a plain Hugging Face folder, whole or not at all.

    Args:
        folder: usually runs/<name>/student.
        student: unwrapped; safetensors, config and generation config are written.
        tokenizer: with its chat template.
        card: Markdown of the model card.
    """
    with _written_whole(folder) as temporary:
        with quiet_bars():
            student.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / "README.md").write_text(card, encoding="utf-8")


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(_PREFIX)))


def read_checkpoint(path: Path) -> int:
    """The step of a checkpoint whose files are all there and whole.

    Raises:
        DataError: if a file is missing or has another size than when it was written.
    """
    state = read_json(path / "state.json")
    for name, size in state["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size:
            raise DataError(
                f"{file} is missing or cut short (expected {size} bytes). Delete {path} to resume "
                "from the checkpoint before it."
            )
    return int(state["step"])


def load_optimizer_state(path: Path) -> dict[str, Any]:
    """The optimizer's state of a checkpoint, on the CPU."""
    return torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)


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
