"""Figures made of samples or weights: a grid of small images, each with its caption."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perceptune.figures.style import BLUE, GREY, ORANGE, drawn
from perceptune.nn.layout import Array


def gallery(
    path: Path, images: Array, captions: Sequence[str], right: Array, *, title: str, columns: int
) -> None:
    """Draw samples with captions, blue where the prediction is right, orange where it is wrong.

    Args:
        path: the PNG to write.
        images: (samples, height, width), 0 is black.
        captions: one per sample, of one to three lines.
        right: (samples,) bool.
        title: of the figure.
        columns: samples per row.
    """
    colours = [BLUE if hit else ORANGE for hit in right]
    _grid(path, images, captions, colours, title=title, columns=columns, signed=False)


def tiles(path: Path, weights: Array, captions: Sequence[str], *, title: str) -> None:
    """Draw first-layer weights, an image per unit: orange is positive, violet negative, white 0.

    Args:
        path: the PNG to write.
        weights: (units, height, width).
        captions: one per unit.
        title: of the figure.
    """
    columns = 8 if len(weights) > 10 else 5
    colours = [GREY] * len(weights)
    _grid(path, weights, captions, colours, title=title, columns=columns, signed=True)


def _grid(
    path: Path,
    images: Array,
    captions: Sequence[str],
    colours: Sequence[str],
    *,
    title: str,
    columns: int,
    signed: bool,
) -> None:
    """Draw all images in one pair of axes: thirty times faster than axes for each."""
    rows = max(1, math.ceil(len(images) / columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    cell = 1.0 + 0.16 * lines + 0.04
    # One scale for all weights, without outliers.
    limit = float(np.percentile(np.abs(images), 99.5)) or 1.0 if signed and images.size else 1.0
    with drawn(path, width=1.15 * columns + 0.2, height=1.15 * cell * rows + 0.4) as figure:
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_title(title)
        for index, image in enumerate(images):
            row, column = divmod(index, columns)
            left, top = column * 1.1, row * cell * 1.04
            axes.imshow(
                image,
                extent=(left, left + 1, top + 1, top),
                cmap="PuOr_r" if signed else "gray",
                vmin=-limit if signed else 0,
                vmax=limit if signed else max(float(image.max()), 1e-9),
            )
            middle, under = left + 0.5, top + 1.03
            axes.text(
                middle, under, captions[index], color=colours[index], size=9, ha="center", va="top"
            )
        if not len(images):
            axes.text(0.5 * columns, 0.5, "none", color=GREY, ha="center")
        axes.set_xlim(0, columns * 1.1)
        axes.set_ylim(rows * cell * 1.04, 0)
        axes.set_aspect("equal")
