"""Checks of figures by their pixels."""

from pathlib import Path

from PIL import Image


def is_drawn(path: Path) -> bool:
    """True for a figure with more than a background and a line."""
    with Image.open(path) as picture:
        return len(picture.convert("RGB").getcolors(1_000_000) or [0, 0]) > 5
