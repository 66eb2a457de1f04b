"""`perceptune predict MODEL [MODEL …] INPUT [--output FILE] …`: classes of new images.

For several models the mean of their probabilities decides.
"""

import csv
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perceptune import figures, networks
from perceptune.data import pictures
from perceptune.data.decoding import thumbnail
from perceptune.data.files import regular_file
from perceptune.errors import UserError
from perceptune.nn.layout import Array
from perceptune.terminal import Parser
from perceptune.tracking.store import default_uri

_SHOWN = 40  # images in a figure
_HEADERS = (b"ImageId,Label", b"file,Label")  # of our tables


def main(arguments: Sequence[str]) -> None:
    """Read the images, classify them, write a table and a figure.

    Raises:
        UserError: no such model or input, or they do not fit together; after the table, if some
            pictures of a folder could not be read.
    """
    options = _parse(arguments)
    store = options.store or default_uri()
    found = [networks.load(name, store) for name in options.model]
    networks.refuse_mixture(found, options.model)
    shape, classes, pixel_max = (
        found[0].metadata[key] for key in ("shape", "classes", "pixel_max")
    )
    written = all(name.isdigit() for name in classes)
    columns = found[0].metadata.get("columns")
    inputs = pictures.read(options.input, shape, pixel_max, columns, written=written)
    for line in inputs.refused:
        print(f"perceptune: {line}", file=sys.stderr)
    if len(inputs.images):
        probabilities = networks.mean_probabilities(found, inputs.images, pixel_max)
        rows = _rows(inputs, probabilities, classes, every_class=options.probabilities)
        _write(rows, options.output)
        if options.show:
            _show(options.show, inputs, shape, probabilities, classes)
    if inputs.refused:
        total = len(inputs.refused) + len(inputs.images)
        raise UserError(f"{len(inputs.refused):,} of {total:,} pictures have no prediction")


def _parse(arguments: Sequence[str]) -> Any:
    parser = Parser("perceptune predict", description=__doc__)
    parser.add_argument("model", nargs="+", help="a run id, a models:/ URI or an .npz file")
    parser.add_argument("input", type=Path, help="a picture, a folder of pictures, .npy or .csv")
    parser.add_argument("--output", type=Path, help="CSV file to write; standard output by default")
    parser.add_argument("--probabilities", action="store_true", help="a column for each class")
    parser.add_argument(
        "--show",
        type=Path,
        metavar="FILE",
        help=f"PNG file to write: the first {_SHOWN} inputs, what the network sees of each, and "
        "its three best classes",
    )
    parser.add_argument("--store", help="URI of the store; MLFLOW_TRACKING_URI by default")
    options = parser.parse_args(list(arguments))
    if not options.input.exists():
        raise UserError(f"no file or folder {options.input}")
    if options.show and options.show.suffix.lower() != ".png":
        raise UserError(f"--show must be a .png file, got {options.show}")
    _refuse_others("--output", options.output, lambda head: head.startswith(_HEADERS))
    _refuse_others("--show", options.show, lambda head: figures.MAKER.encode() in head)
    return options


def _refuse_others(option: str, path: Path | None, is_ours: Callable[[bytes], bool]) -> None:
    """Refuse to replace a file that no earlier command of ours has written."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise UserError(f"{option}: no folder {path.parent}")
    if path.exists():
        regular_file(path, remedy=f"choose another name for {option}")
        with path.open("rb") as file:
            head = file.read(1024)
        if head and not is_ours(head):
            raise UserError(
                f"{option}: {path} was not written by this command; choose another name, or "
                "remove it"
            )


def _rows(
    inputs: pictures.Pictures, probabilities: Array, classes: Sequence[str], *, every_class: bool
) -> list[list[Any]]:
    """A header and a row per image; images of a table are numbered from 1, as Kaggle does."""
    numbered = inputs.files is None
    header = ["ImageId" if numbered else "file", "Label"]
    if not numbered or every_class:
        header.append("probability")
    if every_class:
        header += [f"p_{name}" for name in classes]
    best, highest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    rows: list[list[Any]] = [header]
    for position in range(len(probabilities)):
        name = position + 1 if inputs.files is None else inputs.files[position].name
        row: list[Any] = [name, classes[best[position]]]
        if len(header) > 2:
            row.append(f"{highest[position]:.4f}")
        if every_class:
            row += [f"{probability:.6f}" for probability in probabilities[position]]
        rows.append(row)
    return rows


def _write(rows: list[list[Any]], output: Path | None) -> None:
    """Write the table to `output`, or to standard output."""
    if output is None:
        try:
            csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
            sys.stdout.flush()
        except BrokenPipeError:  # as by `| head`; keeps the flush at exit from failing again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    with _replacing(output) as partial, partial.open("w", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    print(f"{len(rows) - 1:,} predictions in {output}")


def _show(
    path: Path,
    inputs: pictures.Pictures,
    shape: Sequence[int],
    probabilities: Array,
    classes: Sequence[str],
) -> None:
    """Draw the first inputs as they were read, as the network sees them, and what it predicts."""
    images = inputs.images[:_SHOWN].reshape(-1, *shape)
    best = [
        [(classes[index], float(row[index])) for index in row.argsort()[::-1][:3]]
        for row in probabilities[:_SHOWN]
    ]
    if inputs.files is None:
        names, originals = [f"row {n}" for n in range(1, len(images) + 1)], list(images)
    else:
        files = inputs.files[:_SHOWN]
        names, originals = [file.name for file in files], [thumbnail(file) for file in files]
    with _replacing(path) as partial:
        figures.predictions(partial, names, originals, images, best)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A name to write to; what is there at the end replaces `path`, whole or not at all."""
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
