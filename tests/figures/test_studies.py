"""Figures of several studies or configurations show what a reader would compare."""

from pathlib import Path

import numpy as np
import pytest

from figures.pixels import is_whole
from perceptune.figures import studies


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("maximize", [True, False])
def test_races_and_scores_are_drawn_of_any_number_of_values(
    tmp_path: Path, count: int, maximize: bool
) -> None:
    values = np.random.default_rng(0).random(count)
    courses = {"one, with a name as long as a sentence": (np.arange(count), values)}
    studies.race(tmp_path / "race.png", courses, maximize=maximize, label="value")
    studies.scores(
        tmp_path / "scores.png", ["a name as long as a sentence $"], [values], "accuracy"
    )
    assert is_whole(tmp_path / "race.png")
    assert is_whole(tmp_path / "scores.png")


@pytest.mark.parametrize("sign", [1, -1])
def test_the_end_of_every_study_of_a_race_is_in_the_figure(sign: int) -> None:
    quick = sign * np.array([0.1, *[0.9858] * 40])  # whose median is its end
    low, high = studies._window([quick, sign * np.array([0.984])], sign > 0)
    assert low < sign * 0.984 < high
    assert low < sign * 0.9858 < high
    assert high - low < 0.01
