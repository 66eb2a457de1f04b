"""Penalties, decay and norms: numbers worked by hand; biases stay as they were."""

import math

import numpy as np
import pytest

from perceptune.nn.layout import Array, Layer, Layout
from perceptune.nn.regularizers import add_penalty, clip_norm, decay, limit_unit_norms

LAYOUT = Layout((2, 2, 1))
# Weights [[3, -1], [4, 0]] and [[-2], [2]], biases [50, 60] and [70].
THETA = np.array([3, -1, 4, 0, 50, 60, -2, 2, 70], float)
WEIGHTS = np.array([1, 1, 1, 1, 0, 0, 1, 1, 0], bool)


def layers() -> tuple[Array, list[Layer]]:
    theta = THETA.copy()
    return theta, LAYOUT.layers(theta)


def scratch() -> list[Layer]:
    """Scratch full of NaN, so that any use of its content shows."""
    return LAYOUT.layers(np.full(LAYOUT.size, np.nan))


@pytest.mark.parametrize(
    ("l1", "l2", "value"),
    [(0.0, 0.0, 0.0), (0.5, 0.0, 0.5 * 12), (0.0, 0.1, 0.05 * 34), (0.5, 0.1, 6 + 1.7)],
)
def test_a_penalty_and_its_gradient_agree_with_numbers_worked_by_hand(
    l1: float, l2: float, value: float
) -> None:
    _, theta_layers = layers()
    gradient = np.ones(LAYOUT.size)
    found = add_penalty(theta_layers, LAYOUT.layers(gradient), l1, l2, scratch())
    assert found == pytest.approx(value, rel=1e-14)  # a few roundings
    expected = 1 + np.where(WEIGHTS, l2 * THETA + l1 * np.sign(THETA), 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


def test_a_penalty_leaves_the_parameters_alone() -> None:
    theta, theta_layers = layers()
    add_penalty(theta_layers, LAYOUT.layers(np.zeros(LAYOUT.size)), 0.5, 0.1, scratch())
    assert np.array_equal(theta, THETA)


def test_decay_shrinks_weights_by_its_fraction_and_no_bias() -> None:
    theta, theta_layers = layers()
    decay(theta_layers, 0.25)
    assert np.array_equal(theta, np.where(WEIGHTS, 0.75 * THETA, THETA))  # exact in binary


@pytest.mark.parametrize(
    ("limit", "factor"), [(2.5, 0.5), (5.0, 1.0), (math.nextafter(5, 6), 1.0), (1000.0, 1.0)]
)
def test_a_gradient_is_cut_to_the_limit_only_if_it_is_longer(limit: float, factor: float) -> None:
    gradient = np.array([3.0, 0, -4])
    clip_norm(gradient, limit)
    assert gradient.tolist() == [3 * factor, 0, -4 * factor]


@pytest.mark.parametrize("gradient", [[0.0, 0.0], [1e-30, 0.0]])
def test_clipping_a_gradient_of_almost_nothing_divides_by_nothing(gradient: list[float]) -> None:
    array = np.array(gradient, np.float32)
    with np.errstate(divide="raise", invalid="raise"):
        clip_norm(array, 1.0)
    assert array.tolist() == np.array(gradient, np.float32).tolist()


@pytest.mark.parametrize("length", [1e20, 3e38])
def test_a_gradient_whose_square_leaves_float32_is_cut_all_the_same(length: float) -> None:
    gradient = np.array([0.6 * length, 0, -0.8 * length], np.float32)
    clip_norm(gradient, 1.0)
    np.testing.assert_allclose(gradient, [0.6, 0, -0.8], rtol=1e-6)  # a few roundings of float32


def test_units_longer_than_the_limit_are_cut_to_it_and_others_left_alone() -> None:
    theta, theta_layers = layers()
    limit_unit_norms(theta_layers, 2.5)  # the units' norms are 5, 1 and 2√2
    first, second = theta_layers
    np.testing.assert_allclose(first.weight, [[1.5, -1], [2, 0]], rtol=1e-15)  # one rounding
    np.testing.assert_allclose(second.weight, [[-1.25 * 2**0.5], [1.25 * 2**0.5]], rtol=1e-15)
    assert np.array_equal(theta[~WEIGHTS], THETA[~WEIGHTS])


def test_a_unit_without_any_weight_stays_without() -> None:
    theta = np.zeros(LAYOUT.size)
    with np.errstate(all="raise"):
        limit_unit_norms(LAYOUT.layers(theta), 1.0)
    assert not theta.any()
