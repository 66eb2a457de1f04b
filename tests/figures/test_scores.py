"""Figures of predictions are drawn for perfect and for useless networks."""

from pathlib import Path

import numpy as np
import pytest

from figures.pixels import is_drawn
from perceptune import figures
from perceptune.evaluation import calibrate


@pytest.mark.parametrize("names", [list("0123456789"), ["T-shirt/top", "ankle boot"]])
def test_a_confusion_matrix_is_drawn_even_with_an_absent_class(
    tmp_path: Path, names: list[str]
) -> None:
    counts = np.diag(np.arange(len(names)) * 1000)
    figures.confusion(tmp_path / "confusion.png", counts, names)
    assert is_drawn(tmp_path / "confusion.png")


@pytest.mark.parametrize("perfect", [True, False])
def test_calibration_and_classes_are_drawn(tmp_path: Path, perfect: bool) -> None:
    labels = np.arange(40) % 4
    probabilities = np.eye(4)[labels if perfect else 3 - labels]
    figures.calibration(tmp_path / "calibration.png", calibrate(labels, probabilities))
    scores = np.full(4, float(perfect))
    figures.per_class(tmp_path / "per_class.png", scores, scores, scores, list("abcd"))
    assert is_drawn(tmp_path / "calibration.png")
    assert is_drawn(tmp_path / "per_class.png")
