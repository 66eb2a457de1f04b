"""The record of a data set: read-only arrays and their digest, the same for every source.

Knows no file format, no cache and no network.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

ARRAYS = ("images", "labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Dataset:
    """Images and labels, one flattened image per row.

    Attributes:
        name: The source, such as "mnist".
        images: (n, height · width) uint8, uint16 or, where pixels have fractions, float32;
            read-only, memory-mapped where a cache can be written.
        labels: (n,) uint8, the index of each image's class.
        test_images: As `images`; None where the source has no test part of its own.
        test_labels: As `labels`, or None.
        shape: (height, width) of an image in pixels.
        classes: The classes' names; a label is an index into them.
        pixel_max: The largest value that a pixel can have: 255, or 16 for the digits.
        columns: Names of the pixels in their order, where a table names them without numbers.
        digest: SHA-256 over the arrays, the same on every machine and from every file format.
        origin: The file, folder or package that the data came from, for messages.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray | None
    test_labels: np.ndarray | None
    shape: tuple[int, int]
    classes: tuple[str, ...]
    pixel_max: int
    digest: str
    origin: str
    columns: tuple[str, ...] | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name: four, or two without a test part."""
        return {name: array for name in ARRAYS if (array := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Decoded:
    """A source's arrays in memory, before their digest makes a `Dataset` of them."""

    images: np.ndarray  # (n, height · width), see `inputs.compact`
    labels: np.ndarray  # (n,) uint8
    shape: tuple[int, int]
    classes: tuple[str, ...]
    test_images: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    pixel_max: int = 255
    columns: tuple[str, ...] | None = None


def finish(decoded: Decoded, *, name: str, origin: str) -> Dataset:
    """Make the arrays read-only and compute their digest."""
    arrays = {
        key: np.ascontiguousarray(array)
        for key in ARRAYS
        if (array := getattr(decoded, key)) is not None
    }
    for array in arrays.values():
        array.setflags(write=False)
    return Dataset(
        name=name,
        images=arrays["images"],
        labels=arrays["labels"],
        test_images=arrays.get("test_images"),
        test_labels=arrays.get("test_labels"),
        shape=decoded.shape,
        classes=decoded.classes,
        pixel_max=decoded.pixel_max,
        digest=digest(arrays),
        origin=origin,
        columns=decoded.columns,
    )


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Compute the SHA-256 in hex over names, types, shapes and bytes of arrays of any shape."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def numbered(count: int) -> tuple[str, ...]:
    """Name classes by their numbers: "0", "1", …"""
    return tuple(str(number) for number in range(count))
