"""The network: its gradient against finite differences, its outputs against other formulas."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from members import ACTIVATIONS

from perceptune.nn.activations import Gelu, Relu, Tanh
from perceptune.nn.checks import NotFiniteError, RangeError
from perceptune.nn.initializers import HeNormal
from perceptune.nn.layout import Array
from perceptune.nn.losses import target_table
from perceptune.nn.network import Network, NetworkSpec
from perceptune.nn.regularizers import add_penalty

PENALTIES = {"none": (0.0, 0.0), "l1": (0.03, 0.0), "l2": (0.0, 0.05), "l1+l2": (0.03, 0.05)}
NETWORKS = [(5, 4, 3, 3), (5, 3)]
SAMPLES = 7


def case(widths: tuple[int, ...], dtype: type = np.float64) -> tuple[Array, Array, Array]:
    """Parameters, images and labels, all drawn once for all tests."""
    rng = np.random.default_rng(11)
    size = sum((above + 1) * below for above, below in pairwise(widths))
    theta = rng.normal(0, 0.7, size).astype(dtype)
    images = rng.normal(0, 1, (SAMPLES, widths[0])).astype(dtype)
    return theta, images, rng.integers(0, widths[-1], SAMPLES)


class Loss:
    """Loss and gradient as functions of θ, with the same dropout each time."""

    def __init__(
        self,
        network: Network,
        images: Array,
        targets: Array,
        penalty: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.network, self.images, self.targets = network, images, targets
        self.penalty = penalty

    def __call__(self, theta: Array) -> tuple[float, Array]:
        gradient = np.full_like(theta, np.nan)  # whatever is not overwritten will show
        layers, gradients = (self.network.layout.layers(vector) for vector in (theta, gradient))
        work = self.network.read(self.images, np.arange(len(self.images)))
        noise = np.random.default_rng(5)
        loss = self.network.loss_and_gradient(layers, gradients, work, self.targets, noise)
        scratch = self.network.layout.layers(np.full_like(theta, np.nan))
        return loss + add_penalty(layers, gradients, *self.penalty, scratch), gradient


def difference(function: Callable[[Array], tuple[float, Array]], theta: Array) -> float:
    """How far the gradient is from central differences, as a fraction of both lengths."""
    h, numerical = 1e-5, np.empty_like(theta)
    for number in range(theta.size):
        moved = theta.copy()
        moved[number] = theta[number] + h
        above, _ = function(moved)
        moved[number] = theta[number] - h
        below, _ = function(moved)
        numerical[number] = (above - below) / (2 * h)
    _, gradient = function(theta)
    norm = np.linalg.norm
    return float(norm(gradient - numerical) / (norm(gradient) + norm(numerical)))


# A central difference errs by h²/6·|f‴| ≈ 2e-11·|f‴| and by the loss's rounding, some ten times
# 2⁻⁵²/h ≈ 2e-11, in each parameter. Third derivatives stay below 10, gradients are longer than
# 0.1, and there are at most 51 parameters: √51 · 4e-10 / 0.2 < 2e-8. A wrong term, or a kink
# crossed, shows from about 1e-4 up.
BOUND = 2e-8


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("widths", NETWORKS, ids=str)
def test_the_gradient_is_the_derivative_of_the_loss(
    widths: tuple[int, ...], activation: str, smoothing: float, penalty: str
) -> None:
    theta, images, labels = case(widths)
    network = Network(widths, ACTIVATIONS[activation].value, dtype=np.float64)
    targets = target_table(widths[-1], smoothing, np.float64)[labels]
    assert difference(Loss(network, images, targets, PENALTIES[penalty]), theta) < BOUND


@pytest.mark.parametrize("rates", [(0.5, 0.0), (0.0, 0.3), (0.4, 0.2)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_with_dropout_too_the_gradient_is_the_derivative_of_the_loss(
    activation: str, rates: tuple[float, float]
) -> None:
    widths = (5, 6, 5, 3)
    theta, images, labels = case(widths)
    hidden, inputs = rates
    network = Network(
        widths,
        ACTIVATIONS[activation].value,
        dropout=hidden,
        input_dropout=inputs,
        dtype=np.float64,
    )
    targets = target_table(3, 0.1, np.float64)[labels]
    # Up to 89 parameters here, and what is left over of the units is larger: twice the bound.
    assert difference(Loss(network, images, targets), theta) < 2 * BOUND


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_gradients_are_those_of_float64_rounded(activation: str) -> None:
    widths = (5, 4, 3, 3)
    found = []
    for dtype in (np.float32, np.float64):
        theta, images, labels = case(widths, dtype)
        network = Network(widths, ACTIVATIONS[activation].value, dtype=dtype)
        targets = target_table(3, 0.1, dtype)[labels]
        loss, gradient = Loss(network, images, targets)(theta)
        assert gradient.dtype == dtype
        found.append((loss, gradient))
    # Some twenty roundings of 2⁻²⁴ on numbers up to 3.
    assert found[0][0] == pytest.approx(found[1][0], abs=4e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=0, atol=4e-6)


def plain_forward(theta: Array, widths: tuple[int, ...], x: Array) -> Array:
    """Logits of a tanh network, layer by layer, from θ's documented order."""
    start = 0
    for number, (above, below) in enumerate(pairwise(widths)):
        weight = theta[start : start + above * below].reshape(above, below)
        bias = theta[start + above * below : start + (above + 1) * below]
        start += (above + 1) * below
        x = x @ weight + bias
        if number < len(widths) - 2:
            x = np.tanh(x)
    return x


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("widths", NETWORKS, ids=str)
def test_the_loss_is_the_mean_cross_entropy_of_the_formula(
    widths: tuple[int, ...], smoothing: float
) -> None:
    theta, images, labels = case(widths)
    network = Network(widths, Tanh(), dtype=np.float64)
    targets = target_table(3, smoothing, np.float64)[labels]
    loss, _ = Loss(network, images, targets)(theta)
    exponentials = np.exp(plain_forward(theta, widths, images))
    chances = exponentials / exponentials.sum(axis=1, keepdims=True)
    # Some ten roundings of numbers near 1.
    assert loss == pytest.approx(-(targets * np.log(chances)).sum() / SAMPLES, rel=1e-13)
    np.testing.assert_allclose(network.probabilities(theta, images), chances, rtol=1e-13)


def test_the_classes_found_in_training_are_those_of_the_largest_logits() -> None:
    theta, images, labels = case((5, 4, 3))
    network = Network((5, 4, 3), Tanh(), dtype=np.float64)
    Loss(network, images, np.eye(3)[labels])(theta)
    found = network.read(images, np.arange(SAMPLES)).predicted
    assert found.tolist() == plain_forward(theta, (5, 4, 3), images).argmax(axis=1).tolist()


def test_a_network_worked_by_hand() -> None:
    """Two inputs, one hidden rectifier, two classes: ln 3 apart."""
    log3 = math.log(3)
    theta = np.array([1, 1, -1, log3, 0, 0, 0], float)  # w₁ = (1, 1), b₁ = -1; w₂ = (ln 3, 0)
    network = Network((2, 1, 2), Relu(), dtype=np.float64)
    images = np.array([[1.0, 1.0]])  # hidden: 1 + 1 - 1 = 1; logits ln 3, 0; chances 3/4, 1/4
    loss, gradient = Loss(network, images, np.array([[0.0, 1.0]]))(theta)
    assert loss == pytest.approx(math.log(4), rel=1e-15)
    # ∂L/∂logits = (3/4, -3/4); ∂L/∂hidden = 3/4·ln 3.
    hidden = 0.75 * log3
    expected = [hidden, hidden, hidden, 0.75, -0.75, 0.75, -0.75]
    np.testing.assert_allclose(gradient, expected, rtol=1e-15)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_batch_weighs_as_the_mean_of_its_samples(count: int) -> None:
    theta, images, labels = case((5, 4, 3))
    network = Network((5, 4, 3), Tanh(), dtype=np.float64)
    targets = np.eye(3)[labels]
    loss, gradient = Loss(network, images[:count], targets[:count])(theta)
    single = [Loss(network, images[[row]], targets[[row]])(theta) for row in range(count)]
    assert loss == pytest.approx(np.mean([one for one, _ in single]), rel=1e-14)
    # A few roundings of numbers below 2.
    np.testing.assert_allclose(
        gradient, np.mean([one for _, one in single], axis=0), rtol=0, atol=1e-15
    )


def test_batches_of_other_sizes_in_between_leave_no_trace() -> None:
    theta, images, labels = case((5, 4, 3))
    network = Network((5, 4, 3), Gelu(), dropout=0.3, dtype=np.float64)
    loss = Loss(network, images, np.eye(3)[labels])
    first = loss(theta)
    network.probabilities(theta, np.full((50, 5), 9.0))
    Loss(network, images[:2], np.eye(3)[labels[:2]])(theta)
    again = loss(theta)
    assert again[0] == first[0]
    assert np.array_equal(again[1], first[1])


def test_prediction_does_not_depend_on_chunks() -> None:
    theta, _, _ = case((5, 4, 3))
    images = np.random.default_rng(2).normal(size=(23, 5))
    network = Network((5, 4, 3), Relu(), dtype=np.float64)
    whole = network.probabilities(theta, images)
    assert whole.shape == (23, 3)
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-15)
    for chunk in (1, 5, 22, 23):
        # Matrix products of other sizes may add in another order.
        np.testing.assert_allclose(network.probabilities(theta, images, chunk), whole, rtol=1e-13)


def test_prediction_of_nothing_is_empty() -> None:
    theta, _, _ = case((5, 4, 3))
    network = Network((5, 4, 3), Relu(), dtype=np.float64)
    assert network.probabilities(theta, np.empty((0, 5))).shape == (0, 3)


# Reading


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stored", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1 / 255, 0.0), (1 / 255, -0.3)])
def test_pixels_enter_scaled_and_shifted_the_same_by_rows_and_by_slice(
    scale: float, shift: float, stored: type, dtype: type
) -> None:
    images = np.random.default_rng(3).integers(0, 256, (20, 6)).astype(stored)
    images[0, :2] = 0, 255
    network = Network((6, 2), Relu(), scale=scale, shift=shift, dtype=dtype)
    by_rows = network.read(images, np.arange(4, 11)).inputs[0].copy()
    by_slice = network.read(images, slice(4, 11)).inputs[0].copy()
    assert by_rows.dtype == dtype
    assert by_rows.shape == (7, 7)
    assert np.array_equal(by_rows, by_slice)
    expected = images[4:11].astype(np.float64) * scale + shift
    # The factor, the product and the sum are each rounded once.
    np.testing.assert_allclose(
        by_rows[:, :-1], expected, rtol=0, atol=3 * np.finfo(dtype).eps * 255 * scale
    )
    assert (by_rows[:, -1] == 1).all()


@pytest.mark.parametrize("stored", [np.uint8, np.float32])
def test_rows_are_read_in_the_given_order(stored: type) -> None:
    images = np.arange(20).reshape(10, 2).astype(stored)
    network = Network((2, 2), Relu())
    rows = np.array([7, 0, 7, 3])
    assert np.array_equal(network.read(images, rows).outputs[0], images[rows])


# Dropout


def dropped(network: Network, seed: int = 0, count: int = 2000) -> tuple[Array, Array]:
    """What the input and the hidden layer pass on in training, of a network that passes 1s."""
    theta = np.ones(network.layout.size, network.dtype)
    for layer in network.layout.layers(theta):
        layer.weight[:] = 0
    layers, gradient = network.layout.layers(theta), np.empty_like(theta)
    work = network.read(np.ones((count, network.widths[0]), network.dtype), slice(0, count))
    targets = target_table(network.widths[-1], 0, network.dtype)[np.zeros(count, int)]
    rng = np.random.default_rng(seed)
    network.loss_and_gradient(layers, network.layout.layers(gradient), work, targets, rng)
    return work.outputs[0], work.outputs[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_fraction_and_keeps_the_mean(rate: float, dtype: type) -> None:
    network = Network((20, 30, 2), Relu(), dropout=rate, input_dropout=rate / 2, dtype=dtype)
    for found, fraction in zip(dropped(network), (rate / 2, rate), strict=True):
        values = np.unique(found)
        # A float32 factor is rounded once.
        np.testing.assert_allclose(values, [0, 1 / (1 - fraction)], rtol=1e-6)
        off = float(np.mean(found == 0))
        # Five standard errors of a fraction.
        assert abs(off - fraction) < 5 * math.sqrt(fraction * (1 - fraction) / found.size)


def test_dropout_follows_its_generator_alone() -> None:
    network = Network((20, 30, 2), Relu(), dropout=0.5)
    first, again, other = (dropped(network, seed)[1].copy() for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_dropout_leaves_prediction_alone() -> None:
    theta, images, _ = case((5, 4, 3))
    plain = Network((5, 4, 3), Relu(), dtype=np.float64)
    dropping = Network((5, 4, 3), Relu(), dropout=0.5, input_dropout=0.5, dtype=np.float64)
    expected = plain.probabilities(theta, images)
    assert np.array_equal(dropping.probabilities(theta, images), expected)


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
def test_a_dropout_outside_its_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(RangeError, match=rf"^{name} must be in \[0, 1\), got {value}"):
        Network((5, 4, 3), Relu(), **{name: value})
    with pytest.raises(RangeError, match=rf"^{name} must be in \[0, 1\), got {value}"):
        spec(**{name: value})


# Specification


def spec(**changes: Any) -> NetworkSpec:
    plain = {"hidden": [4, 3], "activation": Tanh(), "initializer": HeNormal(), "dropout": 0.0,
             "input_dropout": 0.0, "dtype": "float32"}  # fmt: skip
    return NetworkSpec(**plain | changes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_specification_builds_its_network_for_the_data(dtype: str) -> None:
    network = spec(dropout=0.3, input_dropout=0.2, dtype=dtype).build(5, 2, 1 / 255, -0.5)
    assert network.widths == (5, 4, 3, 2)
    assert network.activation == Tanh()
    assert network.dropout == [0.2, 0.3, 0.3]
    assert (network.scale, network.shift, network.dtype) == (1 / 255, -0.5, dtype)


def test_a_specification_without_hidden_layers_is_softmax_regression() -> None:
    assert spec(hidden=[]).build(5, 2, 1.0, 0.0).widths == (5, 2)


@pytest.mark.parametrize("hidden", [[0], [4, -1], [65_537], [4.0], ["4"]])
def test_hidden_widths_outside_their_range_are_refused(hidden: list[Any]) -> None:
    with pytest.raises(RangeError, match=r"^hidden must be a list of whole numbers from 1"):
        spec(hidden=hidden)


def test_another_type_of_numbers_is_refused() -> None:
    with pytest.raises(RangeError, match=r"^dtype must be float32 or float64, got float16$"):
        spec(dtype="float16")


# Peers


@pytest.mark.peers
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize(
    ("activation", "theirs"), [("sigmoid", "logistic"), ("tanh", "tanh"), ("relu", "relu")]
)
def test_loss_and_gradient_are_those_of_scikit_learn(
    activation: str, theirs: str, alpha: float
) -> None:
    """One full-batch step of plain descent moves its public weights by lr times the gradient."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    widths, lr = (5, 4, 3, 3), 0.5
    _, images, _ = case(widths)
    labels = np.arange(SAMPLES) % 3
    peer = neural_network.MLPClassifier(
        widths[1:-1], activation=theirs, solver="sgd", momentum=0.0, nesterovs_momentum=False,
        learning_rate_init=lr, batch_size=SAMPLES, alpha=alpha, random_state=1,
    )  # fmt: skip
    peer.partial_fit(images, labels, classes=[0, 1, 2])  # for the weights to exist

    def parameters() -> Array:
        parts = zip(peer.coefs_, peer.intercepts_, strict=True)
        return np.concatenate([np.vstack([weight, bias]).ravel() for weight, bias in parts])

    theta = parameters()
    peer.partial_fit(images, labels)
    expected = (theta - parameters()) / lr
    network = Network(widths, ACTIVATIONS[activation].value, dtype=np.float64)
    # Its penalty is alpha/2 · Σw², divided by the number of samples.
    loss, gradient = Loss(network, images, np.eye(3)[labels], (0.0, alpha / SAMPLES))(theta)
    # A difference of parameters near 1, divided by lr, keeps 2⁻⁵²/lr; it clips log's argument.
    assert loss == pytest.approx(peer.loss_, rel=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-14)


JAX: dict[str, Callable[[Any, Any], Any]] = {
    "sigmoid": lambda nn, z: nn.sigmoid(z),
    "tanh": lambda nn, z: nn.tanh(z),
    "relu": lambda nn, z: nn.relu(z),
    "leaky_relu": lambda nn, z: nn.leaky_relu(z),
    "elu": lambda nn, z: nn.elu(z),
    "gelu": lambda nn, z: nn.gelu(z, approximate=True),
    "silu": lambda nn, z: nn.silu(z),
    "softplus": lambda nn, z: nn.softplus(z),
}


@pytest.mark.peers
@pytest.mark.parametrize("activation", JAX)
def test_loss_and_gradient_are_those_of_jax(activation: str) -> None:
    jax = pytest.importorskip("jax")
    function = partial(JAX[activation], jax.nn)
    widths = (5, 4, 3, 3)
    theta, images, labels = case(widths, np.float32)
    targets = target_table(3, 0.1)[labels]

    def loss_of(layers):  # type: ignore[no-untyped-def]
        x = images
        for weight, bias in layers[:-1]:
            x = function(x @ weight + bias)
        logits = x @ layers[-1][0] + layers[-1][1]
        return -(targets * jax.nn.log_softmax(logits)).sum() / SAMPLES

    network = Network(widths, ACTIVATIONS[activation].value)
    layers = [(layer.weight, layer.bias) for layer in network.layout.layers(theta)]
    expected, gradients = jax.value_and_grad(loss_of)(layers)
    loss, gradient = Loss(network, images, targets)(theta)
    # Some twenty roundings of 2⁻²⁴ on numbers up to 3.
    assert loss == pytest.approx(float(expected), abs=4e-6)
    for layer, (weight, bias) in zip(network.layout.layers(gradient), gradients, strict=True):
        np.testing.assert_allclose(layer.weight, weight, rtol=0, atol=4e-6)
        np.testing.assert_allclose(layer.bias, bias, rtol=0, atol=4e-6)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38])
def test_predictions_that_are_not_finite_are_an_error(number: float) -> None:
    """An infinite weight below a unit that is off leaves them finite, but not the weights."""
    network = Network((5, 4, 3), Relu())
    theta = np.full(network.layout.size, number, np.float32)
    with pytest.raises(NotFiniteError, match="predictions are not finite"):
        network.probabilities(theta, np.ones((2, 5), np.uint8))


@pytest.mark.parametrize("images", [np.zeros((0, 5), np.uint8), np.full((1, 5), -1.0)])
def test_an_infinite_weight_without_effect_is_an_error_too(images: Array) -> None:
    network = Network((5, 4, 3), Relu())
    theta = network.layout.zeros()
    network.layout.layers(theta)[0].bias[0] = -np.inf
    with pytest.raises(NotFiniteError):
        network.probabilities(theta, images)
