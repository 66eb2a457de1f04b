"""Users' pictures become images in the form of a data set; anything else is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from perceptune.data.pictures import read
from perceptune.errors import UserError

SHAPE = (28, 28)


def _drawing(
    size: tuple[int, int] = (120, 90), at: tuple[int, int] = (20, 15), light: bool = False
) -> Image.Image:
    """A thick L, dark on light unless `light`."""
    paper, ink = (5, 250) if light else (250, 5)
    picture = Image.new("L", size, paper)
    draw = ImageDraw.Draw(picture)
    left, top = at
    draw.rectangle((left, top, left + 10, top + 50), fill=ink)
    draw.rectangle((left, top + 40, left + 30, top + 50), fill=ink)
    return picture


def _read(path: Path, picture: Image.Image) -> np.ndarray:
    picture.save(path)
    return read(path, SHAPE, 255).images[0].reshape(SHAPE)


def test_size_place_and_polarity_of_a_drawing_make_no_difference(tmp_path: Path) -> None:
    plain = _read(tmp_path / "a.png", _drawing()).astype(int)
    np.testing.assert_array_equal(plain, _read(tmp_path / "b.png", _drawing(light=True)))
    others = [
        _drawing(size=(200, 300), at=(120, 200)),
        _drawing().resize((480, 360), Image.Resampling.NEAREST),
        _drawing().resize((4800, 3600), Image.Resampling.NEAREST),
    ]
    for other in others:  # only the edges differ, by the rounding of resampling
        assert np.abs(plain - _read(tmp_path / "c.png", other)).mean() < 8


def test_a_digit_fits_mnists_box_with_its_mass_in_the_middle(tmp_path: Path) -> None:
    image = _read(tmp_path / "a.png", _drawing()).astype(float)
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    mass = image.sum()
    for axis in (0, 1):
        centre = (image.sum(axis=1 - axis) @ np.arange(28)) / mass
        assert abs(centre - 13.5) <= 0.5
    assert (image.min(), image.max()) == (0, 255)


def test_transparency_and_colour_are_converted(tmp_path: Path) -> None:
    ink = _drawing()
    clear = Image.new("RGBA", ink.size, (0, 0, 160, 0))
    clear.putalpha(ink.point(lambda value: 255 - value if value < 128 else 0))
    clear.save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", SHAPE, 255).images[0].reshape(SHAPE)
    plain = _read(tmp_path / "b.png", _drawing())
    assert np.abs(plain.astype(int) - image).mean() < 4


@pytest.mark.parametrize("dark_on_light", [False, True])
def test_an_image_of_mnists_form_is_left_as_it_is(tmp_path: Path, dark_on_light: bool) -> None:
    image = np.zeros(SHAPE, np.uint8)
    image[4:24, 10:18] = np.random.default_rng(0).integers(100, 256, (20, 8))
    picture = Image.fromarray(255 - image if dark_on_light else image)
    np.testing.assert_array_equal(_read(tmp_path / "a.png", picture), image)


def test_an_image_of_the_right_size_is_centred_where_it_is_not(tmp_path: Path) -> None:
    image = np.zeros(SHAPE, np.uint8)
    image[3:17, 4:9] = 255
    rows, columns = np.nonzero(_read(tmp_path / "a.png", Image.fromarray(image)))
    assert abs(rows.mean() - 13.5) <= 0.5
    assert abs(columns.mean() - 13.5) <= 0.5
    assert np.ptp(rows) + 1 == 20


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "notes.txt"):
        _drawing().save(tmp_path / name, format="png")
    found = read(tmp_path, SHAPE, 255)
    assert [file.name for file in found.files or []] == ["a.jpg", "b.png"]
    assert found.images.shape == (2, 784)


@pytest.mark.parametrize("header", [True, False])
def test_kaggles_table_is_read_with_and_without_header(tmp_path: Path, header: bool) -> None:
    pixels = np.arange(12).reshape(3, 4)
    text = "pixel0,pixel1,pixel2,pixel3\n" if header else ""
    text += "".join(",".join(map(str, row)) + "\n" for row in pixels)
    (tmp_path / "test.csv").write_text(text)
    found = read(tmp_path / "test.csv", (2, 2), 16)
    assert found.files is None
    np.testing.assert_array_equal(found.images, pixels)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.png", b"hello", "is not a picture"),
        ("a.xyz", b"hello", "is not a picture"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"1,2\n", "has 2 columns, expected 4"),
        ("a.csv", b"pixel0,pixel1,pixel2,pixel3\n", "has a header but no rows; expected pixel0"),
        ("a.csv", b"1,2,3,4\n1,2,3\n", "line 2: 3 columns, expected 4"),
        ("a.csv", b"a,b,c,d\n1,2,3,4\n300,2,3,4\n", "line 3, column 1: pixel '300'"),
        ("a.csv", b"1,2,3,1.5\n", "line 1, column 4: pixel '1.5'"),
        (
            "a.csv",
            b"1,2,3,17\n",
            "line 1, column 4: pixel '17', expected a whole number from 0 to 16",
        ),
        ("a.csv", b"1,2,3,-1\n", "pixel '-1'"),
        ("a.csv", b"label,1,2,3,4\n5,1,2,3,4\n", "column 'label'"),
        ("a.npy", b"hello", "is not an array"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=complaint) as refusal:
        read(tmp_path / name, (2, 2), 16)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 5)),
        np.zeros((0, 4)),
        np.zeros(5),
        np.full((1, 4), 17),
        np.full((1, 4), np.nan),
        np.full((1, 4), 0.5),  # scaled to 0 … 1, which would round to black
        -np.ones(4),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError):
        read(tmp_path / "a.npy", (2, 2), 16)


def test_one_image_is_enough_and_fractions_are_kept(tmp_path: Path) -> None:
    for array in (np.array([1, 2.6, 3.4, 16]), np.array([[1, 2.6], [3.4, 16]])):
        np.save(tmp_path / "a.npy", array)
        found = read(tmp_path / "a.npy", (2, 2), 16).images
        np.testing.assert_array_equal(found, np.float32([[1, 2.6, 3.4, 16]]))


def test_a_pickle_in_an_array_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="is not an array"):
        read(tmp_path / "a.npy", (2, 2), 16)


def test_an_empty_folder_and_an_empty_page_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no pictures"):
        read(tmp_path, SHAPE, 255)
    Image.new("L", (50, 50), "white").save(tmp_path / "a.png")
    with pytest.raises(UserError, match="shows no digit"):
        read(tmp_path / "a.png", SHAPE, 255)
