"""Figures of trainings are drawn from whatever was measured."""

from pathlib import Path

import numpy as np
import pytest

from figures.pixels import is_whole
from perceptune import figures


@pytest.mark.parametrize("validated", [True, False])
def test_curves_are_drawn_with_and_without_validation(tmp_path: Path, validated: bool) -> None:
    history = [
        {"epoch": n, "train/loss": 1 / n, "train/accuracy": 1 - 0.5 / n}
        | ({"val/loss": 1.1 / n, "val/accuracy": 1 - 0.6 / n} if validated else {})
        for n in range(1, 9)
    ]
    figures.curves(tmp_path / "curves.png", history, best=7)
    assert is_whole(tmp_path / "curves.png")


@pytest.mark.parametrize("validated", [True, False])
def test_the_curves_of_seeds_are_drawn_even_if_one_stopped_early(
    tmp_path: Path, validated: bool
) -> None:
    histories = [
        [
            {"epoch": n, "train/loss": seed / n, "train/accuracy": 1 - 0.5 / n}
            | ({"val/loss": seed / n, "val/accuracy": 1 - seed / 10} if validated else {})
            for n in range(1, 9 - seed)
        ]
        for seed in range(1, 4)
    ]
    figures.seeds(tmp_path / "seeds.png", histories)
    assert is_whole(tmp_path / "seeds.png")


@pytest.mark.parametrize("layers", [1, 4])
def test_histograms_are_drawn_of_dead_units_as_well(tmp_path: Path, layers: int) -> None:
    alive = np.random.default_rng(0).normal(size=(50, 4))
    dead = np.zeros((50, 4))
    figures.activations(tmp_path / "activations.png", [alive, dead] * layers, [dead] * 2 * layers)
    assert is_whole(tmp_path / "activations.png")
