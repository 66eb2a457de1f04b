"""Pictures are written, whole, and without touching matplotlib's global state."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perceptune import exhibits, figures
from perceptune.data.idx import FASHION_MNIST
from perceptune.evaluation import calibrate
from perceptune.figures import studies
from perceptune.figures.studies import Scale


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


@pytest.mark.parametrize("names", [FASHION_MNIST.classes, tuple("0123456789")])
def test_no_caption_of_a_gallery_runs_into_the_next(names: tuple[str, ...]) -> None:
    from matplotlib.textpath import TextPath

    true, guess = (pair.ravel() for pair in np.meshgrid(range(10), range(10)))
    captions = exhibits.captions(names, true, guess, np.ones(100))
    lines = {line for caption in captions for line in caption.splitlines()}
    widest = max(TextPath((0, 0), line, size=9).get_extents().width for line in lines)
    assert widest < 72 * 1.15  # points from one image of `_wall` to the next


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


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("maximize", [True, False])
def test_a_study_is_drawn_from_any_number_of_trials(
    tmp_path: Path, count: int, maximize: bool
) -> None:
    rng = np.random.default_rng(0)
    values = rng.random(count)
    scales = [Scale("lr", log=True, low=0.1), Scale("init", ["he", "xavier"]), Scale("momentum")]
    momentum = np.where(rng.random(count) < 0.5, np.nan, 0.9)  # a parameter that some have
    places = [10 ** -rng.random(count), rng.integers(0, 2, count).astype(float), momentum]
    sides = {"maximize": maximize, "label": "value"}
    numbered = dict(enumerate(values))
    curve = dict(enumerate(values, start=1))
    studies.history(tmp_path / "history.png", numbered, {count: 0.5}, **sides)
    studies.slices(tmp_path / "slices.png", scales, places, values, **sides)
    studies.parallel(tmp_path / "parallel.png", scales, places, values, **sides)
    studies.learning(tmp_path / "learning.png", [curve], [{1: 0.1}], curve, **sides)
    studies.race(tmp_path / "race.png", {"one": (np.arange(count), values)}, **sides)
    studies.importances(tmp_path / "bars.png", ["lr"], np.ones(1), np.zeros(1))
    pair = np.column_stack([values, 100 * values])
    studies.front(tmp_path / "front.png", pair, pair[:1], ["accuracy", "size"])
    studies.scores(tmp_path / "scores.png", ["ann"], [values], "accuracy")
    pictures = list(tmp_path.glob("*.png"))
    assert len(pictures) == 8
    assert all(map(_drawn, pictures))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_end_of_every_study_of_a_race_is_in_the_picture(sign: int) -> None:
    quick = sign * np.array([0.1, *[0.9858] * 40])  # whose median is its end
    low, high = studies._window(
        np.append(quick, sign * 0.984), sign > 0, sign * np.array([0.9858, 0.984])
    )
    assert low < sign * 0.984 < high
    assert low < sign * 0.9858 < high
    assert high - low < 0.01
