"""Tables: label and pixels are found by name, or where that is plausible by place."""

from pathlib import Path

import numpy as np
import pytest
from specs import spec

from perceptune.data import table
from perceptune.data.sources import Dataset, load
from perceptune.errors import UserError

ROWS, SIDE = 60, 4
RNG = np.random.default_rng(5)
LABELS = np.arange(ROWS) % 6
PIXELS = RNG.integers(0, 200, (ROWS, SIDE * SIDE))
PIXELS[:, (0, 3, 12, 15)] = 0  # corners, as of digits
NAMES = [f"pixel{number}" for number in range(SIDE * SIDE)]
KNOWN = dict(zip(["label", *NAMES], [LABELS, *PIXELS.T], strict=True))


def write(path: Path, columns: dict[str, np.ndarray], *, header: bool = True) -> Path:
    text = [",".join(columns)] if header else []
    text += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(text) + "\n")
    return path


def read(path: Path, **settings: object) -> Dataset:
    return load(spec("csv", path=path, **settings))


def same(found: Dataset) -> None:
    np.testing.assert_array_equal(found.labels, LABELS)
    np.testing.assert_array_equal(found.images, PIXELS)
    assert (found.shape, found.pixel_max, len(found.classes)) == ((SIDE, SIDE), 255, 6)


@pytest.mark.parametrize("name", ["label", "Class", "y", "TARGET"])
@pytest.mark.parametrize("place", [0, 7, 16])
def test_the_label_is_found_by_its_name_wherever_it_is(
    name: str, place: int, tmp_path: Path
) -> None:
    names = [*NAMES[:place], name, *NAMES[place:]]
    columns = {n: LABELS if n == name else KNOWN[n] for n in names}
    same(read(write(tmp_path / "a.csv", columns)))


@pytest.mark.parametrize(
    "names",
    [
        sorted(NAMES),
        NAMES[::-1],
        ["Unnamed: 0", *NAMES],
        ["", *sorted(NAMES)],
        ["id", *NAMES],
        [*NAMES, "ImageId"],
    ],
)
def test_pixels_are_ordered_by_name_and_an_index_is_left_out(
    names: list[str], tmp_path: Path
) -> None:
    index = np.arange(1000, 1000 + ROWS)
    columns = {"label": LABELS} | {name: KNOWN.get(name, index) for name in names}
    path = write(tmp_path / "a.csv", columns)
    same(read(path))
    unlabelled = write(tmp_path / "b.csv", {n: c for n, c in columns.items() if n != "label"})
    np.testing.assert_array_equal(table.pixels(unlabelled, (SIDE, SIDE), 255), PIXELS)


def test_an_index_may_be_text(tmp_path: Path) -> None:
    index = np.array([f"image {row}.png" for row in range(ROWS)])
    same(read(write(tmp_path / "a.csv", {"id": index} | KNOWN)))


def test_names_of_rows_and_columns_give_the_shape(tmp_path: Path) -> None:
    grid = [f"{row}x{column}" for row in (1, 2) for column in range(1, 9)]
    columns = dict(zip(grid, PIXELS.T, strict=True))
    columns = {name: columns[name] for name in sorted(grid, reverse=True)} | {"label": LABELS}
    found = read(write(tmp_path / "a.csv", columns))
    assert found.shape == (2, 8)
    np.testing.assert_array_equal(found.images, PIXELS)
    del columns["label"]
    path = write(tmp_path / "b.csv", columns)
    with pytest.raises(UserError, match=r"images of \(2, 8\), expected \(4, 4\)"):
        table.pixels(path, (4, 4), 255)


def test_names_without_numbers_are_kept_with_the_data(tmp_path: Path) -> None:
    letters = list("abcdefghijklmnop")
    columns = {"label": LABELS} | dict(zip(letters, PIXELS.T, strict=True))
    found = read(write(tmp_path / "a.csv", columns))
    assert found.columns == tuple(letters)
    same(found)
    shuffled = {name: columns[name] for name in reversed(letters)}
    path = write(tmp_path / "b.csv", shuffled)
    again = table.pixels(path, (SIDE, SIDE), 255, found.columns)
    np.testing.assert_array_equal(again, PIXELS)
    with pytest.raises(UserError, match="not those of the training data"):
        table.pixels(path, (SIDE, SIDE), 255, [*letters[1:], "z"])


def test_a_header_of_pandas_numbers_is_no_image(tmp_path: Path) -> None:
    columns = dict(zip(map(str, range(16)), PIXELS.T, strict=True))
    path = write(tmp_path / "a.csv", columns)
    assert len(table.pixels(path, (SIDE, SIDE), 255)) == ROWS
    columns = dict(zip(map(str, range(17)), [LABELS, *PIXELS.T], strict=True))
    same(read(write(tmp_path / "b.csv", columns)))


def test_without_a_header_the_first_column_is_the_label_where_it_may_be(tmp_path: Path) -> None:
    same(read(write(tmp_path / "a.csv", KNOWN, header=False)))
    few = {name: column[:8] for name, column in KNOWN.items()} | {"label": np.array([9] * 8)}
    assert read(write(tmp_path / "b.csv", few, header=False)).labels.tolist() == [9] * 8


@pytest.mark.parametrize(
    ("first", "pixels", "why"),
    [
        (PIXELS[:, 0] + 255, 255 - PIXELS, "its values go to 255"),
        (PIXELS[:, 0] + (np.arange(ROWS) > 57), PIXELS, "58 of its 60 values are 0"),
        (LABELS / 2, PIXELS / 255, "its values go to 2.5"),
        (5 * (np.arange(ROWS) % 2), PIXELS, "2 different values up to 5"),
        (RNG.integers(0, 17, ROWS), PIXELS // 12, "as far as those of the pixels"),
    ],
)
def test_without_a_header_a_first_column_of_pixels_is_refused(
    first: np.ndarray, pixels: np.ndarray, why: str, tmp_path: Path
) -> None:
    """As of a table whose last column is the label."""
    columns = dict(zip(["first", *NAMES[1:], "last"], [first, *pixels.T[1:], LABELS], strict=True))
    path = write(tmp_path / "a.csv", columns, header=False)
    with pytest.raises(UserError, match=f"cannot be the label: .*{why}.*add a header"):
        read(path)


@pytest.mark.parametrize(
    ("scaled", "white"),
    [
        (PIXELS // 199, 1),
        (PIXELS / 255, 1),
        (PIXELS // 16, 16),
        (PIXELS, 255),
        (PIXELS * 257, 65_535),
    ],
)
def test_the_range_is_that_of_the_pixels(scaled: np.ndarray, white: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", {"label": LABELS} | dict(zip(NAMES, scaled.T, strict=True)))
    found = read(path)
    assert found.pixel_max == white
    np.testing.assert_allclose(found.images, scaled, rtol=1e-6)  # float32


def test_a_named_range_is_a_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", KNOWN | {"pixel5": np.full(ROWS, 300)})
    with pytest.raises(UserError, match="line 2, column 7: pixel '300'"):
        read(path)
    assert read(path, pixel_max=1023).pixel_max == 1023
    with pytest.raises(UserError, match="pixel '300'"):
        read(path, pixel_max=255)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_semicolons_and_tabs_separate_too_and_then_commas_are_points(
    separator: str, tmp_path: Path
) -> None:
    text = write(tmp_path / "a.csv", KNOWN).read_text()
    (tmp_path / "b.csv").write_text(text.replace(",", separator))
    same(read(tmp_path / "b.csv"))
    fractions = KNOWN | {name: KNOWN[name] / 256 for name in NAMES}
    text = write(tmp_path / "a.csv", fractions).read_text()
    text = text.replace(",", separator).replace(".", ",")
    (tmp_path / "b.csv").write_text(text)
    np.testing.assert_array_equal(read(tmp_path / "b.csv").images, np.float32(PIXELS / 256))
