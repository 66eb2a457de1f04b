"""The digit is found in every kind of photograph; what shows none or several is said."""

from pathlib import Path

import numpy as np
import photographs
import pytest
from PIL import Image, ImageDraw
from specs import spec

from perceptune.data import sources
from perceptune.data.pictures import picture, read
from perceptune.errors import UserError
from perceptune.nn.checkpoint import load_network
from support import run

SHAPE = (28, 28)
GLYPHS = {  # strokes in a square of side 100
    "2": [[(32, 32), (45, 20), (62, 26), (62, 42), (34, 78), (68, 76)]],
    "4": [[(40, 20), (32, 52), (68, 54)], [(60, 24), (58, 80)]],
    "5": [[(64, 24), (40, 24), (38, 46), (58, 46), (64, 60), (54, 76), (34, 74)]],
    "8": [
        [(50, 48), (38, 34), (50, 20), (62, 34), (50, 48), (36, 64), (50, 80), (64, 64), (50, 48)]
    ],
}
EMPTY = np.zeros(SHAPE, np.uint8)


def _glyph(name: str) -> np.ndarray:
    """A digit in MNIST's form, (28, 28) uint8."""
    image = Image.new("L", (560, 560))
    draw = ImageDraw.Draw(image)
    for stroke in GLYPHS[name]:
        points = [(5.6 * x, 5.6 * y) for x, y in stroke]
        draw.line(points, fill=255, width=44, joint="curve")
        for x, y in points:
            draw.ellipse((x - 22, y - 22, x + 22, y + 22), fill=255)
    return np.asarray(image.resize(SHAPE, Image.Resampling.BOX))


def _seen(path: Path) -> np.ndarray:
    return picture(path, SHAPE, 255, written=True).astype(float)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What the network sees of each glyph on clean paper."""
    folder, rng = tmp_path_factory.mktemp("plain"), np.random.default_rng(0)
    return {
        name: _seen(photographs.save(photographs.plain(_glyph(name), rng), folder, name))
        for name in GLYPHS
    }


@pytest.mark.parametrize("kind", photographs.KINDS)
def test_the_network_sees_the_digit_of_every_kind_of_photograph(
    tmp_path: Path, kind: str, plain: dict[str, np.ndarray]
) -> None:
    rng = np.random.default_rng(5)
    for name in rng.permutation(list(GLYPHS))[: 1 if kind == "phone" else 2]:
        made = photographs.KINDS[kind](_glyph(name), rng)
        seen = _seen(photographs.save(made, tmp_path, name))
        likeness = {other: np.corrcoef(plain[other], seen)[0, 1] for other in GLYPHS}
        assert max(likeness, key=likeness.__getitem__) == name
        assert likeness[name] > 0.6  # a thin pen and a turn cost a third


@pytest.mark.parametrize("kind", sorted(photographs.KINDS.keys() - {"phone"}))
def test_an_empty_sheet_is_given_no_digit(tmp_path: Path, kind: str) -> None:
    made = photographs.KINDS[kind](EMPTY, np.random.default_rng(1))
    path = photographs.save(made, tmp_path, "empty")
    with pytest.raises(UserError, match=r"empty\.\w+ shows no digit"):
        picture(path, SHAPE, 255, written=True)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (28, 28), (300, 400)])
@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("noise", [0, 8])
def test_a_sheet_of_one_colour_is_given_no_digit(
    tmp_path: Path, size: tuple[int, int], value: int, noise: int
) -> None:
    noisy = value + np.random.default_rng(0).normal(0, noise, size)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="shows no digit"):
        picture(tmp_path / "a.png", SHAPE, 255, written=True)


@pytest.mark.parametrize("names", ["24", "858", "2452"])
def test_several_digits_are_said(tmp_path: Path, names: str) -> None:
    row = np.concatenate([np.repeat(_glyph(name)[:, 5:23], 6, 0).repeat(6, 1) for name in names], 1)
    Image.fromarray(255 - np.pad(row, 30)).save(tmp_path / "row.png")
    with pytest.raises(UserError, match=r"row\.png shows \d digits or more; cut out one"):
        picture(tmp_path / "row.png", SHAPE, 255, written=True)


def test_a_folder_is_answered_but_for_what_cannot_be(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photographs.save(photographs.fall_off(_glyph("2"), rng), tmp_path, "a")
    photographs.save(photographs.fall_off(EMPTY, rng), tmp_path, "b")
    (tmp_path / "c.png").write_bytes(b"hello")
    photographs.save(photographs.dusty(_glyph("5"), rng), tmp_path, "d")
    found = read(tmp_path, SHAPE, 255)
    assert [file.name for file in found.files or []] == ["a.jpg", "d.jpg"]
    assert found.images.shape == (2, 784)
    assert ["b.jpg" in found.refused[0], "c.png" in found.refused[1]] == [True, True]


@pytest.mark.slow
def test_the_default_network_reads_photographs_of_real_digits(
    mnist_folder: Path, tmp_path: Path
) -> None:
    """Ten of each kind, of test digits that the network knows from MNIST itself."""
    run(tmp_path, "data=mnist", f"data.dir={mnist_folder}", "tracking.enabled=false")
    saved = load_network(tmp_path / "output" / "weights" / "best.npz")

    def classes(images: np.ndarray) -> np.ndarray:
        return saved.network.probabilities(saved.theta, images).argmax(axis=1)

    mnist = sources.load(spec("mnist", dir=mnist_folder))
    images, labels = mnist.test_images, mnist.test_labels
    assert images is not None
    assert labels is not None
    known = classes(images) == labels
    assert known.mean() > 0.97
    rng = np.random.default_rng(0)
    hits = {}
    for kind, draw in photographs.KINDS.items():
        rows = [rng.choice(np.flatnonzero(known & (labels == digit))) for digit in range(10)]
        folder = tmp_path / kind
        folder.mkdir()
        for digit, row in enumerate(rows):
            photographs.save(draw(images[row].reshape(SHAPE), rng), folder, str(digit))
        found = read(folder, SHAPE, 255)
        expected = [int(file.stem) for file in found.files or []]
        hits[kind] = int((classes(found.images) == expected).sum())
    assert len(hits) >= 13
    assert sum(hits.values()) >= 0.95 * 10 * len(hits), hits
    assert min(hits.values()) >= 8, hits
