"""Keras's mnist.npz: a zip of the four arrays x_train, y_train, x_test and y_test.

Never unpickles. Knows no particular data set: images of any size, any number of classes.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from perceptune.data.cache import cached
from perceptune.data.dataset import Dataset, Decoded, numbered
from perceptune.data.files import fingerprint, reason
from perceptune.errors import UserError

KEYS = ("x_train", "y_train", "x_test", "y_test")
FORM = "expected Keras's mnist.npz with the arrays " + ", ".join(KEYS)
REMEDY = "set data.path to such a file"


def load(path: Path, *, cache: Path | None = None) -> Dataset:
    """Read an .npz file: images (n, height, width) uint8 and whole-number labels (n,) of each part.

    Raises:
        UserError: no such file, or not these four arrays in these forms.
    """
    path = path.expanduser().absolute()
    mark = fingerprint(path, remedy=f"{FORM}; {REMEDY}")
    return cached("npz", [mark], lambda: _decode(path), cache=cache, origin=str(path))


def _decode(path: Path) -> Decoded:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not an .npz file, or is truncated; {FORM}; {REMEDY}")
    arrays = _arrays(path)
    images, test_images = (_images(path, key, arrays[key]) for key in ("x_train", "x_test"))
    labels, test_labels = (
        _labels(path, key, arrays[key], len(of))
        for key, of in (("y_train", images), ("y_test", test_images))
    )
    if images.shape[1:] != test_images.shape[1:]:
        raise UserError(
            f"{path}: x_train has images of {images.shape[1:]}, x_test of "
            f"{test_images.shape[1:]}; expected one size; {REMEDY}"
        )
    classes = max(int(labels.max()), int(test_labels.max())) + 1
    if classes < 2:
        raise UserError(f"{path} has only label 0; expected at least two classes; {REMEDY}")
    return Decoded(
        images=images.reshape(len(images), -1),
        labels=labels,
        test_images=test_images.reshape(len(test_images), -1),
        test_labels=test_labels,
        shape=(images.shape[1], images.shape[2]),
        classes=numbered(classes),
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    key = ""
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file]
            if missing:
                raise UserError(f"{path} lacks {', '.join(missing)}; {FORM}; {REMEDY}")
            arrays = {}
            for key in KEYS:
                arrays[key] = file[key]
            return arrays
    # RuntimeError: encrypted, or an unknown compression. MemoryError: a header that claims more
    # than fits into memory.
    except (
        *(OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error),
        *(RuntimeError, MemoryError),
    ) as error:
        where = f" {key}" if key else ""
        raise UserError(
            f"{path}{where} cannot be read: {reason(error)}; {FORM}; {REMEDY}"
        ) from None


def _images(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 3 or array.size == 0:
        raise UserError(
            f"{path}: {key} has shape {array.shape} and type {array.dtype}, expected "
            f"(images, height, width) of uint8; {REMEDY}"
        )
    return array


def _labels(path: Path, key: str, array: np.ndarray, count: int) -> np.ndarray:
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"{path}: {key} has shape {array.shape} and type {array.dtype}, expected ({count},) "
            f"whole numbers, one per image; {REMEDY}"
        )
    if array.min() < 0 or array.max() > 255:
        raise UserError(
            f"{path}: {key} has labels from {array.min()} to {array.max()}, expected 0 to 255; "
            f"{REMEDY}"
        )
    return array.astype(np.uint8)
