"""Images keep their pixels, and colours their meaning."""

import numpy as np
import pytest

from perceptune.figures import pixels


@pytest.mark.parametrize(("side", "scale"), [(28, 4), (8, 14), (32, 3), (5, 22)])
def test_a_small_image_is_enlarged_in_whole_pixels(side: int, scale: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    enlarged = np.asarray(pixels.fitted(image))
    np.testing.assert_array_equal(enlarged, image.repeat(scale, 0).repeat(scale, 1))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((500, 250, 3), (56, 112)),
        ((100, 100), (112, 112)),
        ((28, 7), (28, 112)),
        ((3000, 1), (1, 112)),
        ((1, 56), (112, 112)),  # a row of a table: stripes
        ((1, 3000), (112, 112)),
    ],
)
def test_an_image_of_any_size_fits(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert pixels.fitted(np.zeros(shape, np.uint8)).size == size


def test_white_is_zero_orange_positive_and_violet_negative() -> None:
    low, middle, high = pixels.signed(np.array([-5.0, 0.0, 9.0]), limit=3.0)
    assert middle.tolist() == [0xF7] * 3
    assert low[2] > low[0] > low[1]  # blue, then red
    assert high[0] > high[1] > high[2]  # red, then green


def test_the_largest_value_of_an_image_is_white_and_none_leaves_the_bytes() -> None:
    assert pixels.grey(np.array([[0, 8, 16]])).tolist() == [[0, 127, 255]]
    assert pixels.grey(np.zeros((1, 2))).tolist() == [[0, 0]]


def test_a_text_is_as_wide_as_its_longest_line() -> None:
    assert pixels.widest(["a\nlonger", "→"], 9) == pixels.widest(["longer"], 9) > 0
    assert pixels.widest([], 9) == 0
