"""Pictures are written, whole, and without touching matplotlib's global state."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perceptune import figures
from perceptune.evaluation import calibrate


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


@pytest.mark.parametrize("count", [0, 1, 17])
def test_a_gallery_is_drawn_of_any_number_of_samples(tmp_path: Path, count: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (count, 28, 28))
    captions = [f"{n}\nline" for n in range(count)]
    right = np.arange(count) % 2 == 0
    picture = tmp_path / "gallery.png"
    figures.gallery(picture, images, captions, right, title="some", columns=8)
    assert _drawn(picture)


@pytest.mark.parametrize("weights", [np.ones((3, 2, 2)), np.zeros((64, 8, 8))])
def test_weights_are_drawn_even_when_all_are_zero(tmp_path: Path, weights: np.ndarray) -> None:
    captions = [str(n) for n in range(len(weights))]
    figures.tiles(tmp_path / "weights.png", weights, captions, title="weights")
    assert _drawn(tmp_path / "weights.png")


@pytest.mark.parametrize("perfect", [True, False])
def test_calibration_and_classes_are_drawn(tmp_path: Path, perfect: bool) -> None:
    labels = np.arange(40) % 4
    shares = np.eye(4)[labels if perfect else 3 - labels]
    figures.calibration(tmp_path / "calibration.png", calibrate(labels, shares))
    scores = np.full(4, float(perfect))
    figures.per_class(tmp_path / "per_class.png", scores, scores, scores, list("abcd"))
    assert _drawn(tmp_path / "calibration.png")
    assert _drawn(tmp_path / "per_class.png")


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
    assert _drawn(tmp_path / "seeds.png")


def test_histograms_are_drawn_of_dead_units_as_well(tmp_path: Path) -> None:
    alive = np.random.default_rng(0).normal(size=(50, 4))
    dead = np.zeros((50, 4))
    figures.activations(tmp_path / "activations.png", [alive, dead], [dead, dead])
    assert _drawn(tmp_path / "activations.png")


def test_the_user_s_own_style_is_left_alone(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.confusion(tmp_path / "confusion.png", np.eye(2, dtype=int), ["a", "b"])
    assert dict(mpl.rcParams) == before
