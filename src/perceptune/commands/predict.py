"""`perceptune predict MODEL INPUT [--output FILE] [--probabilities]`: classes of new images."""

import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from perceptune import networks
from perceptune.data import pictures
from perceptune.errors import UserError
from perceptune.nn.layout import Array
from perceptune.terminal import Parser
from perceptune.tracking.store import default_uri


def main(arguments: Sequence[str]) -> None:
    """Read the images, classify them, write a table.

    Raises:
        UserError: no such model or input, or they do not fit together.
    """
    parser = Parser("perceptune predict", description=__doc__)
    parser.add_argument("model", help="a run id, a models:/ URI or an .npz file")
    parser.add_argument("input", type=Path, help="a picture, a folder of pictures, .npy or .csv")
    parser.add_argument("--output", type=Path, help="CSV file to write; standard output by default")
    parser.add_argument("--probabilities", action="store_true", help="a column for each class")
    parser.add_argument("--store", help="URI of the store; MLFLOW_TRACKING_URI by default")
    options = parser.parse_args(list(arguments))
    if not options.input.exists():
        raise UserError(f"no file or folder {options.input}")
    if options.output and not options.output.parent.is_dir():
        raise UserError(f"--output: no folder {options.output.parent}")
    store = options.store or default_uri()
    network = networks.load(options.model, store)
    metadata = network.metadata
    shape, pixel_max = tuple(metadata["shape"]), metadata["pixel_max"]
    found = pictures.read(options.input, shape, pixel_max, metadata.get("columns"))
    probabilities = networks.mean_probabilities([network], found.images, pixel_max)
    rows = _rows(found, probabilities, metadata["classes"], every_class=options.probabilities)
    _write(rows, options.output)


def _rows(
    found: pictures.Pictures, probabilities: Array, classes: Sequence[str], *, every_class: bool
) -> list[list[Any]]:
    """A header and a row per image; images of a table are numbered from 1, as Kaggle does."""
    numbered = found.names is None
    header = ["ImageId" if numbered else "file", "Label"]
    if not numbered or every_class:
        header.append("probability")
    if every_class:
        header += [f"p_{name}" for name in classes]
    best, highest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    rows: list[list[Any]] = [header]
    for position in range(len(probabilities)):
        name = position + 1 if found.names is None else found.names[position]
        row: list[Any] = [name, classes[best[position]]]
        if len(header) > 2:
            row.append(f"{highest[position]:.4f}")
        if every_class:
            row += [f"{probability:.6f}" for probability in probabilities[position]]
        rows.append(row)
    return rows


def _write(rows: list[list[Any]], output: Path | None) -> None:
    """Write the table to `output` atomically, or to standard output."""

    def put(file: TextIO) -> None:
        csv.writer(file, lineterminator="\n").writerows(rows)

    if output is None:
        try:
            put(sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # as by `| head`; keeps the flush at exit from failing again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as file:
            put(file)
        partial.replace(output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    print(f"{len(rows) - 1:,} predictions in {output}")
