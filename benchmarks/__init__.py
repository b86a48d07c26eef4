"""Time and memory of skd_lab beside TRL, transformers and the released code's way, in one run."""
