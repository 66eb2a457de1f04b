"""Grids of images are drawn of any number of them, and their captions stay apart."""

from pathlib import Path

import numpy as np
import pytest

from figures.pixels import is_whole, pixels_of
from perceptune import figures
from perceptune.data.idx import FASHION_MNIST
from perceptune.figures.pixels import signed
from perceptune.runs.results import captions_of


@pytest.mark.parametrize("count", [0, 1, 17])
def test_a_gallery_is_whole_of_any_number_of_samples(tmp_path: Path, count: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (count, 28, 28))
    captions = [f"{n}\nline" for n in range(count)]
    right = np.arange(count) % 2 == 0
    path = tmp_path / "gallery.png"
    figures.gallery(path, images, captions, right, title="some", columns=8)
    assert is_whole(path)


@pytest.mark.parametrize(
    "names", [FASHION_MNIST.classes, tuple("0123456789"), tuple("a much longer name" for _ in "ab")]
)
def test_no_caption_of_a_gallery_runs_into_the_next(tmp_path: Path, names: tuple[str, ...]) -> None:
    true, guess = (pair.ravel() for pair in np.meshgrid(range(len(names)), range(len(names))))
    captions = captions_of(names, true, guess, np.ones(len(true)))
    widest = max(captions, key=lambda caption: max(map(len, caption.split("\n"))))
    path = tmp_path / "gallery.png"
    figures.gallery(path, np.ones((4, 8, 8)), [widest] * 4, np.ones(4, bool), title="", columns=2)
    assert is_whole(path)
    pixels = pixels_of(path)
    assert (pixels[:, pixels.shape[1] // 2] == 255).all()  # between both columns


def test_every_image_of_a_wall_stands_in_its_place(tmp_path: Path) -> None:
    """Each unit has a colour of its own, which fills one square."""
    values = np.linspace(-1, 1, 14)  # without 0, a grey that captions have as well
    weights = np.full((14, 8, 8), values[:, None, None])
    figures.tiles(tmp_path / "weights.png", weights, [f"unit {n}" for n in range(14)], title="all")
    pixels = pixels_of(tmp_path / "weights.png")
    corners = []
    for colour in signed(values, np.percentile(np.abs(weights), 99.5)):
        rows, columns = np.nonzero((pixels == colour).all(axis=-1))
        assert len(rows) == 112**2
        assert rows.max() - rows.min() == columns.max() - columns.min() == 111
        corners.append((int(rows.min()), int(columns.min())))
    assert corners == sorted(corners)
    assert len({row for row, _ in corners}) == 2
    assert len({column for _, column in corners}) == 8


def test_a_title_longer_than_the_wall_is_shown_whole(tmp_path: Path) -> None:
    figures.tiles(tmp_path / "weights.png", np.ones((1, 8, 8)), ["unit 0"], title="long " * 20)
    assert is_whole(tmp_path / "weights.png")


@pytest.mark.parametrize("weights", [np.ones((3, 2, 2)), np.zeros((64, 8, 8))])
def test_weights_are_drawn_even_when_all_are_zero(tmp_path: Path, weights: np.ndarray) -> None:
    captions = [str(n) for n in range(len(weights))]
    figures.tiles(tmp_path / "weights.png", weights, captions, title="weights")
    assert is_whole(tmp_path / "weights.png")
