"""Figure of predictions: each input, what the network sees of it, and its best classes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perceptune.figures.style import BLUE, GREY, drawn
from perceptune.nn.layout import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CELL = (3.5, 1.32)  # one input, with the space around it; a picture is 1 wide


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
    with drawn(path, width=across * _CELL[0] + 0.2, height=down * _CELL[1] + 0.2) as figure:
        axes = figure.add_subplot()
        axes.set_axis_off()
        for index, (name, picture, image) in enumerate(zip(names, pictures, images, strict=True)):
            row, column = divmod(index, across)
            left, top = column * _CELL[0], row * _CELL[1]
            axes.text(left, top - 0.04, name[-28:], size=8, color=GREY, va="bottom")
            _draw(axes, picture, left, top)
            _draw(axes, image, left + 1.1, top)
            for place, (label, probability) in enumerate(best[index]):
                height = top + 0.2 + 0.3 * place
                colour = BLUE if place == 0 else GREY
                axes.barh(height, 0.45 * probability, left=left + 2.2, height=0.2, color=colour)
                text = f"{label[:11]} {probability:.2f}"
                axes.text(left + 2.25 + 0.45 * probability, height, text, size=9, va="center")
        axes.set_xlim(-0.05, across * _CELL[0])
        axes.set_ylim(down * _CELL[1] - 0.25, -0.3)
        axes.set_aspect("equal")


def _draw(axes: "Axes", image: Array, left: float, top: float) -> None:
    """Draw an image in the square of side 1 below (left, top), its longer side as long."""
    height, width = (side / max(image.shape[:2]) for side in image.shape[:2])
    left, top = left + (1 - width) / 2, top + (1 - height) / 2
    limit = max(float(image.max()), 1e-9)
    extent = (left, left + width, top + height, top)
    axes.imshow(image, extent=extent, cmap="gray", vmin=0, vmax=limit)
