"""Archives of arrays: Keras's mnist.npz, and others with the same arrays under common names.

Never unpickles. Knows no particular data set: images of any size, any number of classes.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perceptune.data import inputs
from perceptune.data.cache import cached
from perceptune.data.dataset import Dataset, Decoded, numbered
from perceptune.data.files import expanded, fingerprint, reason, regular_file
from perceptune.errors import UserError
from perceptune.nn import npz

# Array → its names, in lower case and without underscores.
NAMES = {
    "x_train": ("xtrain", "trainx", "trainimages", "traindata", "images", "data", "x"),
    "y_train": ("ytrain", "trainy", "trainlabels", "labels", "label", "targets", "target", "y"),
    "x_test": ("xtest", "testx", "testimages", "testdata"),
    "y_test": ("ytest", "testy", "testlabels"),
}
FORM = "expected Keras's mnist.npz with the arrays " + ", ".join(NAMES)
REMEDY = "set data.path to such a file"


def load(path: Path, *, pixel_max: int | None = None, cache: Path | None = None) -> Dataset:
    """Read an .npz file: images (n, height, width) and labels (n,), with or without a test part.

    Images may have a last axis of 1 or be flattened squares, labels may be one-hot; of any type.
    `pixel_max` is the range of the pixels; None takes it from them, see `inputs.range_of`.

    Raises:
        UserError: no such file, or not these arrays in these forms.
    """
    path = expanded(path).absolute()
    marks = [fingerprint(path, remedy=f"{FORM}; {REMEDY}"), str(pixel_max)]
    return cached("npz", marks, lambda: _decode(path, pixel_max), cache=cache, origin=str(path))


def pixels(path: Path, shape: Sequence[int], pixel_max: int) -> np.ndarray:
    """Read the images in an .npy file, (n, height · width); see `inputs.as_pixels`.

    Raises:
        UserError: no such file, or images of another shape or range.
    """
    regular_file(path, remedy="expected an array of images, as NumPy saves it")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # its length is checked so
    except Exception as error:  # NumPy raises almost any exception for a damaged header
        raise UserError(f"{path} is not an array: {reason(error)[:120]}") from None
    try:
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
            raise ValueError("it holds no numbers")
        if not array.size:
            raise ValueError(f"it has shape {array.shape}, and so no image")
        if isinstance(array, np.memmap) and array.offset + array.nbytes != path.stat().st_size:
            raise ValueError("it has more bytes than its array")
        return inputs.as_pixels(np.asarray(array), {"shape": shape, "pixel_max": pixel_max})
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _decode(path: Path, pixel_max: int | None) -> Decoded:
    arrays = _arrays(path)
    parts = {}
    for part in ("train", "test"):
        if f"x_{part}" in arrays:
            images, shape = _images(path, *arrays[f"x_{part}"])
            parts[part] = images, _labels(path, *arrays[f"y_{part}"], len(images)), shape
    images, labels, shape = parts["train"]
    test_images, test_labels, test_shape = parts.get("test", (images[:0], labels[:0], shape))
    if shape != test_shape:
        raise UserError(
            f"{path}: images of {shape} for training and of {test_shape} for the test; expected "
            f"one size; {REMEDY}"
        )
    classes = max(int(part.max()) for part in (labels, test_labels) if len(part)) + 1
    if classes < 2:
        raise UserError(f"{path} has only label 0; expected at least two classes; {REMEDY}")
    try:
        white = pixel_max or max(map(inputs.range_of, filter(len, (images, test_images))))
        images, test_images = (inputs.compact(part, white)[0] for part in (images, test_images))
    except ValueError as error:
        raise UserError(f"{path}: {error}; set data.pixel_max to their range") from None
    kinds = {part.dtype for part in (images, test_images) if len(part)}
    if len(kinds) > 1:
        images, test_images = (part.astype(max(kinds)) for part in (images, test_images))
    tested = "test" in parts
    return Decoded(
        images=images,
        labels=labels,
        test_images=test_images if tested else None,
        test_labels=test_labels if tested else None,
        shape=shape,
        classes=numbered(classes),
        pixel_max=white,
    )


def _arrays(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    """The arrays by their names in `NAMES`, each with the name that it has in the file."""
    try:
        heads = npz.heads(path)
        found = _find(path, list(heads))
        for key, name in found.items():
            if heads[name].dtype.kind not in "buif":
                raise ValueError(f"{name} has type {heads[name].dtype}, expected numbers")
            if heads[name].shape[:1] in ((), (0,)):
                raise ValueError(f"{name} has shape {heads[name].shape}, expected a row per image")
            if len(heads[name].shape) > (4 if key[0] == "x" else 2):
                raise ValueError(f"{name} has shape {heads[name].shape}")
        return {key: (name, npz.read(path, name)) for key, name in found.items()}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}; {FORM}; {REMEDY}") from None


def _find(path: Path, names: list[str]) -> dict[str, str]:
    """The name in the file of each array in `NAMES`; those of a test part may be missing."""
    plain = {name.lower().replace("_", ""): name for name in names}
    found = {
        key: next(plain[name] for name in known if name in plain)
        for key, known in NAMES.items()
        if not plain.keys().isdisjoint(known)
    }
    needed = [key for key in NAMES if key in found or "train" in key]
    for one, other in (("x_test", "y_test"), ("y_test", "x_test")):
        if one in found and other not in found:
            needed.append(other)
    if missing := [key for key in needed if key not in found]:
        has = ", ".join(names[:8]) or "nothing"
        raise UserError(f"{path} lacks {', '.join(missing)}, it has {has}; {FORM}; {REMEDY}")
    return found


def _images(path: Path, name: str, array: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Flatten images to (n, height · width); return their (height, width) as well."""
    shape = array.shape
    if len(shape) == 4 and 1 in (shape[1], shape[3]):
        array = array[..., 0] if shape[3] == 1 else array[:, 0]
    side = math.isqrt(shape[1]) if array.ndim == 2 else 0
    if side and side * side == shape[1]:
        array = array.reshape(len(array), side, side)
    if array.ndim != 3 or not array.size:
        raise UserError(
            f"{path}: {name} has shape {shape}, expected (images, height, width) in grey; {REMEDY}"
        )
    return array.reshape(len(array), -1), (array.shape[1], array.shape[2])


def _labels(path: Path, name: str, array: np.ndarray, count: int) -> np.ndarray:
    """Turn labels (n,), (n, 1) or one-hot (n, classes) into (n,) uint8."""
    one_hot = array.ndim == 2 and array.shape[1] > 1
    if one_hot and ((array == 1).sum(axis=1) == 1).all() and ((array == 0) | (array == 1)).all():
        array = array.argmax(axis=1)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.shape != (count,) or (array.dtype.kind == "f" and not (array % 1 == 0).all()):
        raise UserError(
            f"{path}: {name} has shape {array.shape} and type {array.dtype}, expected ({count},) "
            f"whole numbers, one per image, or one-hot; {REMEDY}"
        )
    if array.min() < 0 or array.max() > 255:
        raise UserError(
            f"{path}: {name} has labels from {array.min():g} to {array.max():g}, expected 0 to "
            f"255; {REMEDY}"
        )
    return array.astype(np.uint8)
