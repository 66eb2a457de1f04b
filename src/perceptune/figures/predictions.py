"""Figure of predictions: each input, what the network sees of it, and its best classes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perceptune.figures import pixels
from perceptune.figures.style import BLUE, GREY
from perceptune.nn.layout import Array

if TYPE_CHECKING:
    from PIL.Image import Image

_ACROSS, _DOWN = 430, 150  # pixels from one input to the next
_MARGIN = 12
_BAR = 50  # pixels of a bar of probability 1


def predictions(
    path: Path,
    names: Sequence[str],
    pictures: Sequence[Array],
    images: Array,
    best: Sequence[Sequence[tuple[str, float]]],
) -> None:
    """Draw inputs in a grid, each as picture, image and bars of its best classes.

    Args:
        path: the PNG to write.
        names: one an input.
        pictures: what was read, each (rows, columns) or (rows, columns, 3), of any size.
        images: (inputs, height, width), what the network sees; 0 is black.
        best: for each input class names with their probabilities, the most probable first.
    """
    across = min(4, max(1, round(math.sqrt(len(names) / 2))))
    down = math.ceil(len(names) / across)
    figure, draw = pixels.blank(across * _ACROSS + _MARGIN, down * _DOWN + _MARGIN)
    for index, (name, picture, image) in enumerate(zip(names, pictures, images, strict=True)):
        row, column = divmod(index, across)
        left, top = _MARGIN + column * _ACROSS, _MARGIN + row * _DOWN + 18
        draw.text((left, top - 5), name[-28:], GREY, pixels.font(8), anchor="ls")
        _paste(figure, picture, left, top)
        _paste(figure, image, left + pixels.SIDE + 12, top)
        for place, (label, probability) in enumerate(best[index]):
            start, middle = left + 2 * pixels.SIDE + 24, top + 22 + 34 * place
            end = start + _BAR * probability
            colour = BLUE if place == 0 else GREY
            draw.rectangle((start, middle - 11, end, middle + 11), colour)
            text = f"{label[:11]} {probability:.2f}"
            draw.text((end + 6, middle), text, "black", pixels.font(9), anchor="lm")
    pixels.save(figure, path)


def _paste(figure: "Image", image: Array, left: int, top: int) -> None:
    """Draw an image in the middle of the square below (left, top)."""
    cell = pixels.fitted(pixels.grey(image))
    spare = [(pixels.SIDE - length) // 2 for length in cell.size]
    figure.paste(cell, (left + spare[0], top + spare[1]))
