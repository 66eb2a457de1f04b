"""The common style is used for our figures alone."""

from pathlib import Path

import numpy as np

from perceptune import figures


def test_the_user_s_own_style_is_left_alone(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.confusion(tmp_path / "confusion.png", np.eye(2, dtype=int), ["a", "b"])
    assert dict(mpl.rcParams) == before
