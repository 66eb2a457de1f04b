"""The figure of a comparison is drawn with and without validation."""

from pathlib import Path

import pytest

from figures.pixels import is_drawn
from perceptune import figures
from perceptune.figures.comparison import Curve


@pytest.mark.parametrize("validated", [True, False])
def test_a_comparison_is_drawn_of_any_number_of_backends(tmp_path: Path, validated: bool) -> None:
    accuracy = 0.9 if validated else None
    curves = {
        f"backend {n}": Curve(n, [(1 / epoch, accuracy, 0.5) for epoch in range(1, 4)])
        for n in range(9)  # one more than there are colours
    }
    figures.comparison(tmp_path / "comparison.png", curves)
    assert is_drawn(tmp_path / "comparison.png")
    assert curves["backend 2"].clock == [2.5, 3.0, 3.5]
