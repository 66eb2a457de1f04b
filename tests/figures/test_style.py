"""The common style is used for our figures alone."""

from pathlib import Path

import numpy as np
import pytest

from figures.pixels import is_whole
from perceptune import figures
from perceptune.figures import style


def test_the_user_s_own_style_is_left_alone(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.per_class(tmp_path / "per_class.png", *np.eye(3), ["a", "b", "c"])
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("limits", "ticks"),
    [
        ((0.05, 0.6), [0.05, 0.1, 0.2, 0.5]),
        ((0.0005, 20), [0.001, 0.01, 0.1, 1, 10]),
        ((1e-9, 1e3), [1e-9, 1e-7, 1e-5, 1e-3, 0.1, 10]),
        ((2.3, 2.3101), [2.3, 2.302, 2.304, 2.306, 2.308, 2.31]),
    ],
)
def test_a_logarithmic_axis_has_few_round_ticks(
    limits: tuple[float, float], ticks: list[float]
) -> None:
    assert style._log_ticks(*limits, most=7) == pytest.approx(ticks)


@pytest.mark.parametrize("limits", [(1e-300, 1e300), (0.9, 1.1), (3, 30), (5e-324, 1e-320)])
@pytest.mark.parametrize("most", [4, 7])
def test_a_logarithmic_axis_never_has_too_many_ticks(
    limits: tuple[float, float], most: int
) -> None:
    ticks = style._log_ticks(*limits, most)
    assert 2 <= len(ticks) <= most
    assert limits[0] <= min(ticks) <= max(ticks) <= limits[1]


@pytest.mark.parametrize("losses", [[1e-30, 1e30], [2.3, 2.3], [0.5, 0.0]])
def test_any_losses_have_an_axis(tmp_path: Path, losses: list[float]) -> None:
    history = [
        {"epoch": n, "train/loss": loss, "train/accuracy": 1.0} for n, loss in enumerate(losses)
    ]
    figures.curves(tmp_path / "curves.png", history, best=1)
    assert is_whole(tmp_path / "curves.png")
