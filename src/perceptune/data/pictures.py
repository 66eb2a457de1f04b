"""New images to classify: a user's pictures, or arrays in the form of a data set.

Knows no network, only the shape and the range of pixels that it needs.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perceptune.data import archive, inputs, table
from perceptune.data.files import reason
from perceptune.errors import UserError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_TABLES = (".csv", ".csv.gz", ".csv.zip", ".zip", ".tsv", ".txt")
_INK = 0.2  # as a fraction of the darkest stroke; fainter pixels are paper, dust or JPEG noise
_BOX = 20 / 28  # MNIST's digits fit a box of 20 × 20 in an image of 28 × 28
_SMALL = 20  # images below this many pixels, such as 8 × 8, are filled to their edges


@dataclass(frozen=True)
class Pictures:
    """Images in the form of a network's inputs.

    Attributes:
        images: (n, height · width), see `inputs.compact`.
        names: their file names, or None for rows of a table.
    """

    images: np.ndarray
    names: list[str] | None


def read(
    path: Path, shape: Sequence[int], pixel_max: int, columns: Sequence[str] | None = None
) -> Pictures:
    """Read images of `shape` (height, width) with pixels up to `pixel_max` from `path`.

    `path` is a picture of any size, dark on light or light on dark; a folder of pictures, read in
    the order of their names; a .npy array; or a .csv table without labels, whose columns the
    training data names `columns` where the names have no numbers.

    Raises:
        UserError: none of these, or another shape or range.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
        if not files:
            raise UserError(f"{path} holds no pictures ({', '.join(_SUFFIXES)})")
        images = np.stack([picture(file, shape, pixel_max) for file in files])
        return Pictures(images, [file.name for file in files])
    if path.suffix.lower() == ".npy":
        return Pictures(archive.pixels(path, shape, pixel_max), None)
    if path.name.lower().endswith(_TABLES):
        return Pictures(table.pixels(path, shape, pixel_max, columns), None)
    return Pictures(picture(path, shape, pixel_max)[None], [path.name])


def picture(path: Path, shape: Sequence[int], pixel_max: int) -> np.ndarray:
    """Read a picture in the form of a data set's image, (height · width,).

    Raises:
        UserError: not a picture, or one of a single colour.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path) as opened:
            warnings.simplefilter("error")  # a picture too large for memory
            opaque = opened.convert("RGBA")
            page = Image.new("RGBA", opaque.size, "white")
            page.alpha_composite(opaque)
            grey = np.asarray(page.convert("L"), np.float32) / 255
    except Exception as error:  # Pillow's decoders raise almost any exception
        raise UserError(f"{path} is not a picture: {reason(error)[:120]}") from None
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    light = 1 - grey if np.median(edge) > 0.5 else grey  # ink is light, as in MNIST
    light = np.clip(light - np.median(np.minimum(light, 1 - _INK)), 0, None)
    if light.max() < 0.05:
        raise UserError(f"{path} is blank: all of it is one colour")
    light /= light.max()
    if grey.shape != tuple(shape):
        light = _fitted(light, shape)
    return inputs.as_stored(light, pixel_max).ravel()


def _fitted(light: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Crop `light` (rows, columns) to its ink, scale it to a box and centre it, as MNIST was made.

    LeCun, Cortes & Burges 1998: "normalized to fit in a 20x20 pixel box while preserving their
    aspect ratio […] centered in a 28x28 image by computing the center of mass".
    """
    from PIL import Image

    rows, columns = (np.flatnonzero((light > _INK).any(axis=axis)) for axis in (1, 0))
    ink = light[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    small = min(shape) < _SMALL
    box = [side if small else round(side * _BOX) for side in shape]
    scale = min(box[0] / ink.shape[0], box[1] / ink.shape[1])
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    resized = Image.fromarray(ink).resize((width, height), Image.Resampling.BOX)
    digit = np.clip(np.asarray(resized), 0, 1)
    if small:
        top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    else:
        mass = digit.sum()
        across = (digit.sum(axis=0) @ np.arange(width)) / mass
        down = (digit.sum(axis=1) @ np.arange(height)) / mass
        top, left = round((shape[0] - 1) / 2 - down), round((shape[1] - 1) / 2 - across)
        top = min(max(top, 0), shape[0] - height)
        left = min(max(left, 0), shape[1] - width)
    canvas = np.zeros(tuple(shape), np.float32)
    canvas[top : top + height, left : left + width] = digit
    return canvas / max(float(canvas.max()), 1e-9)
