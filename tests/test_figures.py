"""Pictures are written, whole, and without touching matplotlib's global state."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perceptune import figures


def _drawn(path: Path) -> bool:
    """Whether the picture holds more than one colour."""
    with Image.open(path) as picture:
        return len(picture.convert("RGB").getcolors(1_000_000) or [0, 0]) > 5


@pytest.mark.parametrize("validated", [True, False])
def test_curves_are_drawn_with_and_without_validation(tmp_path: Path, validated: bool) -> None:
    history = [
        {"epoch": n, "train/loss": 1 / n, "train/accuracy": 1 - 0.5 / n}
        | ({"val/loss": 1.1 / n, "val/accuracy": 1 - 0.6 / n} if validated else {})
        for n in range(1, 9)
    ]
    figures.curves(tmp_path / "curves.png", history, best=7)
    assert _drawn(tmp_path / "curves.png")


@pytest.mark.parametrize("names", [list("0123456789"), ["T-shirt/top", "ankle boot"]])
def test_a_confusion_matrix_is_drawn_even_with_an_absent_class(
    tmp_path: Path, names: list[str]
) -> None:
    counts = np.diag(np.arange(len(names)) * 1000)
    figures.confusion(tmp_path / "confusion.png", counts, names)
    assert _drawn(tmp_path / "confusion.png")


def test_the_user_s_own_style_is_left_alone(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.confusion(tmp_path / "confusion.png", np.eye(2, dtype=int), ["a", "b"])
    assert dict(mpl.rcParams) == before
