"""Figures made of samples or weights: a wall of small images, each with its caption."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perceptune.figures import pixels
from perceptune.figures.style import BLUE, GREY, ORANGE
from perceptune.nn.layout import Array

_GAP = 14  # pixels between neighbours
_MARGIN = 12
_LINE = 17  # pixels of a line of caption


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
    shades = [pixels.grey(image) for image in images]
    _wall(path, shades, captions, colours, title=title, columns=columns)


def tiles(path: Path, weights: Array, captions: Sequence[str], *, title: str) -> None:
    """Draw first-layer weights, an image per unit: orange is positive, violet negative, white 0.

    Args:
        path: the PNG to write.
        weights: (units, height, width).
        captions: one per unit.
        title: of the figure.
    """
    # One scale for all weights, without outliers.
    limit = float(np.percentile(np.abs(weights), 99.5)) if weights.size else 0.0
    colours = [GREY] * len(weights)
    columns = 8 if len(weights) > 10 else 5
    shades = list(pixels.signed(weights, limit or 1.0))
    _wall(path, shades, captions, colours, title=title, columns=columns)


def _wall(
    path: Path,
    images: Sequence[Array],
    captions: Sequence[str],
    colours: Sequence[str],
    *,
    title: str,
    columns: int,
) -> None:
    """Draw images of bytes, all of one size, row by row, each above its caption."""
    columns = max(1, min(columns, len(images)))
    cells = [pixels.fitted(image) for image in images]
    width, height = cells[0].size if cells else (pixels.SIDE, pixels.SIDE)
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    across = max(width, math.ceil(pixels.widest(captions, 9))) + _GAP
    down = height + lines * _LINE + _GAP
    rows = max(1, math.ceil(len(cells) / columns))
    top = 36  # below the title
    wall = columns * across - _GAP
    total = max(wall, pixels.widest([title], 12)) + 2 * _MARGIN
    figure, draw = pixels.blank(total, top + rows * down)
    draw.text((total / 2, 8), title, "black", pixels.font(12), anchor="ma")
    first = (total - wall) / 2 + (across - _GAP) / 2  # the middle of the first column
    for index, (cell, caption, colour) in enumerate(zip(cells, captions, colours, strict=True)):
        row, column = divmod(index, columns)
        middle, upper = round(first + column * across), top + row * down
        figure.paste(cell, (middle - width // 2, upper))
        place = (middle, upper + height + 3)
        draw.text(place, caption, colour, pixels.font(9), anchor="ma", align="center", spacing=3)
    if not cells:
        draw.text((total / 2, top + height / 2), "none", GREY, pixels.font(11), anchor="mm")
    pixels.save(figure, path)
