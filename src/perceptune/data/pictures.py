"""New images to classify: a user's pictures, or arrays in the form of a data set.

Knows no network, only the shape and the range of pixels that it needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perceptune.data import archive, centring, ink, inputs, table
from perceptune.data.decoding import OTHER_SUFFIXES, SUFFIXES, decode
from perceptune.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

_TABLES = (".csv", ".csv.gz", ".csv.zip", ".zip", ".tsv", ".txt")
_CLEAN = 0.25  # of the border's pixels are exactly black in an image of a data set,
_CLEAN_INK = 0.6  # or as many, if it is of MNIST's form
_BLANK = 0.05  # of the range of pixels: what differs less is one colour


@dataclass(frozen=True)
class Pictures:
    """Images in the form of a network's inputs.

    Attributes:
        images: (n, height · width), see `inputs.compact`.
        files: what each was read from, or None for rows of a table or an array.
        refused: one line for each file of a folder that holds no image for the network.
    """

    images: np.ndarray
    files: list[Path] | None = None
    refused: tuple[str, ...] = ()


def read(
    path: Path,
    shape: Sequence[int],
    pixel_max: int,
    columns: Sequence[str] | None = None,
    *,
    written: bool = True,
) -> Pictures:
    """Read images of `shape` (height, width) with pixels up to `pixel_max` from `path`.

    `path` is a picture of any size, dark on light or light on dark; a folder of pictures, read in
    the order of their names; a .npy array; or a .csv table without labels.

    Args:
        path: file or folder.
        shape: height and width in pixels.
        pixel_max: the largest value of a pixel.
        columns: of a table, as the training data names them where the names have no numbers.
        written: each picture shows one digit or sign in ink; else one thing on a plain ground.

    Raises:
        UserError: none of these, or another shape or range.
    """
    if path.is_dir():
        return _folder(path, shape, pixel_max, written)
    if path.suffix.lower() == ".npy":
        return Pictures(archive.pixels(path, shape, pixel_max))
    if path.name.lower().endswith(_TABLES):
        return Pictures(table.pixels(path, shape, pixel_max, columns))
    return Pictures(picture(path, shape, pixel_max, written=written)[None], [path])


def picture(path: Path, shape: Sequence[int], pixel_max: int, *, written: bool) -> np.ndarray:
    """Read a picture in the form of a data set's image, (height · width,).

    Raises:
        UserError: not a picture, or not of one digit, or of a single colour.
    """
    found = decode(path)
    light = _as_it_is(found, shape, written)
    if light is None:
        try:
            light = _ink(found, shape) if written else _thing(found, shape)
        except ink.NoInkError as error:
            raise UserError(f"{path} {error}") from None
    return inputs.as_stored(light, pixel_max).ravel()


def _folder(path: Path, shape: Sequence[int], pixel_max: int, written: bool) -> Pictures:
    files = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in SUFFIXES + OTHER_SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise UserError(f"{path} holds no pictures ({', '.join(SUFFIXES)})")
    images: dict[Path, np.ndarray] = {}
    refused = []
    for file in files:
        try:
            images[file] = picture(file, shape, pixel_max, written=written)
        except UserError as error:
            refused.append(str(error))
    rows = np.array([*images.values()]).reshape(-1, shape[0] * shape[1])
    return Pictures(rows, [*images], tuple(refused))


def _as_it_is(picture: "Image", shape: Sequence[int], written: bool) -> np.ndarray | None:
    """An image of a data set, (rows, columns) from 0 to 1 with light ink; None if it is none."""
    grey = np.asarray(picture.convert("L"))
    if grey.shape != tuple(shape):
        return None
    edge = _border(grey)
    black, white = (edge == 0).mean(), (edge == 255).mean()
    light = (255 - grey if white > black else grey) / np.float32(255)
    # Paper in a photograph is nowhere quite white or black.
    inked = written and min(shape) >= centring.SMALL
    if max(black, white) < (_CLEAN_INK if inked else _CLEAN) or light.max() < _BLANK:
        return None
    if inked and not centring.is_mnists(light):
        return None
    return light if light.max() > 0.5 else light / light.max()  # such as pixels from 0 to 16


def _ink(picture: "Image", shape: Sequence[int]) -> np.ndarray:
    from PIL import Image

    factor = ink.SIDE / max(picture.size)
    width, height = (max(1, round(side * factor)) for side in picture.size)
    scaled = picture.resize((width, height), Image.Resampling.BICUBIC)
    colours = np.asarray(scaled, np.float32) / 255
    return centring.digit(ink.find(colours, max(1.0, factor)), shape)


def _thing(picture: "Image", shape: Sequence[int]) -> np.ndarray:
    """What differs from the ground, as Fashion-MNIST was made: light on black, to the edges."""
    grey = np.asarray(picture.convert("L"), np.float32) / 255
    ground = np.median(_border(grey))
    light = 1 - grey if ground > 0.5 else grey
    light = np.clip(light - min(ground, 1 - ground), 0, None)
    if light.max() < _BLANK:
        raise ink.NoInkError("is blank: all of it is one colour")
    return centring.filled(light / light.max(), shape)


def _border(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
