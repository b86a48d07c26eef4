"""On what a result was measured, without names or paths; and the file it goes to."""

import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"

_PACKAGES = ("skd-lab", "torch", "transformers", "accelerate", "trl")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads, load, versions, date."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "date": datetime.date.today().isoformat(),
    }


def write_result(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """results/name.json: the machine, then the result."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    text = json.dumps({"machine": describe_machine(), **result}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
