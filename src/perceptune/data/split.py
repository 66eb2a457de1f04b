"""Training, validation and test parts of a data set: stratified, by a seed, as row numbers.

Copies no image and knows no source: every part indexes the set's own arrays.
"""

import math
from dataclasses import dataclass

import numpy as np

from perceptune.data.dataset import Dataset
from perceptune.errors import UserError
from perceptune.nn.checks import check, check_nonnegative

TEST_FRACTION = 0.2  # of a set without a test part
CHUNK = 1024  # rows scaled to float64 at a time: 6 MB for 28 × 28


@dataclass(frozen=True)
class Part:
    """One part of a data set: row numbers of arrays that all parts have in common.

    Attributes:
        images: (n_total, pixels) uint8, the whole array.
        labels: (n_total,) uint8, the whole array.
        rows: (n,) int64, ascending: the rows of this part.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        """Count the images of this part."""
        return len(self.rows)


@dataclass(frozen=True)
class Split:
    """The three parts; `validation` may be None."""

    train: Part
    validation: Part | None
    test: Part


def split(dataset: Dataset, *, validation: float, seed: int) -> Split:
    """Split a data set; every class keeps its fraction in every part.

    Of a set without a test part, 20 % of the images become one; which ones depends on `seed` only,
    not on `validation`. The same arguments give the same rows on every machine.

    Args:
        dataset: what to split.
        validation: size of the validation part: a fraction in (0, 1) of what is not test, a whole
            number of images from 1, or 0 for none.
        seed: of both random draws.

    Raises:
        RangeError: `validation` is none of these, or the seed is negative.
        UserError: a class would be left without a training image, or `validation` is a fraction
            that makes less than one image.
    """
    check_validation(validation)
    check_nonnegative(split_seed=seed)
    test_rng, validation_rng = np.random.default_rng(seed).spawn(2)
    rows = np.arange(len(dataset.labels), dtype=np.int64)
    if dataset.test_images is not None and dataset.test_labels is not None:
        test_rows = np.arange(len(dataset.test_labels), dtype=np.int64)
        test = Part(dataset.test_images, dataset.test_labels, test_rows)
    else:
        count = round(TEST_FRACTION * len(rows))
        rows, test_rows = _hold_out(
            dataset, rows, count, test_rng, "the test part of 20 %", "use more images"
        )
        test = Part(dataset.images, dataset.labels, test_rows)
    held_out: Part | None = None
    if count := _count(validation, len(rows)):
        what = f"data.validation={validation:.10g}"
        rows, validation_rows = _hold_out(
            dataset, rows, count, validation_rng, what, "set data.validation lower"
        )
        held_out = Part(dataset.images, dataset.labels, validation_rows)
    return Split(Part(dataset.images, dataset.labels, rows), held_out, test)


def check_validation(validation: float) -> None:
    """Refuse a size that is neither a fraction in [0, 1) nor a whole number.

    Raises:
        RangeError: it is neither.
    """
    holds = 0 <= validation < 1 or (1 <= validation < math.inf and validation == int(validation))
    rule = "a fraction in [0, 1) or a whole number of samples"
    check(holds, "validation", rule, validation)


def moments(part: Part) -> tuple[float, float]:
    """Compute mean and standard deviation (over n, not n - 1) of the part's raw pixel values.

    Sums of whole numbers are exact in float64 here (60,000 images of 28 × 28 reach 3·10¹², the
    limit is 2⁵³), so the order of the rows does not matter.
    """
    total = squares = 0.0
    for start in range(0, len(part), CHUNK):
        pixels = part.images[part.rows[start : start + CHUNK]].astype(np.float64).ravel()
        total += float(pixels.sum())
        squares += float(pixels @ pixels)
    count = len(part) * part.images.shape[1]
    mean = total / count
    return mean, math.sqrt(max(squares / count - mean * mean, 0.0))


def _count(validation: float, available: int) -> int:
    """Compute the number of validation images."""
    if validation >= 1:
        return int(validation)
    count = round(validation * available)
    if validation > 0 and count == 0:
        raise UserError(
            f"data.validation={validation:.10g} of {available} images is not one image; set "
            "data.validation higher, or to 0 for none"
        )
    return count


def _hold_out(
    dataset: Dataset, rows: np.ndarray, count: int, rng: np.random.Generator, what: str, remedy: str
) -> tuple[np.ndarray, np.ndarray]:
    """Split `rows` (n,), ascending, into those that stay and `count` others, both ascending."""
    labels = np.asarray(dataset.labels)[rows]
    present, sizes = np.unique(labels, return_counts=True)
    if count < 1 or count > len(rows) - len(present):
        raise UserError(
            f"{what} cannot be taken from {len(rows)} images of {len(present)} classes, since "
            f"every class must keep one for training; {remedy}"
        )
    taken = np.zeros(len(rows), dtype=bool)
    for label, quota in zip(present, _quotas(sizes, count), strict=True):
        taken[rng.permutation(np.flatnonzero(labels == label))[:quota]] = True
    return rows[~taken], rows[taken]


def _quotas(sizes: np.ndarray, count: int) -> np.ndarray:
    """Compute how many to take of each class, (classes,), so that each class keeps one.

    `sizes` is (classes,). They sum to `count` by the method of largest remainders (Hamilton), in
    integers, so that rounding is the same on every machine; ties go to the lower class.
    """
    sizes = sizes.astype(np.int64)
    quotas: np.ndarray = np.minimum(count * sizes // sizes.sum(), sizes - 1)
    remainders = count * sizes - quotas * sizes.sum()
    while (missing := count - int(quotas.sum())) > 0:
        spare = quotas < sizes - 1
        # lexsort's primary key is the last one, so classes with nothing to spare come last.
        order = np.lexsort((-remainders, ~spare))[: min(missing, int(spare.sum()))]
        quotas[order] += 1
        remainders[order] -= sizes.sum()
    return quotas
