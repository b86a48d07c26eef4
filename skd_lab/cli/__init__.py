"""The command line: one file a command, and a frame around them."""

from skd_lab.cli.frame import main

__all__ = ["main"]
