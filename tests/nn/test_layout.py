"""Layout: every element of θ belongs to one weight or bias of one layer."""

from itertools import pairwise

import numpy as np
import pytest

from perceptune.nn.layout import Layout

WIDTHS = [(5, 3), (5, 4, 3, 3), (1, 1), (2, 7, 1, 4)]


@pytest.mark.parametrize("widths", WIDTHS)
def test_every_parameter_lies_in_exactly_one_weight_or_bias(widths: tuple[int, ...]) -> None:
    layout = Layout(widths)
    theta = layout.zeros()
    for layer in layout.layers(theta):
        layer.weight[:] += 1
        layer.bias[:] += 1
    assert theta.shape == (layout.size,)
    assert (theta == 1).all()


@pytest.mark.parametrize("widths", WIDTHS)
def test_views_have_the_shapes_of_their_layer(widths: tuple[int, ...]) -> None:
    layers = Layout(widths).layers(Layout(widths).zeros())
    assert [layer.weight.shape for layer in layers] == list(pairwise(widths))
    assert [layer.bias.shape for layer in layers] == [(width,) for width in widths[1:]]


def test_layers_lie_in_theta_from_the_input_on_with_the_bias_after_its_weights() -> None:
    layout = Layout((2, 1, 2))
    first, second = layout.layers(np.arange(7.0))
    assert first.weight.tolist() == [[0], [1]]
    assert first.bias.tolist() == [2]
    assert second.weight.tolist() == [[3, 4]]
    assert second.bias.tolist() == [5, 6]


def test_a_one_in_the_last_column_brings_in_the_bias() -> None:
    layout = Layout((2, 3))
    (layer,) = layout.layers(np.arange(9.0))
    x = np.array([[2.0, 3.0]])
    # Small whole numbers: exact in any order of summation.
    assert np.array_equal(np.append(x, [[1]], axis=1) @ layer.matrix, x @ layer.weight + layer.bias)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_new_vector_is_zero_and_of_the_given_type(dtype: type) -> None:
    theta = Layout((4, 2)).zeros(dtype)
    assert theta.dtype == dtype
    assert not theta.any()


@pytest.mark.parametrize("widths", [[], [3], [3, 0], [0, 3], [3, -1, 2]])
def test_widths_that_make_no_network_are_refused(widths: list[int]) -> None:
    with pytest.raises(ValueError, match="two or more positive") as caught:
        Layout(widths)
    assert str(widths) in str(caught.value)
