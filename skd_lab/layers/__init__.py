"""Known models' layers written out flat, for decoding a few tokens at a time."""

from skd_lab.layers.flat import FlatLayers
from skd_lab.layers.products import LARGEST_COPY

__all__ = ["LARGEST_COPY", "FlatLayers"]
