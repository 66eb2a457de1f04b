"""Activations: one contract for every member of the table, then numbers worked by hand."""

import math
from typing import Any

import numpy as np
import pytest
from members import ACTIVATIONS

from perceptune.nn.activations import Activation, Elu, Gelu, LeakyRelu
from perceptune.nn.checks import RangeError
from perceptune.nn.layout import Array

CASES = {name: row.value for name, row in ACTIVATIONS.items()} | {
    "leaky_relu(0)": LeakyRelu(0.0),
    "leaky_relu(0.3)": LeakyRelu(0.3),
    "leaky_relu(1)": LeakyRelu(1.0),
    "elu(0.5)": Elu(0.5),
    "elu(2)": Elu(2.0),
}
every = pytest.mark.parametrize("activation", CASES.values(), ids=CASES)


def values(activation: Activation, z: Any, dtype: type = np.float64) -> Array:
    z = np.array(z, dtype)
    out = np.full_like(z, np.nan)
    activation.forward(z, out)
    return out


def values_and_derivatives(
    activation: Activation, z: Any, dtype: type = np.float64
) -> tuple[Array, Array]:
    z = np.array(z, dtype)
    out, derivative = np.full_like(z, np.nan), np.full_like(z, np.nan)
    activation.forward(z, out, derivative)
    return out, derivative


def grid() -> Array:
    """From -6 to 6, almost, past where all of them have flattened.

    No point is nearer than 0.001 to a whole or a half number, where kinks are.
    """
    return np.linspace(-5.99, 5.99, 200).reshape(20, 10)


@every
def test_the_derivative_is_that_of_the_values(activation: Activation) -> None:
    z, h = grid(), 1e-5
    numerical = (values(activation, z + h) - values(activation, z - h)) / (2 * h)
    _, derivative = values_and_derivatives(activation, z)
    # Central differences err by h²/6·|f‴| < 1e-10 and by rounding: |f|·2⁻⁵²/h < 2e-10.
    np.testing.assert_allclose(derivative, numerical, rtol=0, atol=1e-9)


@every
def test_the_derivative_at_zero_lies_between_those_beside_it(activation: Activation) -> None:
    _, derivative = values_and_derivatives(activation, [[-1e-9, 0, 1e-9]])
    below, at, above = derivative[0]
    # Smooth ones change by less than 1e-9 over this distance; the others have a kink here.
    assert min(below, above) - 1e-8 <= at <= max(below, above) + 1e-8


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_the_same_with_and_without_derivatives(
    activation: Activation, dtype: type
) -> None:
    out, _ = values_and_derivatives(activation, grid(), dtype)
    assert np.array_equal(out, values(activation, grid(), dtype))


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_inputs_give_finite_values_and_derivatives(
    activation: Activation, dtype: type
) -> None:
    z = [[-1e4, -1e3, -100, 100, 1e3, 1e4]]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        out, derivative = values_and_derivatives(activation, z, dtype)
    assert np.isfinite(out).all()
    assert np.isfinite(derivative).all()


@every
def test_float32_stays_float32_and_near_float64(activation: Activation) -> None:
    out, derivative = values_and_derivatives(activation, grid(), np.float32)
    exact, exact_derivative = values_and_derivatives(activation, grid())
    assert out.dtype == derivative.dtype == np.float32
    # Some ten roundings of 2⁻²⁴ each on intermediate numbers up to 6.
    np.testing.assert_allclose(out, exact, rtol=1e-6, atol=4e-6)
    np.testing.assert_allclose(derivative, exact_derivative, rtol=1e-6, atol=4e-6)


@every
def test_only_the_arguments_are_written_also_where_they_are_part_of_something(
    activation: Activation,
) -> None:
    """A layer's output is such a part: beside it stands the 1 that meets the bias."""
    frames = [np.full((22, 12), 7.0) for _ in range(3)]
    z, out, derivative = (frame[1:-1, 1:-1] for frame in frames)
    z[:] = grid()
    activation.forward(z, out, derivative)
    expected = values_and_derivatives(activation, grid())
    assert np.array_equal(out, expected[0])
    assert np.array_equal(derivative, expected[1])
    for frame in frames:
        frame[1:-1, 1:-1] = 7
        assert (frame == 7).all()


@every
def test_what_was_in_the_outputs_before_does_not_matter(activation: Activation) -> None:
    first = values_and_derivatives(activation, grid())
    z, out, derivative = grid(), np.full_like(grid(), np.inf), np.full_like(grid(), -np.inf)
    activation.forward(z, out, derivative)
    assert np.array_equal(out, first[0])
    assert np.array_equal(derivative, first[1])


@every
def test_an_empty_batch_is_no_error(activation: Activation) -> None:
    out, derivative = values_and_derivatives(activation, np.empty((0, 3)))
    assert out.shape == derivative.shape == (0, 3)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_follow_the_formula(name: str) -> None:
    row = ACTIVATIONS[name]
    expected = [[row.formula(z) for z in line] for line in grid().tolist()]
    # The naive forms lose at most some 6·2⁻⁵² to cancellation.
    np.testing.assert_allclose(values(row.value, grid()), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_agree_with_numbers_worked_by_hand(name: str) -> None:
    points = ACTIVATIONS[name].worked
    # The longest of these numbers were written down to ten places.
    found = values(ACTIVATIONS[name].value, [list(points)])[0]
    np.testing.assert_allclose(found, list(points.values()), rtol=0, atol=1e-10)


def test_the_tanh_form_of_gelu_is_as_near_to_the_exact_one_as_it_says() -> None:
    z = np.linspace(-8, 8, 4001)
    exact = [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in z.tolist()]
    assert np.abs(values(Gelu(), z) - exact).max() < 5e-4


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_leaky_relu_refuses_a_slope_outside_its_range(value: float) -> None:
    with pytest.raises(RangeError, match=rf"negative_slope must be in \[0, 1\], got {value}"):
        LeakyRelu(value)


@pytest.mark.parametrize("value", [-1.0, 0.0, math.nan, math.inf])
def test_elu_refuses_an_alpha_that_is_not_positive(value: float) -> None:
    with pytest.raises(RangeError, match=f"alpha must be above 0, got {value}"):
        Elu(value)
