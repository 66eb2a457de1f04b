"""Grids of images are drawn of any number of them, and their captions stay apart."""

from pathlib import Path

import numpy as np
import pytest

from figures.pixels import is_drawn
from perceptune import figures
from perceptune.data.idx import FASHION_MNIST
from perceptune.runs.results import captions_of


@pytest.mark.parametrize("count", [0, 1, 17])
def test_a_gallery_is_drawn_of_any_number_of_samples(tmp_path: Path, count: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (count, 28, 28))
    captions = [f"{n}\nline" for n in range(count)]
    right = np.arange(count) % 2 == 0
    path = tmp_path / "gallery.png"
    figures.gallery(path, images, captions, right, title="some", columns=8)
    assert is_drawn(path)


@pytest.mark.parametrize("names", [FASHION_MNIST.classes, tuple("0123456789")])
def test_no_caption_of_a_gallery_runs_into_the_next(names: tuple[str, ...]) -> None:
    from matplotlib.textpath import TextPath

    true, guess = (pair.ravel() for pair in np.meshgrid(range(10), range(10)))
    captions = captions_of(names, true, guess, np.ones(100))
    lines = {line for caption in captions for line in caption.splitlines()}
    widest = max(TextPath((0, 0), line, size=9).get_extents().width for line in lines)
    assert widest < 72 * 1.15  # points from one image of `_grid` to the next


@pytest.mark.parametrize("weights", [np.ones((3, 2, 2)), np.zeros((64, 8, 8))])
def test_weights_are_drawn_even_when_all_are_zero(tmp_path: Path, weights: np.ndarray) -> None:
    captions = [str(n) for n in range(len(weights))]
    figures.tiles(tmp_path / "weights.png", weights, captions, title="weights")
    assert is_drawn(tmp_path / "weights.png")
