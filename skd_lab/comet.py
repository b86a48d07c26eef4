"""COMET, a learned score of translations (Rei et al. 2022), where it is asked for.

It is asked for by the environment variable SKD_LAB_COMET, which names a model of the Hub (such as
Unbabel/wmt22-comet-da, 2.3 GB, which the paper reports) or a checkpoint's file. unbabel-comet 2.2
wants transformers below 5 and numpy below 2, so pip cannot put it beside skd-lab: its command
comet-score, installed in an environment of its own, is as good, and a comet that can be imported
is used first.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from skd_lab.errors import SkdError, UsageError

VARIABLE = "SKD_LAB_COMET"
COMMAND = "comet-score"


def comet_model() -> str | None:
    """The model that is asked for; None where none is.

    Raises:
        UsageError: one is asked for, and there is no COMET to run it.
    """
    model = os.environ.get(VARIABLE, "").strip()
    if not model:
        return None
    if importlib.util.find_spec("comet") is None and shutil.which(COMMAND) is None:
        raise UsageError(
            f"{VARIABLE} asks for COMET ({model}), and neither the package unbabel-comet nor its "
            f"command {COMMAND} is there. Install it in an environment of its own (pipx install "
            f"unbabel-comet, or uv tool install unbabel-comet), or unset {VARIABLE}."
        )
    return model


def comet_score(
    model: str, sources: Sequence[str], texts: Sequence[str], references: Sequence[str]
) -> dict[str, float | str]:
    """Mean COMET of translations, about 0 to 1, with the model's name as its signature.

    Args:
        model: as `comet_model` gives it.
        sources, texts, references: of the same sentences.

    Raises:
        SkdError: the model cannot be had, or COMET failed.
    """
    rows = [
        {"src": _line(source), "mt": _line(text), "ref": _line(reference)}
        for source, text, reference in zip(sources, texts, references, strict=True)
    ]
    imported = importlib.util.find_spec("comet") is not None
    try:
        scores = _by_import(model, rows) if imported else _by_command(model, rows)
    except Exception as error:  # COMET, lightning, the Hub and the network share no base class
        words = " ".join(str(error).split())[-300:]
        raise SkdError(
            f"COMET could not score by {model} ({type(error).__name__}: {words}). Check the model "
            f"and the connection, or unset {VARIABLE}."
        ) from error
    return {"value": sum(scores) / len(scores), "signature": model}


def _line(text: str) -> str:
    return " ".join(text.split())


def _by_import(model: str, rows: list[dict[str, str]]) -> list[float]:
    import comet
    import torch

    path = model if model.endswith(".ckpt") else comet.download_model(model)
    loaded = comet.load_from_checkpoint(path)
    gpus = int(torch.cuda.is_available())
    return [float(score) for score in loaded.predict(rows, batch_size=16, gpus=gpus).scores]


def _by_command(model: str, rows: list[dict[str, str]]) -> list[float]:
    import torch

    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.txt" for name in ("src", "mt", "ref")}
        for name, file in files.items():
            file.write_text("".join(row[name] + "\n" for row in rows), encoding="utf-8")
        out = Path(folder) / "scores.json"
        command = [COMMAND, "--model", model, "--quiet", "--only_system", "--to_json", str(out)]
        command += ["--gpus", str(int(torch.cuda.is_available()))]
        for flag, name in (("-s", "src"), ("-t", "mt"), ("-r", "ref")):
            command += [flag, str(files[name])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or f"{COMMAND} exited with {done.returncode}")
        [scored] = json.loads(out.read_text(encoding="utf-8")).values()
    return [float(row["COMET"]) for row in scored]
