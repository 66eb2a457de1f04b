"""Range and order of inputs: judged from the data once, asked of every later input."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from perceptune.data.inputs import as_pixels, as_stored, compact, fitted, order, range_of

SMALL: dict[str, Any] = {"shape": (2, 2), "pixel_max": 16}


@pytest.mark.parametrize(
    ("pixels", "white"),
    [
        ([0, 1, 1], 1),
        ([0, 0.25, 1.0], 1),
        ([0, 0.25], 1),
        ([0, 2], 16),
        ([0, 15], 16),
        ([0.0, 16.0], 16),
        ([0, 17], 255),
        ([0, 200], 255),
        ([0, 127.5, 255], 255),
        ([0, 0], 255),
        ([0, 40_000, 65_535], 65_535),
        ([], 255),
    ],
)
def test_the_range_is_the_next_usual_value_of_white(pixels: list[float], white: int) -> None:
    assert range_of(np.array(pixels)) == white


@pytest.mark.parametrize(
    "pixels",
    [[-1, 5], [np.nan, 0], [0, np.inf], [0, 70_000], [5, 5, 300], [5, 9, 9, 60_000], [1.2]],
)
def test_pixels_of_no_usual_range_are_refused(pixels: list[float]) -> None:
    with pytest.raises(ValueError, match="pixels go"):
        range_of(np.array(pixels))


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (np.array([0.0, 255.0]), np.uint8),
        (np.array([True, False]), np.uint8),
        (np.array([0, 300, 65_535], np.int64), np.uint16),
        (np.array([0, 0.5]), np.float32),
    ],
)
def test_pixels_are_stored_in_the_smallest_type_that_keeps_them(
    pixels: np.ndarray, kind: type
) -> None:
    stored, _ = compact(pixels, 65_535)
    assert stored.dtype == kind
    np.testing.assert_array_equal(stored, pixels)


@pytest.mark.parametrize(
    ("pixels", "white"),
    [
        ([0, 3], 16),
        ([0, 60], 255),
        ([0, 100.5], 255),
        ([0, 0], 255),
        ([0, 0], 65_535),
        ([0, 15], 15),
        ([0, 12], 20),
        ([0, 1, 0.5], 1),
        ([0, 1], 1),
        ([0, 3000], 4095),
    ],
)
def test_dark_inputs_are_of_the_networks_range(pixels: list[float], white: int) -> None:
    np.testing.assert_array_equal(fitted(np.array(pixels), white), np.float32(pixels))


@pytest.mark.parametrize(
    ("pixels", "white", "words"),
    [
        ([0, 0.5], 255, "not from 0 to 1; multiply them by 255"),
        ([0, 1], 16, "not from 0 to 1; multiply them by 16"),
        ([0, 16], 255, "not from 0 to 16; multiply them by 255/16"),
        ([0, 255], 65_535, "not from 0 to 255; multiply them by 65535/255"),
        ([0, 17], 16, "must be from 0 to 16, got 0 to 17"),
        ([0, 255], 1, "must be from 0 to 1, got 0 to 255"),
        ([-1, 1], 16, "must be from 0 to 16, got -1 to 1"),
        ([np.nan, 1], 16, "got nan to nan"),
    ],
)
def test_inputs_of_another_range_are_refused(pixels: list[float], white: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fitted(np.array(pixels), white)


@pytest.mark.parametrize(("white", "grey"), [(1, 0.5), (16, 8), (255, 128), (65_535, 32_768)])
def test_light_becomes_pixels_of_any_range(white: int, grey: float) -> None:
    np.testing.assert_array_equal(as_stored(np.float32([0, 0.5, 1]), white), [0, grey, white])


GRID = [f"{row}x{column}" for row in (1, 2) for column in (1, 2, 3)]


@pytest.mark.parametrize(
    ("names", "expected", "shape"),
    [
        (["pixel1", "pixel10", *(f"pixel{n}" for n in range(2, 10))], [0, *range(2, 10), 1], None),
        (["P2", "p1", " p3"], [1, 0, 2], None),
        (["img28_p1", "img28_p0"], [1, 0], None),
        (["01", "02", "00"], [2, 0, 1], None),
        (GRID, list(range(6)), (2, 3)),
        (GRID[::-1], list(range(5, -1, -1)), (2, 3)),
        (["r0c1", "r0c0", "r1c1", "r1c0"], [1, 0, 3, 2], (2, 2)),
        (["red", "green", "blue"], [0, 1, 2], None),
        (["pixel7"], [0], None),
    ],
)  # fmt: skip
def test_columns_are_ordered_by_the_numbers_in_their_names(
    names: list[str], expected: list[int], shape: tuple[int, int] | None
) -> None:
    assert order(names) == (expected, shape)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["p0", "p2"], "without gaps"),
        (["p5", "p6"], "without gaps"),
        (["p1", "P01"], "without gaps"),
        (["1x1", "1x2", "2x1"], "without gaps"),
        (["p0", "p0"], "two columns are named 'p0'"),
        (["p0", "p1", "q2"], "not numbered alike: 'q2'"),
    ],
)
def test_columns_whose_order_is_uncertain_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        order(names)


def test_names_without_numbers_are_those_of_the_training_data() -> None:
    assert order(["blue", "Red", "green"], ["red", "green", "blue"]) == ([1, 2, 0], None)
    with pytest.raises(ValueError, match="not those of the training data: 'pink'"):
        order(["pink", "green", "blue"], ["red", "green", "blue"])


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((3, 5)), r"images must be \(n, 4\) or \(n, 2, 2\), got \(3, 5\)"),
        ([["a", "b", "c", "d"]], "pixels must be numbers from 0 to 16"),
        (np.full((1, 4), 17.0), "pixels must be from 0 to 16, got 17 to 17"),
        (pd.DataFrame([[1, 2, 3, 4]], columns=["p0", "p1", "p2", "p9"]), "without gaps"),
    ],
)
def test_images_that_cannot_be_right_are_refused(images: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        as_pixels(images, SMALL)


def test_images_keep_their_bytes_and_get_one_row_each() -> None:
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    for form in (images, images[..., None], images.reshape(2, 4).tolist(), images.astype(float)):
        assert as_pixels(form, SMALL).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert as_pixels(form, SMALL).dtype == np.uint8
    assert as_pixels(np.zeros((0, 4)), SMALL).shape == (0, 4)


def test_a_data_frame_is_read_by_the_names_of_its_columns() -> None:
    frame = pd.DataFrame([[3, 1, 2, 0]], columns=["pixel3", "pixel1", "pixel2", "pixel0"])
    assert as_pixels(frame, SMALL).tolist() == [[0, 1, 2, 3]]
    named = SMALL | {"columns": ["a", "b", "c", "d"]}
    frame.columns = pd.Index(["d", "b", "c", "a"])
    assert as_pixels(frame, named).tolist() == [[0, 1, 2, 3]]
    assert as_pixels(frame.to_numpy(), named).tolist() == [[3, 1, 2, 0]]
