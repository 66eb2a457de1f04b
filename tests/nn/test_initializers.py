"""Initializers: each draws what its formula says, and the same again from the same seed."""

import math

import numpy as np
import pytest
from members import INITIALIZERS

from perceptune.nn.checks import RangeError
from perceptune.nn.initializers import (
    HeUniform,
    Initializer,
    Normal,
    Orthogonal,
    XavierUniform,
    initialize,
)
from perceptune.nn.layout import Layout

every = pytest.mark.parametrize("name", INITIALIZERS)
SHAPES = [(200, 300), (300, 200), (150, 150)]


@every
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (4, 9), (9, 4)])
def test_a_draw_has_the_shape_of_its_layer_and_is_finite(name: str, shape: tuple[int, int]) -> None:
    weight = INITIALIZERS[name].value.draw(np.random.default_rng(0), *shape)
    assert weight.shape == shape
    assert weight.dtype == np.float64
    assert np.isfinite(weight).all()


@every
def test_a_seed_draws_the_same_again_and_another_seed_something_else(name: str) -> None:
    first, again, other = (
        INITIALIZERS[name].value.draw(np.random.default_rng(seed), 20, 30) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (name == "zeros")


@every
@pytest.mark.parametrize("shape", SHAPES)
def test_mean_and_variance_are_those_of_the_formula(name: str, shape: tuple[int, int]) -> None:
    weight = INITIALIZERS[name].value.draw(np.random.default_rng(3), *shape)
    variance, count = INITIALIZERS[name].variance(*shape), weight.size
    # Five standard errors: √(variance/n) of a mean, variance·√(2/n) of a normal's variance;
    # a uniform's is smaller.
    assert abs(weight.mean()) <= 5 * math.sqrt(variance / count)
    assert abs((weight**2).mean() - variance) <= 5 * variance * math.sqrt(2 / count)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("initializer", "terms"), [(XavierUniform(), (1, 1)), (HeUniform(), (1, 0))]
)
def test_uniform_draws_fill_their_interval_and_stay_inside(
    initializer: Initializer, terms: tuple[int, int], shape: tuple[int, int]
) -> None:
    limit = math.sqrt(6 / np.dot(terms, shape))
    weight = initializer.draw(np.random.default_rng(4), *shape)
    # Of n ≥ 22,500 numbers none in the outer thousandth: a chance of e^(-n/1000) < 2e-10.
    assert 0.999 * limit < np.abs(weight).max() <= limit


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("gain", [1.0, 1.7])
def test_the_shorter_side_of_an_orthogonal_draw_is_orthonormal(
    gain: float, shape: tuple[int, int]
) -> None:
    weight = Orthogonal(gain).draw(np.random.default_rng(5), *shape) / gain
    product = weight.T @ weight if shape[0] >= shape[1] else weight @ weight.T
    # QR is backward stable: its error is some n·2⁻⁵² ≈ 7e-14 at n = 300.
    np.testing.assert_allclose(product, np.eye(min(shape)), rtol=0, atol=1e-12)


def test_orthogonal_draws_prefer_no_sign() -> None:
    rng = np.random.default_rng(6)
    signs = [Orthogonal(1.0).draw(rng, 3, 3)[0, 0] > 0 for _ in range(400)]
    # Five standard deviations of a fair coin, √(400/4) = 10 each.
    assert abs(sum(signs) - 200) <= 50


@every
@pytest.mark.parametrize("widths", [(6, 4), (6, 5, 4, 3)])
def test_a_start_is_float32_with_biases_of_zero(name: str, widths: tuple[int, ...]) -> None:
    layout = Layout(widths)
    theta = initialize(layout, INITIALIZERS[name].value, np.random.default_rng(7))
    assert theta.dtype == np.float32
    assert theta.shape == (layout.size,)
    for layer in layout.layers(theta):
        assert not layer.bias.any()
        assert layer.weight.any() == (name != "zeros")


@every
def test_layers_of_the_same_shape_start_apart(name: str) -> None:
    layout = Layout((5, 5, 5))
    first, second = layout.layers(
        initialize(layout, INITIALIZERS[name].value, np.random.default_rng(8))
    )
    assert np.array_equal(first.weight, second.weight) == (name == "zeros")


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_values_that_are_not_positive_are_refused(value: float) -> None:
    with pytest.raises(RangeError, match=f"std must be above 0, got {value}"):
        Normal(value)
    with pytest.raises(RangeError, match=f"gain must be above 0, got {value}"):
        Orthogonal(value)
