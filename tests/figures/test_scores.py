"""Figures of predictions are drawn for perfect and for useless networks."""

from pathlib import Path

import numpy as np
import pytest

from figures.pixels import is_whole, pixels_of
from perceptune import figures
from perceptune.evaluation import calibrate
from perceptune.figures.pixels import blues

NAMES = [
    list("0123456789"),
    ["T-shirt/top", "ankle boot"],
    [f"letter {n}" for n in range(47)],
    [f"$ a name longer than any other, {n}" for n in range(20)],
]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("most", [1000, 12_345_678])
def test_a_confusion_matrix_is_whole_even_with_an_absent_class(
    tmp_path: Path, names: list[str], most: int
) -> None:
    counts = np.diag(np.arange(len(names)) * most)
    figures.confusion(tmp_path / "confusion.png", counts, names)
    assert is_whole(tmp_path / "confusion.png")


def test_every_cell_of_a_confusion_matrix_stands_in_its_row_and_column(tmp_path: Path) -> None:
    counts = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]])
    figures.confusion(tmp_path / "confusion.png", counts, list("abcd"))
    pixels = pixels_of(tmp_path / "confusion.png")
    frame = (pixels == (0x66, 0x66, 0x66)).all(axis=-1)
    top, bottom = np.flatnonzero(frame.mean(axis=1) > 0.5)
    left, right = np.flatnonzero(frame.mean(axis=0) > 0.5)
    rows, columns = np.nonzero((pixels == blues(np.ones(1))).all(axis=-1))
    quarters = {
        (4 * (row - top) // (bottom - top), 4 * (column - left) // (right - left))
        for row, column in zip(rows, columns, strict=True)
    }
    assert quarters == {(0, 0), (3, 2)}


@pytest.mark.parametrize("names", NAMES)
def test_scores_are_drawn_beside_names_of_any_length(tmp_path: Path, names: list[str]) -> None:
    scores = np.linspace(0, 1, len(names))
    figures.per_class(tmp_path / "per_class.png", scores, scores, scores, names)
    assert is_whole(tmp_path / "per_class.png")


@pytest.mark.parametrize("perfect", [True, False])
def test_calibration_and_classes_are_drawn(tmp_path: Path, perfect: bool) -> None:
    labels = np.arange(40) % 4
    probabilities = np.eye(4)[labels if perfect else 3 - labels]
    figures.calibration(tmp_path / "calibration.png", calibrate(labels, probabilities))
    scores = np.full(4, float(perfect))
    figures.per_class(tmp_path / "per_class.png", scores, scores, scores, list("abcd"))
    assert is_whole(tmp_path / "calibration.png")
    assert is_whole(tmp_path / "per_class.png")
