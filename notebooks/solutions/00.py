"""Solutions of notebook 00. Made by `make notebooks`; do not edit."""

from __future__ import annotations

from skd_lab import course


# 00.1: K is set to the size of the vocabulary. Who writes the text? a, b or c
course.check("00.1", "a")
