"""Inputs of every form are drawn beside what the network sees."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from figures.pixels import is_whole
from perceptune import figures


@pytest.mark.parametrize("count", [1, 3, 40])
def test_any_number_of_inputs_is_whole_with_names_and_classes(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    sizes = [(8, 8), (50, 20, 3), (20, 200, 3)]
    originals = [rng.integers(0, 256, sizes[n % 3], np.uint8) for n in range(count)]
    images = rng.integers(0, 16, (count, 8, 8), np.uint8)
    best = [[("T-shirt/top", 0.6), ("7 $", 0.3), ("1", 0.1)]] * count
    path = tmp_path / "figure.png"
    figures.predictions(path, ["a long name $x.png"] * count, originals, images, best)
    assert is_whole(path)
    with Image.open(path) as figure:
        assert figure.info["Software"] == figures.MAKER
