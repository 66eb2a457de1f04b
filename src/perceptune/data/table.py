"""Tables of images: Kaggle's CSV, one image per row, `label,pixel0,pixel1,…`, header optional.

Its train.csv has labels, its test.csv has none; both have the same checks and messages. Knows no
particular data set: images of any square size, and as many classes as the labels need.
"""

import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from perceptune.data.cache import cached
from perceptune.data.dataset import Dataset, Decoded, numbered
from perceptune.data.files import fingerprint, reason
from perceptune.errors import UserError

FORM = "expected label,pixel0,pixel1,… with whole numbers from 0 to 255"
UNLABELLED = FORM.replace("label,", "")
NUMBERS = frozenset(map(str, range(256)))
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", re.IGNORECASE)


def load(path: Path, *, cache: Path | None = None) -> Dataset:
    """Read a CSV file; labels 0 … max become that many classes, at least two.

    Raises:
        UserError: no such file, or not such a table; the message names line and column.
    """
    path = path.expanduser().absolute()
    mark = fingerprint(path, remedy="set data.path to a CSV file with label,pixel0,pixel1,…")
    return cached("csv", [mark], lambda: _decode(path), cache=cache, origin=str(path))


def pixels(path: Path, size: int) -> np.ndarray:
    """Read images without labels, as in Kaggle's test.csv: (n, `size`) uint8.

    Raises:
        UserError: not such a table; the message names line and column.
    """
    try:
        line, cells = next(_rows(path), (1, []))
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}") from None
    cells = [_bare(cell) for cell in cells]
    if not cells:
        raise UserError(f"{path} is empty; {UNLABELLED}")
    if cells[0].lower() == "label":
        raise UserError(f"{path} has a column 'label'; leave it out, or use a file without labels")
    if len(cells) != size:
        raise UserError(f"{path} has {len(cells)} columns, expected {size}, one for each pixel")
    return _numbers(path, 0 if _NUMBER.fullmatch(cells[0]) else line, size, UNLABELLED)


def _decode(path: Path) -> Decoded:
    try:
        skip, columns = _first_row(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}") from None
    table = _numbers(path, skip, columns, FORM)
    side = math.isqrt(columns - 1)
    labels = table[:, 0].copy()
    if labels.max() < 1:
        raise UserError(f"{path} has only label 0; expected at least two classes, 0 and 1")
    return Decoded(
        images=table[:, 1:].copy(),
        labels=labels,
        shape=(side, side),
        classes=numbered(int(labels.max()) + 1),
    )


def _numbers(path: Path, skip: int, columns: int, form: str) -> np.ndarray:
    """Read the table below its header, (rows, columns) uint8; `form` describes it in messages."""
    try:
        table = _parse(path, skip)
    except (ValueError, Warning, OSError) as error:  # UnicodeDecodeError is a ValueError
        _raise_first_fault(path, skip, columns, form)
        raise UserError(f"{path} cannot be read: {reason(error)[:120]}; {form}") from None
    if table.shape[1] != columns:
        _raise_first_fault(path, skip, columns, form)
    return table


def _parse(path: Path, skip: int) -> np.ndarray:
    """Parse with NumPy, (rows, columns) uint8: strict and fast, but it counts rows differently.

    Raises:
        ValueError, UserWarning: the file is no such table.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an empty table, an integer written as a float
        return np.loadtxt(
            path,
            dtype=np.uint8,
            delimiter=",",
            quotechar='"',
            comments=None,
            skiprows=skip,
            ndmin=2,
            encoding="utf-8-sig",
        )


def _first_row(path: Path) -> tuple[int, int]:
    """Count the header's lines (0: no header) and the columns.

    Raises:
        UserError: empty, no label column, or no square number of pixels.
    """
    line, cells = next(_rows(path), (1, []))
    cells = [_bare(cell) for cell in cells]
    if not cells:
        raise UserError(f"{path} is empty; {FORM}")
    header = not _NUMBER.fullmatch(cells[0])
    if header and cells[0].lower() != "label":
        raise UserError(
            f"{path}, line {line}: the first column is {_quote(cells[0])}, expected a column "
            f"'label'; {FORM}"
        )
    pixels = len(cells) - 1
    if pixels < 1 or math.isqrt(pixels) ** 2 != pixels:
        raise UserError(
            f"{path}, line {line}: {len(cells)} columns, expected a label and a square number "
            f"of pixels (784 for 28 × 28)"
        )
    return line if header else 0, len(cells)


def _raise_first_fault(path: Path, skip: int, columns: int, form: str) -> None:
    """Read line by line to the first fault and raise it; return if there is none."""
    empty = True
    for line, cells in _rows(path):
        if line <= skip:
            continue
        empty = False
        if len(cells) != columns:
            raise UserError(f"{path}, line {line}: {len(cells)} columns, expected {columns}")
        if NUMBERS.issuperset(cells):  # ten times faster than cell by cell
            continue
        for column, cell in enumerate(map(_bare, cells), start=1):
            if not re.fullmatch(r"\+?[0-9]+", cell) or int(cell[:20]) > 255:
                what = "label" if column == 1 and form == FORM else "pixel"
                raise UserError(
                    f"{path}, line {line}, column {column}: {what} {_quote(cell)}, expected a "
                    f"whole number from 0 to 255"
                )
    if empty:
        raise UserError(f"{path} has a header but no rows; {form}")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of every line that is not empty.

    A comma inside quotes separates as well: no number has one.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, text in enumerate(file, start=1):
            if line := text.rstrip("\n"):
                yield number, line.split(",")


def _bare(cell: str) -> str:
    """Remove blanks and quotes around a cell."""
    cell = cell.strip()
    return cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _quote(cell: str) -> str:
    return repr(cell if len(cell) <= 20 else cell[:20] + "…")
