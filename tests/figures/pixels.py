"""Checks of figures by their pixels."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels_of(path: Path) -> NDArray[np.uint8]:
    """The pixels of a figure, (rows, columns, 3)."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def is_drawn(path: Path) -> bool:
    """True for a figure with more than a background and a line."""
    colours = Image.fromarray(pixels_of(path)).getcolors(1_000_000)
    return len(colours or [0] * 6) > 5


def is_whole(path: Path) -> bool:
    """True for a figure that is drawn, and of which no edge cuts anything off."""
    pixels = pixels_of(path)
    edges = (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:])
    return is_drawn(path) and all((edge == 255).all() for edge in edges)
