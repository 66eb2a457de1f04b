"""Inputs of a network: the range of their pixels and the order of their columns.

Both are judged once, on the training data, and then asked of every later input. Imports NumPy
alone, because a served model carries a copy of this module.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

RANGES = (1, 16, 255, 65_535)  # the usual values of white, one of which is taken for a data set's
_DEEP = 4095  # images of 16 bits reach further; those of 10 or 12 bits need data.pixel_max
_FAR = 4  # between two ranges with this factor nobody can mistake one for the other


def range_of(pixels: np.ndarray) -> int:
    """The value of white in `pixels`, of any shape: the first of `RANGES` that holds the largest.

    So a set whose brightest pixel is 200 has 255. Black images have 255 as well.

    Raises:
        ValueError: negative or NaN, above 65,535, or a few pixels above 255 among bytes.
    """
    if not pixels.size:
        return 255
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= RANGES[-1]):  # a NaN fails as well
        raise ValueError(f"pixels go from {low:g} to {high:g}, expected 0 to 1, 16, 255 or 65535")
    if 1 < high < 2 and pixels.dtype.kind == "f":
        raise ValueError(f"pixels go to {high:g}, expected 0 to 1, 16, 255 or 65535")
    found = next(white for white in RANGES if high <= white) if high else 255
    if found == RANGES[-1] and (high <= _DEEP or np.median(pixels[pixels > 0]) <= 255):
        raise ValueError(
            f"pixels go to {high:g}, expected 0 to 255, or most above 255 as in 16 bit"
        )
    return found


def is_far_below(found: int, pixel_max: int) -> bool:
    """True if pixels of the range `found` can hardly be dark ones of the range `pixel_max`."""
    return found * _FAR <= pixel_max


def compact(pixels: np.ndarray, pixel_max: int | None = None) -> tuple[np.ndarray, int]:
    """Store `pixels` in the smallest of uint8, uint16 and float32; return them and their range.

    `pixel_max` is their range if it is known.

    Raises:
        ValueError: see `range_of`; or they exceed `pixel_max`.
    """
    white = pixel_max or range_of(pixels)
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if not (low >= 0 and high <= white):
        raise ValueError(f"pixels must be from 0 to {white}, got {low:g} to {high:g}")
    if pixels.dtype.kind != "f" or np.array_equal(pixels, np.rint(pixels)):
        return pixels.astype(np.uint8 if high <= 255 else np.uint16, copy=False), white
    return pixels.astype(np.float32, copy=False), white


def fitted(pixels: np.ndarray, pixel_max: int) -> np.ndarray:
    """Check later inputs of a network whose range is `pixel_max`, and store them as `compact` does.

    Dark images pass; those that fill a much smaller range, such as 0 to 1 for 0 to 255, do not.

    Raises:
        ValueError: they have another range.
    """
    if pixels.size and not pixels.any():
        return pixels.astype(np.uint8)
    try:
        found = range_of(pixels)
    except ValueError:
        found = pixel_max
    if pixels.size and is_far_below(found, pixel_max):
        factor = str(pixel_max) if found == 1 else f"{pixel_max}/{found}"
        raise ValueError(
            f"pixels must be from 0 to {pixel_max}, not from 0 to {found}; "
            f"multiply them by {factor}"
        )
    return compact(pixels, pixel_max)[0]


def as_stored(light: np.ndarray, pixel_max: int) -> np.ndarray:
    """Turn `light`, from 0 to 1 and of any shape, into pixels from 0 to `pixel_max`."""
    pixels = light * np.float32(pixel_max)
    return compact(pixels if pixel_max == 1 else np.rint(pixels), pixel_max)[0]


def order(
    names: Sequence[str], known: Sequence[str] | None = None
) -> tuple[list[int], tuple[int, int] | None]:
    """Find the order of an image's pixels, row by row, by the names of their columns.

    Numbers in the names give it: `pixel0`, `pixel1`, … or, by row and column, `1x1`, `1x2`, …
    Names without numbers are in order as they are.

    Args:
        names: of the columns, as a table has them.
        known: those of the training data, in order, where they had no numbers.

    Returns:
        The position in `names` of each pixel, and the (height, width) that the names give, if any.

    Raises:
        ValueError: a name twice, numbers with gaps, or other names than the `known`.
    """
    names = [name.strip().lower() for name in names]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two columns are named {twice[:20]!r}")
    if known and set(names) == set(known):
        place = {name: position for position, name in enumerate(names)}
        return [place[name] for name in known], None
    if known:
        odd = next(iter(set(names) - set(known)), "fewer columns")
        raise ValueError(f"the columns are not those of the training data: {odd[:20]!r}")
    if len({re.sub(r"[0-9]+", "#", name) for name in names}) > 1:
        if sum(bool(re.search(r"[0-9]", name)) for name in names) > len(names) / 2:
            raise ValueError(f"the columns are not numbered alike: {_odd(names)[:20]!r}")
        return list(range(len(names))), None
    return _by_numbers(names)


def as_pixels(given: Any, metadata: dict[str, Any]) -> np.ndarray:
    """Convert images in any supported form to (images, pixels) of uint8, uint16 or float32.

    Args:
        given: an array (images, pixels) or (images, height, width), a single image, nested lists,
            or a data frame with a column per pixel.
        metadata: those of the network.

    Raises:
        ValueError: another number of pixels, other columns, or pixels of another range.
    """
    names = [str(name) for name in getattr(given, "columns", ())]
    shape, highest = metadata["shape"], metadata["pixel_max"]
    array = np.asarray(given.to_numpy() if hasattr(given, "to_numpy") else given)
    size = math.prod(shape)
    if array.shape not in ((size,), tuple(shape)) and (
        array.shape[1:] not in ((size,), tuple(shape), (*shape, 1))
    ):
        raise ValueError(
            f"images must be (n, {size}) or (n, {shape[0]}, {shape[1]}), got {array.shape}"
        )
    array = array.reshape(-1, size)
    if names:
        array = array[:, order(names, metadata.get("columns"))[0]]
    if array.dtype.kind not in "buif":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"pixels must be numbers from 0 to {highest}") from None
    return fitted(array, highest)


def _by_numbers(names: Sequence[str]) -> tuple[list[int], tuple[int, int] | None]:
    """See `order`, for names that differ in their numbers alone."""
    numbers = ([int(number) for number in re.findall(r"[0-9]+", name)] for name in names)
    varying = [axis for axis in zip(*numbers, strict=True) if len(set(axis)) > 1]
    places = list(zip(*varying, strict=True))
    sides = [sorted(set(axis)) for axis in varying]
    gapless = all(side in (list(range(len(side))), list(range(1, len(side) + 1))) for side in sides)
    if names and (len(sides) > 2 or not gapless or math.prod(map(len, sides)) != len(names)):
        raise ValueError(
            f"the columns from {names[0][:20]!r} to {names[-1][:20]!r} are not numbered without "
            "gaps from 0 or 1"
        )
    positions = (
        sorted(range(len(names)), key=places.__getitem__) if places else [*range(len(names))]
    )
    return positions, (len(sides[0]), len(sides[1])) if len(sides) == 2 else None


def _odd(names: Sequence[str]) -> str:
    """The name whose form is the rarest."""
    forms = [re.sub(r"[0-9]+", "#", name) for name in names]
    return min(names, key=lambda name: forms.count(re.sub(r"[0-9]+", "#", name)))
