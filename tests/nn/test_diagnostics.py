"""Diagnostics agree with independent calculations, and change no argument."""

import numpy as np
import pytest

from perceptune.nn.activations import Relu, Sigmoid, Tanh
from perceptune.nn.diagnostics import activations, inspect
from perceptune.nn.layout import Array
from perceptune.nn.network import Network
from perceptune.nn.optimizers import Adam, Sgd

ADAM = Adam(0.9, 0.999, 1e-8)


def _case(network: Network) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    theta = rng.normal(0, 0.5, network.layout.size).astype(np.float32)
    return theta, rng.integers(0, 255, (20, 5)).astype(np.uint8), rng.integers(0, 3, 20)


def test_a_step_of_sgd_is_lr_times_the_gradient() -> None:
    network = Network([5, 4, 3], Tanh(), scale=1 / 255)
    theta, images, labels = _case(network)
    for layer in inspect(network, theta, images, labels, Sgd(), {}, lr=0.1):
        expected = 0.1 * layer.gradient_norm / layer.weight_norm
        assert layer.update_ratio == pytest.approx(expected, rel=1e-4)  # float32


def test_nothing_that_is_passed_in_changes() -> None:
    network = Network([5, 4, 3], Relu(), scale=1 / 255, dropout=0.5)
    theta, images, labels = _case(network)
    state = ADAM.init(theta.size)
    before = theta.tobytes(), {name: array.tobytes() for name, array in state.items()}
    first = inspect(network, theta, images, labels, ADAM, state, 0.1)
    assert (theta.tobytes(), {n: array.tobytes() for n, array in state.items()}) == before
    assert inspect(network, theta, images, labels, ADAM, state, 0.1) == first


def test_a_relu_that_is_never_active_is_dead() -> None:
    network = Network([5, 4, 3], Relu(), scale=1 / 255)
    theta, images, labels = _case(network)
    layer = network.layout.layers(theta)[0]
    layer.bias[:2] = -1000
    layer.bias[2:] = 1000
    [hidden, output] = inspect(network, theta, images, labels, Sgd(), {}, 0.1)
    assert (hidden.dead, hidden.saturated) == (0.5, 0.5)
    assert (output.dead, output.saturated) == (None, None)


def test_the_first_layer_of_deep_sigmoids_gets_the_smallest_gradient() -> None:
    network = Network([5, 8, 8, 8, 3], Sigmoid(), scale=1 / 255)
    theta, images, labels = _case(network)
    norms = [layer.gradient_norm for layer in inspect(network, theta, images, labels, Sgd(), {}, 1)]
    assert norms[0] < norms[1] < norms[2] < norms[3]


def test_activations_are_those_of_each_hidden_layer() -> None:
    network = Network([5, 4, 3], Tanh(), scale=1 / 255, dropout=0.5)
    theta, images, _ = _case(network)
    layer = network.layout.layers(theta)[0]
    [hidden] = activations(network, theta, images)
    expected = np.tanh(images / np.float32(255) @ layer.weight + layer.bias)
    np.testing.assert_allclose(hidden, expected, rtol=1e-5, atol=1e-6)  # float32
