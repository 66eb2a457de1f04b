"""Images in the form of a data set's: what is light is cropped, scaled and centred.

Knows neither files nor photographs.
"""

from collections.abc import Sequence

import numpy as np

Array = np.ndarray

_INK = 0.2  # as a fraction of the darkest stroke; fainter pixels are its blurred edge
_BOX = 20 / 28  # MNIST's digits fit a box of 20 × 20 in an image of 28 × 28
SMALL = 20  # images below this many pixels, such as 8 × 8, are filled to their edges
_THIN = 0.1  # of a digit's longer side: MNIST's strokes are hardly thinner


def digit(ink: Array, shape: Sequence[int]) -> Array:
    """Bring `ink` (rows, columns), from 0 to 1, to `shape` as MNIST was made.

    LeCun, Cortes & Burges 1998: "normalized to fit in a 20x20 pixel box while preserving their
    aspect ratio […] centered in a 28x28 image by computing the center of mass".
    """
    from scipy import ndimage

    if min(shape) < SMALL:
        return filled(ink, shape)
    resized = _resized(_thickened(_cropped(ink)), [round(side * _BOX) for side in shape])
    return _placed(resized, ndimage.center_of_mass(resized), shape)


def filled(light: Array, shape: Sequence[int]) -> Array:
    """Bring `light` (rows, columns), from 0 to 1, to `shape`: to its edges, in its middle."""
    resized = _resized(_cropped(light), shape)
    return _placed(resized, np.subtract(resized.shape, 1) / 2, shape)


def is_mnists(light: Array) -> bool:
    """True if `light` (rows, columns) is in its middle as MNIST's digits are, to some pixels.

    Also if it fills all: a data set of garments whose classes are numbers.
    """
    from scipy import ndimage

    fill = max(np.divide(_cropped(light).shape, light.shape))
    offset = np.subtract(ndimage.center_of_mass(light), np.subtract(light.shape, 1) / 2)
    return bool(fill > 0.85 or (fill > 0.6 and np.abs(offset).max() < 1.5))


def _cropped(light: Array) -> Array:
    rows, columns = (np.flatnonzero((light > _INK * light.max()).any(axis=axis)) for axis in (1, 0))
    return light[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _thickened(ink: Array) -> Array:
    """Thicken strokes that would be fainter than MNIST's in so few pixels."""
    from scipy import ndimage

    mask = np.pad(ink > 0.5, round(_THIN * max(ink.shape)))
    # In a band of width w the mean distance to its edge is w / 4.
    width = 4 * ndimage.distance_transform_edt(mask)[mask].mean() if mask.any() else np.inf
    grow = (_THIN * max(ink.shape) - width) / 2
    if grow <= 0:
        return ink
    return _cropped(np.clip(grow + 0.5 - ndimage.distance_transform_edt(~mask), 0, 1))


def _resized(light: Array, box: Sequence[int]) -> Array:
    from PIL import Image

    scale = min(np.divide(box, light.shape))
    height, width = (max(1, round(side * scale)) for side in light.shape)
    image = Image.fromarray(light.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(image).clip(0, 1)


def _placed(light: Array, middle: Sequence[float] | Array, shape: Sequence[int]) -> Array:
    """Put `light` on black with its `middle` in that of `shape`, as far as it fits."""
    top, left = (
        min(max(round((side - 1) / 2 - at), 0), side - length)
        for side, at, length in zip(shape, middle, light.shape, strict=True)
    )
    canvas = np.zeros(tuple(shape), np.float32)
    canvas[top : top + light.shape[0], left : left + light.shape[1]] = light
    return canvas / max(float(canvas.max()), 1e-9)
