"""Softmax and cross-entropy: numbers worked by hand, and what holds for all numbers."""

import math

import numpy as np
import pytest

from perceptune.nn.checks import RangeError
from perceptune.nn.layout import Array
from perceptune.nn.losses import cross_entropy, softmax, target_table

LOGS = [math.log(1), math.log(2), math.log(3)]  # softmax: 1/6, 2/6, 3/6
EPS = 2.0**-52


def loss_and_gradient(logits: Array, targets: Array) -> tuple[float, Array]:
    gradient = logits.copy()
    loss = cross_entropy(gradient, targets, np.empty((len(logits), 1), logits.dtype))
    return loss, gradient


def random_case() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 3, (7, 5)), target_table(5, 0.1, np.float64)[rng.integers(0, 5, 7)]


@pytest.mark.parametrize(
    ("targets", "loss"),
    [
        ([1, 0, 0], math.log(6)),
        ([0, 1, 0], math.log(3)),
        ([0, 0, 1], math.log(2)),
        ([0.1, 0.1, 0.8], 0.1 * math.log(6) + 0.1 * math.log(3) + 0.8 * math.log(2)),
    ],
)
def test_loss_and_gradient_agree_with_numbers_worked_by_hand(
    targets: list[float], loss: float
) -> None:
    found, gradient = loss_and_gradient(np.array([LOGS]), np.array([targets], float))
    # A few roundings of numbers near 1.
    assert found == pytest.approx(loss, rel=0, abs=8 * EPS)
    expected = np.array([[1 / 6, 2 / 6, 3 / 6]]) - targets
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=8 * EPS)


def test_the_loss_is_the_sum_over_the_batch() -> None:
    logits, targets = random_case()
    single = [loss_and_gradient(logits[[row]], targets[[row]])[0] for row in range(len(logits))]
    total, _ = loss_and_gradient(logits, targets)
    assert total == pytest.approx(sum(single), rel=100 * EPS)


def test_the_gradient_is_the_numerical_derivative_of_the_loss() -> None:
    logits, targets = random_case()
    _, gradient = loss_and_gradient(logits, targets)
    h, numerical = 1e-5, np.empty_like(logits)
    for place in np.ndindex(logits.shape):
        losses = []
        for step in (h, -h):
            moved = logits.copy()
            moved[place] += step
            losses.append(loss_and_gradient(moved, targets)[0])
        numerical[place] = (losses[0] - losses[1]) / (2 * h)
    # h²/6·|f‴| < 1e-10, and rounding of a loss below 100: 100·2⁻⁵²/h ≈ 2e-9.
    np.testing.assert_allclose(gradient, numerical, rtol=0, atol=1e-8)


def test_a_shift_of_all_logits_of_a_row_changes_nothing() -> None:
    # Multiples of 1/8 shifted by whole numbers: no rounding before the exponential.
    logits, targets = random_case()
    logits = np.round(logits * 8) / 8
    shift = np.array([[0], [1], [-2], [1000], [-1000], [65536], [3]])
    loss, gradient = loss_and_gradient(logits, targets)
    shifted_loss, shifted_gradient = loss_and_gradient(logits + shift, targets)
    assert shifted_loss == loss
    assert np.array_equal(shifted_gradient, gradient)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_huge_logits_give_finite_losses_and_gradients(
    label: int, smoothing: float, dtype: type
) -> None:
    logits = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4]], dtype)
    targets = target_table(3, smoothing, dtype)[[label] * 3]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss, gradient = loss_and_gradient(logits, targets)
    # Rows two and three are uniform: ln 3 each. The first costs its distance from the largest.
    first = 1e4 * float(np.dot(targets[0], [0, 1, 2]))
    assert loss == pytest.approx(first + 2 * math.log(3), rel=1e-6)  # float32 has 24 bits
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "eps"), [(np.float32, 2.0**-23), (np.float64, EPS)])
def test_rows_of_the_gradient_sum_to_zero(smoothing: float, dtype: type, eps: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 5, (50, 10)).astype(dtype)
    targets = target_table(10, smoothing, dtype)[rng.integers(0, 10, 50)]
    _, gradient = loss_and_gradient(logits, targets)
    # Ten numbers below 1, each rounded by eps/2 a few times.
    assert np.abs(gradient.sum(axis=1)).max() < 20 * eps


def test_the_loss_of_a_certain_and_correct_prediction_is_exactly_zero() -> None:
    loss, gradient = loss_and_gradient(np.array([[800.0, 0, 0]]), np.array([[1.0, 0, 0]]))
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 0.999])
def test_rows_of_the_target_table_are_distributions(classes: int, smoothing: float) -> None:
    table = target_table(classes, smoothing, np.float64)
    assert table.shape == (classes, classes)
    assert (table >= 0).all()
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=0, atol=classes * EPS)
    off = table[~np.eye(classes, dtype=bool)]
    assert (off == smoothing / classes).all()


def test_targets_without_smoothing_are_one_hot_and_float32_by_default() -> None:
    assert target_table(3).dtype == np.float32
    assert target_table(3).tolist() == np.eye(3).tolist()


def test_smoothed_targets_agree_with_numbers_worked_by_hand() -> None:
    expected = [[0.925, 0.025, 0.025, 0.025]]
    # One or two roundings of numbers below 1.
    np.testing.assert_allclose(target_table(4, 0.1, np.float64)[:1], expected, rtol=0, atol=2 * EPS)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_smoothing_outside_its_range_is_refused(smoothing: float) -> None:
    match = rf"label_smoothing must be in \[0, 1\), got {smoothing}"
    with pytest.raises(RangeError, match=match):
        target_table(3, smoothing)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_gives_probabilities_in_place_also_of_huge_logits(dtype: type) -> None:
    logits = np.array([LOGS, [1e4, 0, -1e4], [-1e4] * 3], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = softmax(logits)
    assert found is logits
    expected = [[1 / 6, 2 / 6, 3 / 6], [1, 0, 0], [1 / 3] * 3]
    # A few roundings of numbers below 1.
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * np.finfo(dtype).eps)
