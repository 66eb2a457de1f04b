"""Active inputs: the same loss, gradient and training as with all inputs, but for rounding."""

from itertools import islice

import numpy as np
import pytest

from perceptune.nn.activations import Relu
from perceptune.nn.active import ActiveInputs
from perceptune.nn.fit import evaluate, fit
from perceptune.nn.initializers import HeNormal, initialize
from perceptune.nn.layout import Array
from perceptune.nn.losses import target_table
from perceptune.nn.network import Network
from perceptune.nn.optimizers import Adam, Optimizer, Sgd
from perceptune.nn.recipe import Recipe
from perceptune.nn.schedules import Constant
from perceptune.nn.state import TrainingState
from perceptune.nn.workspace import Workspace

INPUTS, OUTPUTS, CLASSES = 40, 64, 3


class Strokes:
    """Images that are 0 but for a few pixels, in a frame that is always 0, as in MNIST."""

    def __init__(self, count: int = 96, fraction: float = 0.02) -> None:
        rng = np.random.default_rng(0)
        self.images = rng.integers(1, 256, (count, INPUTS)).astype(np.uint8)
        self.images[rng.random(self.images.shape) > fraction] = 0
        self.images[:, [0, 7, -1]] = 0
        self.labels = np.arange(count) % CLASSES
        self.rows = np.arange(count)


def network(**options: object) -> Network:
    defaults: dict[str, object] = {"scale": 1 / 255, "dtype": np.float64}
    return Network((INPUTS, OUTPUTS, CLASSES), Relu(), **{**defaults, **options})  # type: ignore[arg-type]


def read(net: Network, images: Array, train: bool = True) -> Workspace:
    return net.read(images, np.arange(len(images)), train=train)


def slope(net: Network, images: Array, train: bool) -> tuple[float, Array, bool]:
    """Loss and gradient of a batch, and whether inputs were left out."""
    theta = np.random.default_rng(1).normal(0, 0.3, net.layout.size).astype(net.dtype)
    gradient = np.full_like(theta, np.nan)  # whatever is not overwritten will show
    layers, gradients = net.layout.layers(theta), net.layout.layers(gradient)
    work = read(net, images, train)
    targets = target_table(CLASSES, dtype=net.dtype)[np.arange(len(images)) % CLASSES]
    loss = net.loss_and_gradient(layers, gradients, work, targets, np.random.default_rng(5))
    return loss, gradient, work.active is not None


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_loss_and_gradient_are_those_of_all_inputs(dropout: float) -> None:
    images = Strokes(24).images
    loss, gradient, compact = slope(network(dropout=dropout), images, train=True)
    all_loss, all_gradient, whole = slope(network(dropout=dropout), images, train=False)
    assert (compact, whole) == (True, False)
    # Only the order of the sums differs; both are of magnitude 1 at most.
    assert loss == pytest.approx(all_loss, abs=1e-13)
    np.testing.assert_allclose(gradient, all_gradient, rtol=0, atol=1e-14)


def test_a_weight_of_an_inactive_input_gets_the_gradient_0() -> None:
    images, net = Strokes(24).images, network()
    _, gradient, _ = slope(net, images, train=True)
    weight = net.layout.layers(gradient)[0].weight
    inactive = ~images.any(axis=0)
    assert 3 < inactive.sum() < INPUTS
    assert not weight[inactive].any()
    assert weight[~inactive].any(axis=1).all()


def test_batches_of_any_size_and_order_follow_each_other() -> None:
    images, net = Strokes().images, network()
    for rows in (slice(0, 20), slice(20, 90), slice(0, 16), slice(50, 90)):
        _, gradient, compact = slope(net, images[rows], train=True)
        assert compact
        _, expected, _ = slope(network(), images[rows], train=False)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "options",
    [{"shift": -0.1}, {"input_dropout": 0.1}],
    ids=["pixels of 0 enter as another number", "dropout draws for each input"],
)
def test_all_inputs_are_read_where_0_does_not_stay_0(options: dict[str, float]) -> None:
    assert read(network(), Strokes(24).images).active is not None
    assert read(network(**options), Strokes(24).images).active is None


def test_all_inputs_are_read_where_leaving_some_out_does_not_pay() -> None:
    few, many, full = Strokes(15), Strokes(16), Strokes(96, fraction=0.5)
    assert not ActiveInputs((INPUTS + 1, OUTPUTS), np.float32).read(few.images, np.float32(1))
    assert ActiveInputs((INPUTS + 1, OUTPUTS), np.float32).read(many.images, np.float32(1))
    assert not ActiveInputs((INPUTS + 1, OUTPUTS - 1), np.float32).read(many.images, np.float32(1))
    assert not ActiveInputs((INPUTS + 1, OUTPUTS), np.float32).read(full.images, np.float32(1))


def test_a_batch_without_ink_trains_the_bias_alone() -> None:
    _, gradient, compact = slope(network(), np.zeros((16, INPUTS), np.uint8), train=True)
    first = network().layout.layers(gradient)[0]
    assert compact
    assert not first.weight.any()
    assert first.bias.any()


@pytest.mark.parametrize("optimizer", [Sgd(), Adam(0.9, 0.999, 1e-8)])
@pytest.mark.parametrize("options", [{}, {"l2": 0.01, "max_norm": 1.0, "ema": 0.9}])
def test_a_training_is_that_of_all_inputs(optimizer: Optimizer, options: dict[str, float]) -> None:
    """Images of 16-bit numbers are never compacted."""
    thetas, losses = [], []
    for stored in (np.uint8, np.uint16):
        samples, net = Strokes(), network()
        samples.images = samples.images.astype(stored)
        recipe = Recipe(optimizer, 0.01, Constant(), 3, 32, **options)  # type: ignore[arg-type]
        start = initialize(net.layout, HeNormal(), np.random.default_rng(0))
        state = TrainingState.start(start.astype(net.dtype), recipe, np.random.SeedSequence(0))
        records = list(islice(fit(net, state, recipe, samples, samples), 3))
        losses.append([record.val_loss for record in records])
        thetas.append(state.weights)
        assert evaluate(net, state.weights, samples)[0] == losses[-1][-1]
    # A few rounding errors of float64 a step, and Adam divides small gradients by their size.
    np.testing.assert_allclose(thetas[0], thetas[1], rtol=0, atol=1e-9)
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
