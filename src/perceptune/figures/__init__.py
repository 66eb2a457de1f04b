"""Figures from plain arrays: one style, colours for any colour vision.

Knows neither runs nor networks. Uses matplotlib's figures directly: no global state, no window.
"""

from perceptune.figures.comparison import comparison
from perceptune.figures.images import gallery, tiles
from perceptune.figures.predictions import predictions
from perceptune.figures.scores import calibration, confusion, per_class
from perceptune.figures.style import MAKER
from perceptune.figures.training import activations, curves, seeds

__all__ = [
    "MAKER",
    "activations",
    "calibration",
    "comparison",
    "confusion",
    "curves",
    "gallery",
    "per_class",
    "predictions",
    "seeds",
    "tiles",
]
