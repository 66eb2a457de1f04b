"""Archives of arrays, .npz: their heads are read first, so that nothing is unpacked unseen.

Never unpickles. Knows nothing of what the arrays mean.
"""

import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perceptune.nn.layout import Array

_BOMB = 100  # times the file's size: more than any array compresses to; one of zeros has 1,000
_HARMLESS = 1 << 26  # bytes that may be unpacked from anything
_HEADS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Head(NamedTuple):
    """What an archive says of an array before its data."""

    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"


def heads(path: Path) -> dict[str, Head]:
    """Read the heads of all arrays of an archive, by name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no archive of arrays, a damaged one, or one that would unpack to far more than
            its own size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _refuse_bomb(path, members)
            return {info.filename.removesuffix(".npy"): _head(archive, info) for info in members}
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile raises almost any exception for a corrupt file
        raise ValueError(" ".join(str(error).split())[:120] or "no archive of arrays") from None


def read(path: Path, name: str) -> Array:
    """Read the array `name` of an archive whose `heads` were looked at.

    Raises:
        ValueError: it is damaged.
    """
    try:
        # Opened here because NumPy never closes a file that is not an archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            array: Array = archive[name]
            return array
    except Exception as error:  # as above
        raise ValueError(f"{name}: {' '.join(str(error).split())[:120]}") from None


def _refuse_bomb(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len({info.filename for info in members}) < len(members):
        raise ValueError("two arrays of one name")
    size = sum(info.file_size for info in members)
    if size > max(_HARMLESS, _BOMB * path.stat().st_size):
        raise ValueError(f"it would unpack to {size / 1e6:,.0f} MB")


def _head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Head:
    with archive.open(info) as member:
        shape, _, dtype = _HEADS[np.lib.format.read_magic(member)](member)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds objects")
        if (
            min(shape, default=0) < 0
            or not dtype.itemsize
            or size != info.file_size - member.tell()
        ):
            raise ValueError(f"{info.filename} has {info.file_size} bytes, not those of its array")
    return Head(shape, dtype)
