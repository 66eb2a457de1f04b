"""Tables of images: Kaggle's CSV, one image per row, `label,pixel0,pixel1,…`, header optional.

Its train.csv has labels, its test.csv has none; both have the same checks and messages. Knows no
particular data set: images of any size, and as many classes as the labels need.
"""

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perceptune.data import inputs
from perceptune.data.cache import cached
from perceptune.data.dataset import Dataset, Decoded, numbered
from perceptune.data.files import expanded, fingerprint, reason
from perceptune.data.text import lines
from perceptune.errors import UserError

LABELS = ("label", "class", "y", "target")  # names of the column of labels
FORM = "expected label,pixel0,pixel1,… with whole numbers from 0 to 255"
UNLABELLED = FORM.replace("label,", "")
_REMEDY = "set data.path to a CSV file with label,pixel0,pixel1,…"
_INDEX = re.compile(r"|unnamed: ?\d+|index|(image)?_?id", re.IGNORECASE)  # a column to leave out
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?", re.IGNORECASE)
_BYTES = frozenset(map(str, range(256)))
_MOST_CLASSES = 100  # of a column without a name
_MOST_IN_ONE_CLASS = 0.9  # of its rows; a pixel at the border is nearly always 0


@dataclass(frozen=True)
class _Layout:
    """The columns of a table.

    Attributes:
        header: lines up to the end of the header; 0 without one.
        count: columns.
        label: position of the label, or None.
        pixels: positions of the pixels, row by row.
        shape: (height, width) of an image.
        named: False if `label` is only the first column.
        columns: names of the pixels, where their order is that of the file alone.
    """

    header: int
    count: int
    label: int | None
    pixels: list[int]
    shape: tuple[int, int]
    named: bool
    columns: tuple[str, ...] | None


def load(path: Path, *, pixel_max: int | None = None, cache: Path | None = None) -> Dataset:
    """Read a CSV file; labels 0 … max become that many classes, at least two.

    `pixel_max` is the range of the pixels; None takes it from them, see `inputs.range_of`.

    Raises:
        UserError: no such file, or not such a table; the message names line and column.
    """
    path = expanded(path).absolute()
    marks = [fingerprint(path, remedy=_REMEDY), str(pixel_max)]
    return cached("csv", marks, lambda: _decode(path, pixel_max), cache=cache, origin=str(path))


def pixels(
    path: Path, shape: Sequence[int], pixel_max: int, columns: Sequence[str] | None = None
) -> np.ndarray:
    """Read images without labels, as in Kaggle's test.csv: (n, height · width), see `inputs`.

    Args:
        path: the file.
        shape: (height, width) of an image.
        pixel_max: their range.
        columns: names of the training data's columns, where those have no numbers.

    Raises:
        UserError: not such a table; the message names line and column.
    """
    size = math.prod(shape)
    line, cells = next(_rows(path), (1, []))
    if not cells:
        raise UserError(f"{path} is empty; {UNLABELLED}")
    header = _is_header(cells)
    kept = [i for i, name in enumerate(cells) if not (header and _INDEX.fullmatch(name))]
    for name in cells if header else ():
        if name.lower() in LABELS:
            raise UserError(f"{path} has a column {name!r}; leave it out, it is no pixel")
    if len(kept) != size:
        raise UserError(f"{path} has {len(kept)} columns, expected {size}, one for each pixel")
    if header:
        kept, _, grid = _ordered(path, line, cells, kept, columns)
        if grid not in (None, tuple(shape)):
            raise UserError(f"{path}, line {line}: images of {grid}, expected {tuple(shape)}")
    layout = _Layout(line if header else 0, len(cells), None, kept, (1, size), header, None)
    try:
        found = inputs.fitted(_numbers(path, layout), pixel_max)
    except ValueError as error:
        _raise_first_fault(path, layout, pixel_max)
        raise UserError(f"{path}: {error}") from None
    if found.dtype.kind == "f" and pixel_max > 1:
        _raise_first_fault(path, layout, pixel_max, whole=True)
    return found


def _decode(path: Path, pixel_max: int | None) -> Decoded:
    layout = _layout(path)
    table = _numbers(path, layout)
    labels, images = table[:, 0], table[:, 1:]
    if not layout.named:
        _refuse_implausible(path, labels, images)
    if not ((labels % 1 == 0) & (labels >= 0) & (labels <= 255)).all():
        _raise_first_fault(path, layout)
    if labels.max() < 1:
        raise UserError(f"{path} has only label 0; expected at least two classes, 0 and 1")
    try:
        stored, white = inputs.compact(images.copy(), pixel_max)
    except ValueError as error:
        _raise_first_fault(path, layout, pixel_max or 255, whole=not pixel_max)
        raise UserError(f"{path}: {error}; set data.pixel_max to their range") from None
    if stored.dtype.kind == "f" and white > 1:
        _raise_first_fault(path, layout, white, whole=True)
    return Decoded(
        images=stored,
        labels=labels.astype(np.uint8),
        shape=layout.shape,
        classes=numbered(int(labels.max()) + 1),
        pixel_max=white,
        columns=layout.columns,
    )


def _layout(path: Path) -> _Layout:
    """Find the columns of a table with labels by its first row.

    Raises:
        UserError: empty, no label column, or no rectangle of pixels.
    """
    line, cells = next(_rows(path), (1, []))
    if not cells:
        raise UserError(f"{path} is empty; {FORM}")
    header = _is_header(cells)
    found = [i for i, name in enumerate(cells) if header and name.lower() in LABELS]
    if len(found) > 1:
        names = " and ".join(repr(cells[i]) for i in found)
        raise UserError(f"{path}, line {line}: columns {names}, expected one with the labels")
    if header and not found and not _is_count(cells):
        raise UserError(
            f"{path}, line {line}: none of the {len(cells)} columns, {_quote(cells[0])} and so on, "
            f"is named {', '.join(LABELS[:-1])} or {LABELS[-1]}; name the one with the labels so"
        )
    label = found[0] if found else 0
    others = [i for i in range(len(cells)) if i != label]
    kept = [i for i in others if not (found and _INDEX.fullmatch(cells[i]))]
    columns, shape = None, None
    if found:
        kept, columns, shape = _ordered(path, line, cells, kept)
    side = math.isqrt(len(kept))
    if shape is None and (not kept or side * side != len(kept)):
        raise UserError(
            f"{path}, line {line}: {len(cells)} columns, expected a label and a square number "
            "of pixels (784 for 28 × 28)"
        )
    end = line if header else 0
    return _Layout(end, len(cells), label, kept, shape or (side, side), bool(found), columns)


def _ordered(
    path: Path,
    line: int,
    cells: list[str],
    kept: list[int],
    known: Sequence[str] | None = None,
) -> tuple[list[int], tuple[str, ...] | None, tuple[int, int] | None]:
    """Order the columns `kept` by name; return them, names without numbers, and the shape."""
    names = [cells[i].strip().lower() for i in kept]
    try:
        positions, shape = inputs.order(names, known)
    except ValueError as error:
        raise UserError(f"{path}, line {line}: {error}") from None
    numbers = all(re.search(r"[0-9]", name) for name in names)
    return [kept[i] for i in positions], None if numbers else tuple(names), shape


def _is_header(cells: Sequence[str]) -> bool:
    words = sum(not _NUMBER.fullmatch(cell) for cell in cells)
    named = any(cell.lower() in LABELS for cell in cells)
    return not _NUMBER.fullmatch(cells[0]) or named or words > len(cells) / 2 or _is_count(cells)


def _is_count(cells: Sequence[str]) -> bool:
    """True for 0, 1, 2, …: pandas numbers columns that have no names."""
    return len(cells) > 9 and list(cells) == [str(number) for number in range(len(cells))]


def _refuse_implausible(path: Path, labels: np.ndarray, images: np.ndarray) -> None:
    """Refuse a first column without a name that holds pixels rather than labels."""
    why = _why_implausible(labels)
    last = images[:, -1]
    spans = labels.max() == images.max() > last.max() > 0
    if not why and spans and not _why_implausible(last):
        why = "its values go as far as those of the pixels"
    if why:
        raise UserError(
            f"{path} has no header, and its first column cannot be the label: {why}; add a header "
            f"that names the column of labels: {', '.join(LABELS[:-1])} or {LABELS[-1]}"
        )


def _why_implausible(labels: np.ndarray) -> str:
    """The reason why a column without a name holds no labels; empty if it may."""
    values, counts = np.unique(labels, return_counts=True)
    highest, rows = float(values[-1]), len(labels)
    if highest % 1 or highest >= _MOST_CLASSES:
        return f"its values go to {highest:g}"
    if rows >= 20 and counts.max() > _MOST_IN_ONE_CLASS * rows:
        return f"{counts.max():,} of its {rows:,} values are {values[counts.argmax()]:g}"
    if rows >= 10 * (highest + 1) > 20 * len(values):
        return f"it has {len(values)} different values up to {highest:g}"
    return ""


def _numbers(path: Path, layout: _Layout) -> np.ndarray:
    """Read the label, if there is one, and the pixels in order: (rows, columns) of numbers."""
    for kind in (np.uint8, np.uint16, np.float32):
        try:
            return _parse(path, layout, kind)
        except (ValueError, OverflowError, Warning) as error:
            problem = error
    _raise_first_fault(path, layout)
    form = UNLABELLED if layout.label is None else FORM
    raise UserError(f"{path} cannot be read: {reason(problem)[:120]}; {form}")


def _parse(path: Path, layout: _Layout, kind: type) -> np.ndarray:
    """Parse with NumPy, strictly.

    Raises:
        ValueError, UserWarning: the file is no such table, or holds no numbers of this kind.
    """
    columns = layout.pixels if layout.label is None else [layout.label, *layout.pixels]
    in_order = columns == list(range(layout.count))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an empty table, an integer written as a float
        return np.loadtxt(
            _texts(path, layout),
            dtype=kind,
            delimiter=",",
            quotechar='"',
            comments=None,
            usecols=None if in_order else columns,
            ndmin=2,
        )


def _texts(path: Path, layout: _Layout) -> Iterator[str]:
    """Yield the lines below the header, each with as many columns as the first."""
    for line, text in _lines(path):
        if line > layout.header:
            if (count := text.count(",") + 1) != layout.count:
                raise ValueError(f"{count} columns")
            yield text


def _raise_first_fault(
    path: Path, layout: _Layout, most: int = 65_535, *, whole: bool = False
) -> None:
    """Read line by line to the first fault and raise it; return if there is none.

    A pixel above `most` is a fault, and one with a fraction if they must be `whole`.
    """
    empty = True
    pixels = set(layout.pixels)
    bytes_pass = _BYTES if most >= 255 else frozenset[str]()
    for line, text in _lines(path):
        if line <= layout.header:
            continue
        empty = False
        cells = text.split(",")
        if len(cells) != layout.count:
            raise UserError(f"{path}, line {line}: {len(cells)} columns, expected {layout.count}")
        if bytes_pass.issuperset(cells):  # ten times faster than cell by cell
            continue
        for column, cell in enumerate(map(_bare, cells)):
            label = column == layout.label
            highest, entire = (255, True) if label else (most, whole)
            if (label or column in pixels) and not _holds(cell, highest, entire):
                raise UserError(
                    f"{path}, line {line}, column {column + 1}: {'label' if label else 'pixel'} "
                    f"{_quote(cell)}, expected a whole number from 0 to {min(highest, 255)}"
                )
    if empty:
        form = UNLABELLED if layout.label is None else FORM
        raise UserError(f"{path} has a header but no rows; {form}")


def _holds(cell: str, most: int, whole: bool) -> bool:
    return (
        bool(_NUMBER.fullmatch(cell))
        and 0 <= float(cell) <= most
        and not (whole and float(cell) % 1)
    )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and bare cells of every line that is not empty."""
    for line, text in _lines(path):
        yield line, [_bare(cell) for cell in text.split(",")]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and text of every line that is not empty, with commas between cells.

    A comma inside quotes separates as well: no number has one. Where semicolons or tabs separate,
    commas are decimal points.
    """
    separator = ""
    for line, text in lines(path, remedy=_REMEDY):
        separator = separator or max(",;\t", key=text.count)
        if separator != ",":
            text = text.replace(",", ".").replace(separator, ",")
        yield line, text


def _bare(cell: str) -> str:
    """Remove blanks and quotes around a cell."""
    cell = cell.strip()
    return cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _quote(cell: str) -> str:
    return repr(cell if len(cell) <= 20 else cell[:20] + "…")
