"""The figure of a comparison is drawn with and without validation."""

from pathlib import Path

import pytest

from figures.pixels import is_whole
from perceptune import figures
from perceptune.figures.comparison import clock


@pytest.mark.parametrize("validated", [True, False])
def test_a_comparison_is_whole_of_any_number_of_backends(tmp_path: Path, validated: bool) -> None:
    accuracy = {"val/accuracy": 0.9} if validated else {}
    history = [
        {"epoch": epoch, "train/loss": 1 / epoch, "epoch_seconds": 0.5, **accuracy}
        for epoch in range(1, 4)
    ]
    names = [f"backend {n}" for n in range(9)]  # one more than there are colours
    startups = {name: float(n) for n, name in enumerate(names)}
    path = tmp_path / "comparison.png"
    figures.comparison(path, dict.fromkeys(names, history), startups)
    assert is_whole(path)
    assert clock(history, startups["backend 2"]) == [2.5, 3.0, 3.5]
