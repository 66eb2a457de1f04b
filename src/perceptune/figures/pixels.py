"""Figures made of images: drawn pixel by pixel, so that they are sharp, and in a tenth of the time.

Knows what matplotlib would need for the same: a font, two colour maps and the head of a PNG.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perceptune.figures.style import DPI, MAKER
from perceptune.nn.layout import Array

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

SIDE = 112  # pixels of an image's longer side at most: 4 × 28, 14 × 8

# Cynthia Brewer's maps (colorbrewer2.org), from low to high: violet to orange, and white to blue.
_PUOR = "2d004b 542788 8073ac b2abd2 d8daeb f7f7f7 fee0b6 fdb863 e08214 b35806 7f3b08"
_BLUES = "f7fbff deebf7 c6dbef 9ecae1 6baed6 4292c6 2171b5 08519c 08306b"


def blank(width: float, height: float) -> tuple["Image", "ImageDraw"]:
    """A white figure of that many pixels, and what draws on it."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (round(width), round(height)), "white")
    return image, ImageDraw.Draw(image)


def save(image: "Image", path: Path) -> None:
    """Write a figure to `path`, a PNG that says who made it."""
    from PIL.PngImagePlugin import PngInfo

    head = PngInfo()
    head.add_text("Software", MAKER)
    image.save(path, "PNG", compress_level=2, dpi=(DPI, DPI), pnginfo=head)


@cache
def font(points: float) -> "FreeTypeFont":
    """The font of all figures: the one that matplotlib brings along, found without its import."""
    from PIL import ImageFont

    found = find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    ttf = Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(ttf), points * DPI / 72)


def widest(texts: Sequence[str], points: float) -> float:
    """Pixels of the longest line of `texts`; 0 without any."""
    lines = {line for text in texts for line in text.split("\n")}
    return max((font(points).getlength(line) for line in lines), default=0.0)


def inches(names: Sequence[str]) -> float:
    """Inches of the longest of `names`, written at an axis; matplotlib's text is as wide."""
    return widest(names, 11) / DPI


def signed(values: Array, limit: float) -> Array:
    """Colours (…, 3) of values in ±`limit`: violet negative, white 0, orange positive."""
    return _colours(_PUOR, 0.5 + 0.5 * values / limit)


def blues(fractions: Array) -> Array:
    """Colours (…, 3) of values in [0, 1], from white to blue."""
    return _colours(_BLUES, fractions)


def grey(image: Array) -> Array:
    """An image as bytes, 0 black and its largest value white; colours stay."""
    limit = max(float(image.max()), 1e-9)
    return np.asarray(image * (255 / limit)).clip(0, 255).astype(np.uint8)


def fitted(image: Array, side: int = SIDE) -> "Image":
    """`image` (rows, columns) or (rows, columns, 3) of bytes, its longer side about `side`.

    Pixels become squares of whole pixels where each takes two or more. A single row, which is
    one of a table, becomes a square of stripes.
    """
    from PIL import Image

    height, width = image.shape[:2]
    scale = side / max(height, width)
    sharp = scale >= 2
    scale = int(scale) if sharp else scale
    size = (max(1, round(width * scale)), max(1, round((height if height > 1 else width) * scale)))
    method = Image.Resampling.BOX if sharp else Image.Resampling.BICUBIC
    return Image.fromarray(image).resize(size, method)


def paste_cells(figure: "Image", colours: Array, box: tuple[int, int, int, int]) -> None:
    """Fill `box`, (left, top, right, bottom), with a rectangle for each of `colours` (…, …, 3)."""
    from PIL import Image

    size = (box[2] - box[0], box[3] - box[1])
    figure.paste(Image.fromarray(colours).resize(size, Image.Resampling.NEAREST), box[:2])


def write_upwards(figure: "Image", text: str, place: tuple[int, int], anchor: str) -> None:
    """Write `text` turned to the left, its left middle, "lm", or middle top, "mt", at `place`."""
    from PIL import Image, ImageDraw

    long, high = round(font(11).getlength(text)) + 1, 20
    mask = Image.new("L", (long, high))
    ImageDraw.Draw(mask).text((0, high / 2), text, 255, font(11), anchor="lm")
    mask = mask.transpose(Image.Transpose.ROTATE_90)  # by quarters, so that it stays sharp
    left, top = place
    corner = (left, top - long // 2) if anchor == "lm" else (left - high // 2, top)
    figure.paste("black", corner, mask)


def _colours(names: str, values: Array) -> Array:
    anchors = np.array([list(bytes.fromhex(name)) for name in names.split()])  # (anchors, 3)
    places = np.linspace(0, 1, len(anchors))
    channels = [np.interp(values, places, channel) for channel in anchors.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
