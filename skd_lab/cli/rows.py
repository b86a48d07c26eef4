"""Rows of packages above the core, made known to the commands where those packages are there."""

import importlib
import importlib.util

PACKAGES = ("skd_lab.family",)
"""Packages that register methods and objectives when they are imported."""


def register_rows() -> None:
    """Import them, so that --method and --objective know their rows."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
