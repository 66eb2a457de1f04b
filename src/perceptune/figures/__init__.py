"""Figures from plain arrays: one style, colours for any colour vision.

Knows neither runs nor networks. Charts are matplotlib's figures, without global state or window;
what is made of images and cells is drawn by Pillow, pixel by pixel.
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
