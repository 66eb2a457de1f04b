"""Splits: disjoint, stratified, exact in number and the same on every machine."""

from dataclasses import replace

import numpy as np
import pytest
from specs import spec

from perceptune.data.dataset import Dataset, Decoded, finish, numbered
from perceptune.data.sources import load
from perceptune.data.split import Part, Split, moments, split
from perceptune.errors import UserError
from perceptune.nn.checks import RangeError

SIZES = (50, 30, 15, 5)  # images of each class, in shuffled order


def made(sizes: tuple[int, ...] = SIZES, *, test: bool = False) -> Dataset:
    labels = np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes)
    labels = np.random.default_rng(3).permutation(labels)
    images = np.arange(len(labels) * 4, dtype=np.int64).reshape(-1, 4).astype(np.uint8)
    decoded = Decoded(images, labels, (2, 2), numbered(len(sizes)))
    if test:
        decoded = replace(decoded, test_images=images[:7], test_labels=labels[:7])
    return finish(decoded, name="csv", origin="here")


def parts(divided: Split) -> list[Part]:
    return [part for part in (divided.train, divided.validation, divided.test) if part is not None]


@pytest.mark.parametrize("validation", [0, 0.1, 0.5, 1, 7, 40])
@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_every_image_is_in_exactly_one_part(validation: float, seed: int) -> None:
    divided = split(made(), validation=validation, seed=seed)
    rows = np.concatenate([part.rows for part in parts(divided)])
    assert sorted(rows.tolist()) == list(range(100))
    for part in parts(divided):
        assert part.rows.dtype == np.int64
        assert (np.diff(part.rows) > 0).all()


@pytest.mark.parametrize("count", [*range(1, 77), 123 / 1000, 0.5, 0.95])
def test_validation_has_the_given_size_and_each_class_its_fraction(count: float) -> None:
    dataset = made()
    available = 80  # 100 less the test part of 20 %
    divided = split(dataset, validation=count, seed=0)
    assert divided.validation is not None
    number = int(count) if count >= 1 else round(count * available)
    assert len(divided.validation) == number
    found = np.bincount(dataset.labels[divided.validation.rows], minlength=4)
    # A quota is rounded up or down; near the end a class keeps its last image, which costs
    # the others one more at most.
    ideal = number * np.array([40, 24, 12, 4]) / available
    assert (np.abs(found - ideal) < (1 if number <= 60 else 2)).all()
    assert set(dataset.labels[divided.train.rows]) == {0, 1, 2, 3}


def test_a_set_without_a_test_part_gives_a_fifth_of_every_class() -> None:
    dataset = made()
    divided = split(dataset, validation=0.1, seed=0)
    assert np.bincount(dataset.labels[divided.test.rows]).tolist() == [10, 6, 3, 1]


def test_the_test_rows_depend_on_the_seed_alone() -> None:
    reference = split(made(), validation=0, seed=5).test.rows
    for validation in (0.1, 0.3, 5, 60):
        found = split(made(), validation=validation, seed=5).test.rows
        np.testing.assert_array_equal(found, reference)
    assert split(made(), validation=0, seed=6).test.rows.tolist() != reference.tolist()


def test_the_validation_rows_depend_on_the_seed() -> None:
    first, again, other = (split(made(), validation=20, seed=seed) for seed in (0, 0, 1))
    assert first.validation is not None
    assert again.validation is not None
    assert other.validation is not None
    np.testing.assert_array_equal(first.validation.rows, again.validation.rows)
    assert first.validation.rows.tolist() != other.validation.rows.tolist()


def test_a_test_part_of_its_own_stays_whole() -> None:
    dataset = made(test=True)
    divided = split(dataset, validation=10, seed=0)
    assert divided.test.images is dataset.test_images
    assert divided.test.labels is dataset.test_labels
    assert divided.test.rows.tolist() == list(range(7))
    assert len(divided.train) == 90


def test_no_part_copies_an_image() -> None:
    dataset = made()
    for part in parts(split(dataset, validation=0.2, seed=0)):
        assert part.images is dataset.images
        assert part.labels is dataset.labels


@pytest.mark.parametrize("validation", [0, 0.0, -0.0])
def test_zero_makes_no_validation_part(validation: float) -> None:
    divided = split(made(), validation=validation, seed=0)
    assert divided.validation is None
    assert len(divided.train) == 80


def test_the_split_of_the_digits_never_changes() -> None:
    # Computed once and kept: every logged accuracy on the digits depends on these rows.
    divided = split(load(spec("digits")), validation=0.1, seed=0)
    assert divided.validation is not None
    assert [len(part) for part in parts(divided)] == [1294, 144, 359]
    assert divided.test.rows[:5].tolist() == [2, 5, 11, 16, 24]
    assert divided.validation.rows[:5].tolist() == [1, 14, 17, 23, 33]
    assert (divided.test.rows.sum(), divided.validation.rows.sum()) == (322_445, 132_990)


def test_ties_go_to_the_lower_class() -> None:
    dataset = made((10, 10, 10), test=True)
    divided = split(dataset, validation=4, seed=0)
    assert divided.validation is not None
    assert np.bincount(dataset.labels[divided.validation.rows]).tolist() == [2, 1, 1]


def test_a_class_with_one_image_keeps_it_for_training() -> None:
    dataset = made((1, 1, 40))
    for seed in range(20):
        divided = split(dataset, validation=0.5, seed=seed)
        assert set(dataset.labels[divided.train.rows]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("validation", "start"),
    [
        (80, "data.validation=80 cannot be taken from 80 images of 4 classes"),
        (1e9, "data.validation=1000000000 cannot be taken from 80 images of 4 classes"),
        (0.001, "data.validation=0.001 of 80 images is not one image"),
        (0.999, "data.validation=0.999 cannot be taken from 80 images of 4 classes"),
        (77, "data.validation=77 cannot be taken from 80 images of 4 classes"),
    ],
)
def test_an_impossible_validation_ends_in_one_line(validation: float, start: str) -> None:
    with pytest.raises(UserError) as caught:
        split(made(), validation=validation, seed=0)
    line = str(caught.value)
    assert line.startswith(start)
    assert "set data.validation" in line
    assert "\n" not in line


@pytest.mark.parametrize("validation", [-1, -0.1, float("nan"), float("inf"), 1.5])
def test_a_validation_that_is_no_size_is_refused(validation: float) -> None:
    with pytest.raises(RangeError, match=r"^validation must be a fraction in \[0, 1\) or a whole"):
        split(made(), validation=validation, seed=0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(RangeError, match=r"^split_seed must be 0 or more, got -1$"):
        split(made(), validation=0.1, seed=-1)


def test_too_few_images_for_a_test_part_end_in_one_line() -> None:
    with pytest.raises(UserError, match=r"the test part of 20 % cannot be taken from 2 images"):
        split(made((1, 1)), validation=0, seed=0)


@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 1797])
def test_moments_are_those_of_the_pixels_of_the_part(length: int) -> None:
    digits = load(spec("digits"))
    rows = np.sort(np.random.default_rng(0).permutation(1797)[:length])
    mean, deviation = moments(Part(digits.images, digits.labels, rows))
    pixels = digits.images[rows].astype(np.float64)
    # One subtraction of numbers that are exact up to one rounding each: a few ulp.
    assert mean == pytest.approx(pixels.mean(), rel=1e-14)
    assert deviation == pytest.approx(pixels.std(), rel=1e-13)


def test_moments_of_one_gray_are_exact() -> None:
    part = Part(np.full((3, 4), 200, np.uint8), np.zeros(3, np.uint8), np.arange(3))
    assert moments(part) == (200.0, 0.0)
