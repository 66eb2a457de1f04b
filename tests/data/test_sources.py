"""One contract for every source, then tests of single sources, then damaged files."""

import gzip
import hashlib
import io
import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from specs import spec

from perceptune.data import idx
from perceptune.data.sources import SOURCES, Dataset, DataSpec, load
from perceptune.errors import UserError
from perceptune.nn.checks import RangeError


@dataclass(frozen=True)
class Row:
    """A source, and the data set that it must load.

    Attributes:
        dir, path: the fixture with its folder or file, so that no test needs a network.
        mapped: True if its arrays are memory-mapped from the cache.
    """

    name: str
    count: int
    test_count: int | None
    shape: tuple[int, int]
    classes: int
    pixel_max: int = 255
    dir: str | None = None
    path: str | None = None
    mapped: bool = True


# The contract: a new source is one row here, and takes every test below.
CONTRACT = [
    Row("digits", 1797, None, (8, 8), 10, pixel_max=16, mapped=False),
    Row("mnist", 60_000, 10_000, (28, 28), 10, dir="mnist_folder"),
    Row("fashion_mnist", 60_000, 10_000, (28, 28), 10, dir="imitation"),
    Row("csv", 100, None, (4, 4), 5, path="csv_file"),
    Row("npz", 200, 40, (6, 5), 4, path="npz_file"),
]


@pytest.fixture(params=CONTRACT, ids=lambda row: row.name)
def expected(request: pytest.FixtureRequest) -> Row:
    row: Row = request.param
    return row


@pytest.fixture
def place(
    expected: Row, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> DataSpec:
    """The specification of this source, with the files of its row."""
    folder = request.getfixturevalue(expected.dir) if expected.dir else None
    if expected.dir == "imitation":  # the real files are too large to ship
        known = getattr(idx, expected.name.upper())
        monkeypatch.setattr(idx, expected.name.upper(), vouched(known, folder))
    file = request.getfixturevalue(expected.path) if expected.path else None
    return spec(expected.name, dir=folder, path=file)


@pytest.fixture
def dataset(place: DataSpec) -> Dataset:
    return load(place)


def vouched(kind: idx.IdxSet, folder: Path) -> idx.IdxSet:
    """The set with the hashes of the files in `folder` as the known ones."""
    hashes = {
        file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in idx.CONTENTS
    }
    return replace(kind, packed=hashes)


def test_every_source_is_in_the_contract() -> None:
    assert [row.name for row in CONTRACT] == list(SOURCES)


def test_arrays_have_the_promised_shapes(dataset: Dataset, expected: Row) -> None:
    pixels = expected.shape[0] * expected.shape[1]
    assert dataset.name == expected.name
    assert dataset.shape == expected.shape
    assert dataset.images.shape == (expected.count, pixels)
    assert dataset.labels.shape == (expected.count,)
    if expected.test_count is None:
        assert dataset.test_images is None
        assert dataset.test_labels is None
    else:
        assert dataset.test_images is not None
        assert dataset.test_labels is not None
        assert dataset.test_images.shape == (expected.test_count, pixels)
        assert dataset.test_labels.shape == (expected.test_count,)


def test_arrays_are_read_only_bytes(dataset: Dataset) -> None:
    for array in dataset.arrays().values():
        assert array.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_arrays_are_memory_mapped_where_a_cache_helps(dataset: Dataset, expected: Row) -> None:
    mapped = {isinstance(array, np.memmap) for array in dataset.arrays().values()}
    assert mapped == {expected.mapped}


def test_pixels_reach_up_to_pixel_max_and_no_further(dataset: Dataset, expected: Row) -> None:
    assert dataset.pixel_max == expected.pixel_max
    brightest = dataset.images.max()
    assert brightest <= expected.pixel_max
    if expected.dir != "imitation":  # whose pattern ends at 250
        assert brightest == expected.pixel_max


def test_every_class_has_a_name_and_an_image(dataset: Dataset, expected: Row) -> None:
    assert len(set(dataset.classes)) == expected.classes
    assert all(isinstance(name, str) and name for name in dataset.classes)
    assert set(np.unique(dataset.labels)) == set(range(expected.classes))


def test_two_loads_agree_whatever_the_cache_holds(
    dataset: Dataset, place: DataSpec, tmp_path: Path
) -> None:
    for again in (load(place), load(place, cache=tmp_path / "another")):
        assert again.digest == dataset.digest
        for field in ("name", "shape", "classes", "pixel_max", "origin"):
            assert getattr(again, field) == getattr(dataset, field)
        for name, array in again.arrays().items():
            np.testing.assert_array_equal(array, getattr(dataset, name))


def test_origin_names_the_file_or_package(dataset: Dataset, place: DataSpec) -> None:
    assert dataset.origin == (place.dir or place.path or "scikit-learn's digits")


# Known digests: they are logged with every run, so a change breaks comparison with old runs.
def test_the_digits_keep_their_digest() -> None:
    known = "a43e10a02e4b0c9d8bbd19eb77544fe7ceb47928d122e9ba9845fd2c9718cc47"
    assert load(spec("digits")).digest == known


def test_mnist_keeps_its_digest(mnist_folder: Path) -> None:
    known = "81c28bb7b8d5e87d6e99b37c2c133ac53b5804256a27e5778b9f6b9ef6248620"
    assert load(spec("mnist", dir=mnist_folder)).digest == known


def test_mnist_begins_with_the_well_known_images(mnist_folder: Path) -> None:
    mnist = load(spec("mnist", dir=mnist_folder))
    assert mnist.test_labels is not None
    assert mnist.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    # Class sizes as LeCun's page and every textbook give them.
    sizes = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist.labels).tolist() == sizes


def test_the_same_images_have_one_digest_in_idx_unpacked_idx_and_npz(
    mnist_folder: Path, tmp_path: Path
) -> None:
    mnist = load(spec("mnist", dir=mnist_folder))
    unpacked = tmp_path / "data" / "mnist"  # a folder for each set is understood as well
    unpacked.mkdir(parents=True)
    for file in idx.CONTENTS:
        raw = gzip.decompress((mnist_folder / file).read_bytes())
        (unpacked / file.removesuffix(".gz")).write_bytes(raw)
    assert mnist.test_images is not None
    assert mnist.test_labels is not None
    np.savez(
        tmp_path / "mnist.npz",
        x_train=mnist.images.reshape(-1, 28, 28),
        y_train=mnist.labels,
        x_test=mnist.test_images.reshape(-1, 28, 28),
        y_test=mnist.test_labels,
    )
    assert load(spec("mnist", dir=unpacked.parent)).digest == mnist.digest
    assert load(spec("npz", path=tmp_path / "mnist.npz")).digest == mnist.digest


LAYOUTS = {
    "torchvision's": ("{set}/raw/{name}", False),
    "torchvision's with the packed files": ("{set}/raw/{name}.gz", True),
    "Kaggle's, each in a folder": ("archive/{set}/{name}/{name}", False),
    "Kaggle's with dots": ("{set}/{dotted}", False),
    "packed again": ("{name}.gz", False),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_four_files_are_found_in_every_common_layout(
    layout: str, name: str, imitation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a set of the other name, whose files have the same names."""
    form, packed = LAYOUTS[layout]
    kind, hashes = vouched(getattr(idx, name.upper()), imitation), {}
    for file in idx.CONTENTS:
        raw = (imitation / file).read_bytes()
        content = gzip.decompress(raw)
        hashes[file] = hashlib.sha256(content).hexdigest()
        plain = file.removesuffix(".gz")
        sets = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
        for other, folder in sets.items():
            place = form.format(set=folder, name=plain, dotted=plain.replace("-idx", ".idx"))
            path = tmp_path / place
            if "{set}" not in form and other != name:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            again = gzip.compress(content, 9) if path.suffix == ".gz" else content
            path.write_bytes((raw if packed else again) if other == name else b"another file")
    monkeypatch.setattr(idx, name.upper(), replace(kind, unpacked=hashes))
    assert len(load(spec(name, dir=tmp_path)).labels) == 60_000


def test_a_folder_with_another_form_of_the_data_says_how_to_read_it(
    npz_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"read it with data=npz data.path=.*mnist\.npz"):
        load(spec("mnist", dir=npz_file.parent))
    with pytest.raises(UserError, match=r"no folder .*; put the four MNIST files there"):
        load(spec("mnist", dir=tmp_path / "none"))


def as_archive(**arrays: Any) -> dict[str, Any]:
    return arrays


PIXELS = np.random.default_rng(3).integers(0, 256, (20, 4, 4), dtype=np.uint8)
TARGETS = np.arange(20) % 4
ARCHIVES = {
    "int64": as_archive(x_train=PIXELS.astype(int), y_train=TARGETS),
    "floats": as_archive(x_train=PIXELS.astype(float), y_train=TARGETS.astype(float)),
    "one channel": as_archive(X_train=PIXELS[..., None], Y_train=TARGETS[:, None]),
    "one channel first": as_archive(train_images=PIXELS[:, None], train_labels=TARGETS),
    "flattened": as_archive(images=PIXELS.reshape(20, -1), labels=TARGETS),
    "one-hot": as_archive(data=PIXELS, target=np.eye(4)[TARGETS]),
    "with more": as_archive(x=PIXELS, y=TARGETS.astype("u1"), notes=np.array("text")),
}


@pytest.mark.parametrize("form", ARCHIVES)
def test_every_common_form_of_an_archive_is_read(form: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ARCHIVES[form])
    found = load(spec("npz", path=tmp_path / "a.npz"))
    np.testing.assert_array_equal(found.images, PIXELS.reshape(20, -1))
    np.testing.assert_array_equal(found.labels, TARGETS)
    assert (found.shape, found.pixel_max, found.test_images) == ((4, 4), 255, None)


def test_an_archive_of_fractions_keeps_them(tmp_path: Path) -> None:
    parts = {
        "x_train": PIXELS / 255,
        "y_train": TARGETS,
        "x_test": PIXELS // 255,
        "y_test": TARGETS,
    }
    np.savez(tmp_path / "a.npz", **parts)
    found = load(spec("npz", path=tmp_path / "a.npz"))
    assert (found.pixel_max, found.images.dtype) == (1, np.float32)
    np.testing.assert_array_equal(found.images, np.float32(PIXELS.reshape(20, -1) / 255))
    dark = {**parts, "x_train": PIXELS, "x_test": PIXELS // 20}
    np.savez(tmp_path / "b.npz", **dark)
    assert load(spec("npz", path=tmp_path / "b.npz")).pixel_max == 255


def test_reading_the_digits_imports_no_scikit_learn() -> None:
    code = (
        "import sys; from perceptune.data.sources import DataSpec, load; "
        "load(DataSpec('digits', 0.1, 0, False, None, None)); "
        "sys.exit(sorted({'sklearn', 'pooch', 'requests', 'filelock', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("name", "mnits", "one of digits, mnist, fashion_mnist"),
        ("split_seed", -1, "0 or more"),
        *(
            ("validation", value, "a fraction in [0, 1) or a whole number of samples")
            for value in (-1, -0.1, math.nan, math.inf, 1.5)
        ),
    ],
)
def test_a_specification_outside_its_range_is_refused(field: str, value: Any, rule: str) -> None:
    with pytest.raises(RangeError) as caught:
        replace(spec("digits"), **{field: value})
    assert (caught.value.field, caught.value.value) == (field, value)
    assert caught.value.rule.startswith(rule)


@pytest.mark.parametrize("validation", [0, 0.0, 0.5, 0.999, 1, 1.0, 5000])
def test_a_fraction_or_a_whole_number_of_samples_is_accepted(validation: float) -> None:
    assert spec("digits", validation=validation).validation == validation


@pytest.mark.parametrize("name", ["csv", "npz"])
def test_a_file_that_is_not_set_ends_in_a_remedy(name: str) -> None:
    with pytest.raises(UserError, match=rf"^data={name} .*; set data\.path to it$"):
        load(spec(name))


# CSV


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("label,pixel0\n1,255\n0,7\n", id="with a header"),
        pytest.param("1,255\n0,7\n", id="without a header"),
        pytest.param("1,255\n0,7", id="no newline at the end"),
        pytest.param("label,pixel0\r\n1,255\r\n0,7\r\n", id="line ends of Windows"),
        pytest.param('"label","pixel0"\n"1","255"\n"0","7"\n', id="quoted"),
        pytest.param("\ufefflabel,pixel0\n1,255\n0,7\n", id="byte order mark"),
        pytest.param("\n\nLabel,p\n\n1,255\n\n0, 7\n\n", id="blank lines and a blank"),
    ],
)
def test_every_common_way_to_write_a_table_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(text.encode())
    table = load(spec("csv", path=path))
    assert table.labels.tolist() == [1, 0]
    assert table.images.tolist() == [[255], [7]]
    assert table.classes == ("0", "1")


def test_a_changed_table_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("0,1\n1,2\n")
    first = load(spec("csv", path=path))
    path.write_text("0,1\n1,2\n1,3\n")
    assert len(load(spec("csv", path=path)).labels) == 3
    assert len(first.labels) == 2


# Damaged files: (content, expected message). Every message is one line and names the file.

KAGGLE = "label,pixel0,pixel1,pixel2,pixel3\n0,1,2,3,4\n"

BROKEN_TABLES: dict[str, tuple[str | bytes, str]] = {
    "a pixel of 300": (KAGGLE + "1,2,300,4,5\n", "line 3, column 3: pixel '300'"),
    "a negative pixel": (KAGGLE + "1,2,3,-4,5\n", "line 3, column 4: pixel '-4'"),
    "a decimal pixel": (KAGGLE + "1,2.5,3,4,5\n", "line 3, column 2: pixel '2.5'"),
    "text for a pixel": (KAGGLE + "1,2,3,4,five\n", "line 3, column 5: pixel 'five'"),
    "an empty cell": (KAGGLE + "1,2,,4,5\n", "line 3, column 3: pixel ''"),
    "a label of 256": (KAGGLE + "256,2,3,4,5\n", "line 3, column 1: label '256'"),
    "text for a label": (KAGGLE + "seven,2,3,4,5\n", "line 3, column 1: label 'seven'"),
    "a short row": (KAGGLE + "1,2,3,4\n", "line 3: 4 columns, expected 5"),
    "a long row": (KAGGLE + "1,2,3,4,5,6\n", "line 3: 6 columns, expected 5"),
    "rows narrower than the header": ("label,a,b,c,d\n1,2\n0,3\n", "line 2: 2 columns"),
    "blank lines before a fault": ("\n\n0,1\n\n1,999\n", "line 5, column 2: pixel '999'"),
    "a quote without an end": (KAGGLE + '1,2,"3,4,5\n' + KAGGLE, "line 3, column 3: pixel '\"3'"),
    "a line of blanks": (KAGGLE + "   \n1,2,3,4,5\n", "line 3: 1 columns"),
    "nothing": ("", "is empty"),
    "blank lines only": ("\n\n", "is empty"),
    "a header and no rows": ("label,pixel0\n", "a header but no rows"),
    "no label column": (
        "pixel0,pixel1\n1,2\n",
        "line 1: none of the 2 columns, 'pixel0' and so on",
    ),
    "an image that is not square": ("label,a,b,c\n1,2,3,4\n", "a square number"),
    "one column": ("label\n1\n", "a square number"),
    "two columns of labels": ("label,a,class\n1,2,3\n", "'label' and 'class', expected one"),
    "a column twice": ("label,a,b,c,a\n1,2,3,4,5\n", "two columns are named 'a'"),
    "a gap in the numbers": ("label,p0,p1,p2,p4\n1,2,3,4,5\n", "not numbered without gaps"),
    "a column of another kind": ("label,p0,p1,p2,q3\n1,2,3,4,5\n", "not numbered alike: 'q3'"),
    "a pixel of 16 bits among bytes": (KAGGLE + "1,2,60000,4,5\n", "column 3: pixel '60000'"),
    "a fraction above 1": (KAGGLE + "1,0.5,1.5,0,0\n", "line 3, column 2: pixel '0.5'"),
    "an infinite pixel": (KAGGLE + "1,inf,3,4,5\n", "line 3, column 2: pixel 'inf'"),
    "a label with a fraction": (KAGGLE + "1.5,2,3,4,5\n", "line 3, column 1: label '1.5'"),
    "a single class": ("0,1\n0,2\n", "at least two classes"),
    "a sentence": ("It is, as they say, a table.\n", "none of the 3 columns"),
    "another alphabet": (KAGGLE + "1,2,3,4,５\n", "line 3, column 5"),
    "bytes of a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\xff", "is a picture"),
    "bytes that are no text": (KAGGLE.encode() + b"1,2,\xff\xfe,4,5\n", "line 3, column 3"),
}


def the_line(action: Callable[[], object], file: Path) -> str:
    """The one line of the UserError that `action` must end in; it must name the file."""
    with pytest.raises(UserError) as caught:
        action()
    line = str(caught.value)
    assert "\n" not in line
    assert str(file) in line
    return line


@pytest.mark.parametrize("what", BROKEN_TABLES)
def test_a_damaged_table_ends_in_a_line_with_its_place(what: str, tmp_path: Path) -> None:
    content, expected = BROKEN_TABLES[what]
    path = tmp_path / "train.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = the_line(lambda: load(spec("csv", path=path)), path)
    assert expected in line


def test_a_cell_of_any_length_is_quoted_short(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("0,1\n1," + "9" * 10_000 + "\n")
    assert len(the_line(lambda: load(spec("csv", path=path)), path)) < 300 + len(str(path))


IMAGES = np.zeros((3, 2, 2), np.uint8)
LABELS = np.array([0, 1, 1])
GOOD = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}

BROKEN_ARCHIVES: dict[str, tuple[dict[str, Any], str]] = {
    "a missing key": ({"y_test": None}, "lacks y_test"),
    "pickled objects": ({"x_train": np.array([{}, 1, 2])}, "x_train.npy holds objects"),
    "images of text": ({"x_train": np.full((3, 2, 2), "a")}, "type <U1"),
    "coloured images": ({"x_test": np.zeros((3, 2, 2, 3))}, "x_test has shape (3, 2, 2, 3)"),
    "flattened images that are no squares": ({"x_test": np.zeros((3, 5))}, "shape (3, 5)"),
    "a negative pixel": ({"x_test": IMAGES - 1.0}, "pixels go from -1 to"),
    "a pixel that is not a number": ({"x_test": IMAGES * np.nan}, "pixels go from nan"),
    "a pixel of 300 among bytes": ({"x_train": IMAGES + np.array([300, 1])}, "pixels go to 300"),
    "standardized images": ({"x_train": IMAGES.astype(float) + 1.2}, "pixels go to 1.2"),
    "images without labels": ({"y_train": None}, "lacks y_train, it has x_train, x_test, y_test"),
    "several ones in a row": ({"y_train": np.ones((3, 2))}, "or one-hot"),
    "no images": ({"x_test": IMAGES[:0], "y_test": LABELS[:0]}, "x_test has shape (0, 2, 2)"),
    "too few labels": ({"y_train": LABELS[:2]}, "expected (3,)"),
    "labels of floats": ({"y_train": LABELS / 2}, "type float64"),
    "a negative label": ({"y_train": LABELS - 1}, "labels from -1 to 0"),
    "a label of 256": ({"y_test": LABELS + 255}, "labels from 255 to 256"),
    "two sizes of images": ({"x_test": np.zeros((3, 2, 3), np.uint8)}, "expected one size"),
    "a single class": ({"y_train": LABELS * 0, "y_test": LABELS * 0}, "at least two classes"),
}


@pytest.mark.parametrize("what", BROKEN_ARCHIVES)
def test_an_archive_with_wrong_arrays_ends_in_one_line(what: str, tmp_path: Path) -> None:
    change, expected = BROKEN_ARCHIVES[what]
    path = tmp_path / "mnist.npz"
    np.savez(path, **{key: array for key, array in (GOOD | change).items() if array is not None})
    assert expected in the_line(lambda: load(spec("npz", path=path)), path)


def garble(raw: bytes) -> bytes:
    """Another byte in the middle of the first array: the zip's own checksum fails."""
    return raw[:180] + bytes([raw[180] ^ 255]) + raw[181:]


def mark(raw: bytes, flags: int, method: int) -> bytes:
    """Mark the files as encrypted or compressed by `method`, in the zip's index and headers."""
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        head, *files = raw.split(signature)
        words = flags.to_bytes(2, "little") + method.to_bytes(2, "little")
        files = [file[: place - 4] + words + file[place:] for file in files]
        raw = signature.join([head, *files])
    return raw


def boast(raw: bytes) -> bytes:
    """Claim 90 terabytes in the arrays' headers, in as many characters, with valid checksums."""
    claim = b"(99999999, 99999, 9), }"
    inflated = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as modest, zipfile.ZipFile(inflated, "w") as boastful:
        for name in modest.namelist():
            head = b"(3, 2, 2), }".ljust(len(claim))
            boastful.writestr(name, modest.read(name).replace(head, claim))
    return inflated.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda raw: b"", id="empty"),
        pytest.param(lambda raw: raw[: len(raw) // 2], id="truncated"),
        pytest.param(garble, id="a byte changed"),
        pytest.param(lambda raw: b"\x80\x04N.", id="a bare pickle"),
        pytest.param(lambda raw: b"PK\x03\x04" + raw[4:-22], id="no end of the zip"),
        pytest.param(lambda raw: mark(raw, 1, 0), id="encrypted"),
        pytest.param(lambda raw: mark(raw, 0, 97), id="compressed in an unknown way"),
        pytest.param(boast, id="more than memory"),
    ],
)
def test_a_damaged_archive_ends_in_one_line(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "mnist.npz"
    np.savez(path, **GOOD)  # type: ignore[arg-type]
    path.write_bytes(damage(path.read_bytes()))
    assert "expected Keras's mnist.npz" in the_line(lambda: load(spec("npz", path=path)), path)


@pytest.mark.parametrize("name", ["csv", "npz"])
def test_a_file_that_is_missing_or_a_folder_ends_in_a_remedy(name: str, tmp_path: Path) -> None:
    missing = tmp_path / "none" / f"train.{name}"
    assert "set data.path" in the_line(lambda: load(spec(name, path=missing)), missing)
    folder = tmp_path / f"folder.{name}"
    folder.mkdir()
    assert "set data.path" in the_line(lambda: load(spec(name, path=folder)), folder)


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "train.csv"
    os.mkfifo(pipe)
    assert "expected a file" in the_line(lambda: load(spec("csv", path=pipe)), pipe)


def test_a_relative_path_means_the_folder_of_the_moment(
    csv_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(csv_file.parent)
    assert load(spec("csv", path=Path("train.csv"))).origin == str(csv_file)
    monkeypatch.chdir(tmp_path)
    the_line(lambda: load(spec("csv", path=Path("train.csv"))), tmp_path / "train.csv")


def test_a_file_missing_from_the_folder_is_named_and_nothing_is_downloaded(
    imitation: Path, tmp_path: Path, private_cache: Path
) -> None:
    for file in list(idx.CONTENTS)[:3]:
        (tmp_path / file).symlink_to(imitation / file)
    missing = tmp_path / "t10k-labels-idx1-ubyte.gz"
    assert "unset PERCEPTUNE_DATA_DIR" in the_line(
        lambda: load(spec("mnist", dir=tmp_path)), missing
    )
    assert not private_cache.exists()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("content", [b"\x1f\x8b cut", gzip.compress(b"another file", mtime=0)])
def test_a_file_other_than_the_published_one_is_refused(
    name: str, content: bytes, tmp_path: Path
) -> None:
    for file in idx.CONTENTS:
        (tmp_path / file).write_bytes(content)
    first = tmp_path / "train-images-idx3-ubyte.gz"
    line = the_line(lambda: load(spec(name, dir=tmp_path)), first)
    assert "expected SHA-256" in line
    assert "put the original" in line


def idx_bytes(kind: int, lengths: tuple[int, ...], data: bytes) -> bytes:
    return bytes([0, 0, kind, len(lengths)]) + np.array(lengths, ">i4").tobytes() + data


BROKEN_IDX = {
    "nothing": (b"", "found nothing"),
    "another kind of number": (idx_bytes(9, (2, 2), b"abcd"), "expected it to begin with"),
    "labels in place of images": (idx_bytes(8, (4,), b"abcd"), "expected it to begin with"),
    "another length": (idx_bytes(8, (3, 2), b"abcdef"), "expected it to begin with"),
    "too few bytes": (idx_bytes(8, (2, 2), b"abc"), "holds 15 bytes, expected 16"),
    "too many bytes": (idx_bytes(8, (2, 2), b"abcde"), "holds 17 bytes, expected 16"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("what", BROKEN_IDX)
def test_a_broken_idx_file_ends_in_one_line(what: str, packed: bool, tmp_path: Path) -> None:
    content, expected = BROKEN_IDX[what]
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert expected in the_line(lambda: idx.read(path, (2, 2), remedy="mend it"), path)


@pytest.mark.parametrize("end", [0, 5, 20, -9, -1])
def test_a_cut_gzip_ends_in_one_line(end: int, tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(idx_bytes(8, (2, 2), b"abcd"))[:end])
    line = the_line(lambda: idx.read(path, (2, 2), remedy="mend it"), path)
    assert line.endswith("mend it")


def test_an_idx_file_is_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(8, (2, 3), bytes(range(6))))
    assert idx.read(path, (2, 3), remedy="").tolist() == [[0, 1, 2], [3, 4, 5]]
