"""Lines of a text file, whatever its encoding and packing: plain, gzip, or one file in a zip.

Knows nothing of what the lines say. What a file is, its first bytes say, not its name.
"""

import codecs
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any

from perceptune.data.files import reason, regular_file
from perceptune.errors import UserError

_LONGEST_LINE = 1 << 23  # characters: an image of 1,400 × 1,400 pixels
_BOMB = 100  # times its packed size: more than any table; a file of zeros has 1,000
_HARMLESS = 1 << 26  # bytes that may be unpacked from anything

# What files begin with that are no text.
_KINDS = {
    b"\xfd7zXZ": "an xz archive; unpack it",
    b"BZh": "a bzip2 archive; unpack it",
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"PAR1": "a Parquet file; save it as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel file; save it as CSV",
    b"\x89HDF": "an HDF5 file; save it as CSV",
    b"\x93NUMPY": "an .npy array; save it as CSV, or in an .npz file for data=npz",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite format 3": "an SQLite database; save the table as CSV",
    b"%PDF": "a PDF",
}
_BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def lines(path: Path, *, remedy: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line that is not empty, without its end.

    Bytes that are not of the encoding become U+FFFD.

    Raises:
        UserError: no such file, or no text, or packed in another way; `remedy` ends the message.
    """
    status = regular_file(path, remedy=remedy)
    try:
        with path.open("rb") as file, _unpacked(path, file) as raw:
            most = min(max(_HARMLESS, _BOMB * status.st_size), 4 * 10**9)
            yield from _split(path, io.BufferedReader(_Limited(path, raw, most)))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        raise UserError(f"cannot read {path}: {reason(error)}; {remedy}") from None


def _split(path: Path, file: io.BufferedReader) -> Iterator[tuple[int, str]]:
    head = file.peek(16)
    encoding = next((name for bom, name in _BOMS.items() if head.startswith(bom)), "utf-8-sig")
    for start, what in _KINDS.items():
        if head.startswith(start):
            raise UserError(f"{path} is {what}")
    text = io.TextIOWrapper(file, encoding, errors="replace")
    number = 0
    while line := text.readline(_LONGEST_LINE):
        number += 1
        if "\0" in line:
            raise UserError(f"{path}, line {number}, holds null bytes: it is not a text in UTF-8")
        if len(line) == _LONGEST_LINE:
            raise UserError(f"{path}, line {number}, is longer than any image: it is not a table")
        if line := line.rstrip("\n"):
            yield number, line


@contextmanager
def _unpacked(path: Path, file: IO[bytes]) -> Iterator[Any]:
    head = file.read(4)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        with GzipFile(fileobj=file) as unpacked:
            yield unpacked
    elif head.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive, archive.open(_member(path, archive)) as member:
            yield member
    else:
        yield file


def _member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The table in a zip: its only file, or its only .csv."""
    found = [
        info
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith(("__MACOSX/", "."))
    ]
    names = [info.filename for info in found]
    if "[Content_Types].xml" in names:
        raise UserError(f"{path} is an Excel workbook; save it as CSV")
    if names and all(name.endswith(".npy") for name in names):
        raise UserError(f"{path} is an .npz file; read it with data=npz")
    tables = [info for info in found if info.filename.lower().endswith((".csv", ".tsv"))]
    for chosen in (found, tables):
        if len(chosen) == 1:
            return chosen[0]
    shown = ", ".join(name[:60] for name in names[:5]) or "nothing"
    raise UserError(f"{path} is a zip of {shown}; unpack it, and set data.path to one file")


class _Limited(io.RawIOBase):
    """A stream that ends in an error after `most` bytes."""

    def __init__(self, path: Path, stream: IO[bytes], most: int) -> None:
        self._path, self._stream, self._most = path, stream, most
        self._left = most

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise UserError(
                f"{self._path} unpacks to more than {self._most / 1e6:,.0f} MB; unpack it, and "
                "look at it first"
            )
        buffer[: len(data)] = data
        return len(data)
