"""Every installed backend trains as ours does, and refuses the settings that it lacks."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perceptune.backends.backend import batch_size, build, refusal, samples
from perceptune.backends.numpy import NumpyBackend
from perceptune.backends.specs import SPECS, spec_of
from perceptune.config import Config
from perceptune.errors import UserError
from perceptune.nn.activations import ACTIVATIONS, Relu
from perceptune.nn.fit import fit
from perceptune.nn.layout import Array
from perceptune.nn.optimizers import OPTIMIZERS, Adam, State
from perceptune.nn.recipe import Recipe
from perceptune.runs.training import Training, start
from support import configure

STEPS, BATCH = 5, 32
IN_PROCESS = ("torch", "jax")  # Keras and a compiler take long: `test_referee` has them


def training(folder: Path, *overrides: str) -> Training:
    settings = ("model.hidden=[16,12]", "model.dtype=float64", "train.epochs=1", *overrides)
    return start(configure(folder, *settings), [])


def orders() -> Iterator[Array]:
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        yield rng.permutation(500)[:BATCH]


def walk(name: str, folder: Path, *overrides: str) -> tuple[list[float], Array]:
    """Losses and last weights of a few steps."""
    if spec_of(name).missing:
        pytest.skip(f"{name} is not installed")
    backend = build(name, training(folder, *overrides))
    return [backend.run_epoch(order) for order in orders()], backend.theta()


def assert_same_steps(name: str, folder: Path, *overrides: str, tolerance: float) -> None:
    """Losses and weights, relative to the largest, differ by no more than `tolerance`."""
    losses, theta = walk(name, folder, *overrides)
    expected_losses, expected = walk("numpy", folder, *overrides)
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance, atol=0)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_an_epoch_of_ours_is_that_of_fit(tmp_path: Path) -> None:
    whole = training(tmp_path, "model.dropout=0.2", "schedule=cosine", "train.epochs=2")
    by_fit = training(tmp_path, "model.dropout=0.2", "schedule=cosine", "train.epochs=2")
    order = np.random.default_rng(np.random.SeedSequence(0).spawn(2)[1].spawn(2)[0])
    ours = NumpyBackend(whole)
    records = fit(by_fit.network, by_fit.state, by_fit.config.recipe, by_fit.parts.train)
    for record in records:
        assert ours.run_epoch(order.permutation(len(whole.parts.train))) == record.train_loss
        np.testing.assert_array_equal(ours.theta(), by_fit.state.weights)


# scikit-learn's Adam has an effective ε of as little as √0.001 times ours; with a small ε the two
# agree, except where a gradient is as small.
INSTALLED = [
    ("sklearn", ["optimizer=sgd"], 1e-12),
    ("sklearn", ["optimizer=momentum"], 1e-12),
    ("sklearn", ["optimizer=nesterov"], 1e-12),
    ("sklearn", ["optimizer=adam", "optimizer.eps=1e-30"], 1e-9),
    ("sklearn", ["optimizer=sgd", "model.activation=tanh"], 1e-12),
    ("sklearn", ["optimizer=sgd", "model.activation=sigmoid"], 1e-12),
    ("sklearn", ["optimizer=sgd", "train.batch_size=10"], 1e-12),
]


@pytest.mark.parametrize(("name", "overrides", "tolerance"), INSTALLED, ids=str)
def test_a_library_that_is_always_there_makes_our_steps(
    name: str, overrides: list[str], tolerance: float, tmp_path: Path
) -> None:
    assert_same_steps(name, tmp_path, *overrides, tolerance=tolerance)


OPTIMIZERS_OF_PEERS = [
    (name, optimizer)
    for name in IN_PROCESS
    for optimizer, kind in OPTIMIZERS.items()
    if kind in SPECS[name].optimizers
]
ACTIVATIONS_OF_PEERS = [
    (name, activation)
    for name in IN_PROCESS
    for activation, kind in ACTIVATIONS.items()
    if kind in SPECS[name].activations
]


@pytest.mark.peers
@pytest.mark.parametrize(("name", "optimizer"), OPTIMIZERS_OF_PEERS)
def test_peers_make_our_steps_with_every_optimizer(
    name: str, optimizer: str, tmp_path: Path
) -> None:
    # Optax computes 1 - βᵗ in float32 whatever the weights' dtype: an error of 2⁻²⁴/0.001 = 6e-5 of
    # a step, which is 0.001 with weights near 1, five times.
    # Its AdaGrad has ε under the root: √(v + ε²) and √v + ε differ by up to ε = 1e-10, with a √v
    # that may be as small as 1e-3.
    loose = name == "jax" and optimizer in ("adam", "adamw", "adagrad")
    overrides = (f"optimizer={optimizer}",)
    assert_same_steps(name, tmp_path, *overrides, tolerance=1e-6 if loose else 1e-10)


@pytest.mark.peers
@pytest.mark.parametrize(("name", "activation"), ACTIVATIONS_OF_PEERS)
def test_peers_have_our_gradients_with_every_activation(
    name: str, activation: str, tmp_path: Path
) -> None:
    """A step of gradient descent of size 1 shows the gradient itself."""
    settings = ("optimizer=sgd", "optimizer.lr=1", f"model.activation={activation}")
    before = training(tmp_path, *settings).state.theta
    batch = next(orders())
    gradients = []
    for each in ("numpy", name):
        if spec_of(each).missing:
            pytest.skip(f"{each} is not installed")
        backend = build(each, training(tmp_path, *settings))
        backend.run_epoch(batch)
        gradients.append(before - backend.theta())
    largest = np.abs(gradients[0]).max()
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=0, atol=1e-6 * largest)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "optimizer", "setting"),
    [
        (*pair, setting.name)
        for pair in OPTIMIZERS_OF_PEERS
        for setting in fields(OPTIMIZERS[pair[1]])
    ],
)
def test_peers_get_every_setting_of_an_optimizer(
    name: str, optimizer: str, setting: str, tmp_path: Path
) -> None:
    """A setting added to a class must be passed on, or the steps would differ."""
    usual = getattr(configure(tmp_path, f"optimizer={optimizer}").recipe.optimizer, setting)
    loose = name == "jax" and optimizer in ("adam", "adamw", "adagrad")  # as above
    overrides = (f"optimizer={optimizer}", f"optimizer.{setting}={usual / 2}")
    assert_same_steps(name, tmp_path, *overrides, tolerance=1e-6 if loose else 1e-10)


OTHERS = [name for name in SPECS if name != "numpy"]

REFUSED = [
    ("torch", "schedule=cosine", "it has no Cosine; set schedule=constant"),
    ("jax", "schedule.warmup=1", "it has no WarmUp; set schedule=constant schedule.warmup=0"),
    ("torch", "model.dropout=0.1", "it has no model.dropout=0.1; set model.dropout=0.0"),
    ("torch", "model.input_dropout=0.1", "set model.input_dropout=0.0"),
    ("keras_jax", "train.max_norm=1", "train.max_norm=1.0"),
    ("keras", "train.ema=0.9", "train.ema=0.9"),
    ("sklearn", "train.l2=0.1", "set train.l2=0.0"),
    (
        "sklearn",
        "optimizer=rmsprop",
        "it has no RmsProp; set optimizer to one of sgd, momentum, nesterov, adam",
    ),
    (
        "sklearn",
        "model.activation=gelu",
        "it has no Gelu; set model.activation to one of sigmoid, tanh, relu",
    ),
]


@pytest.mark.parametrize(("name", "override", "reason"), REFUSED)
def test_what_a_backend_cannot_express_is_refused_by_name(
    name: str, override: str, reason: str, tmp_path: Path
) -> None:
    config = configure(tmp_path, override)
    refused = refusal(name, config)
    assert refused is not None
    assert reason in refused
    assert refusal("numpy", config) is None


def test_backends_with_its_classes_take_the_default_configuration(tmp_path: Path) -> None:
    config = configure(tmp_path)
    able = [name for name in SPECS if {Adam, Relu} <= {*_classes(name)}]
    assert {spec_of(name).module for name in config.backends} <= {SPECS[n].module for n in able}
    assert [refusal(name, config) for name in able] == [None] * len(able)


def test_every_backend_takes_gradient_descent_on_relu(tmp_path: Path) -> None:
    config = configure(tmp_path, "optimizer=sgd")
    assert [refusal(name, config) for name in SPECS] == [None] * len(SPECS)


def _classes(name: str) -> tuple[type, ...]:
    return *SPECS[name].optimizers, *SPECS[name].activations


@dataclass(frozen=True)
class SignSgd:
    """An optimizer that no backend supports."""

    def init(self, size: int, dtype: Any = np.float32) -> State:
        return {}

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        params -= lr * np.sign(gradient)


class Lion(Adam):
    """One that is an Adam to `isinstance`."""


@dataclass(frozen=True)
class Sine:
    """An activation that no backend supports."""

    def forward(self, z: Array, out: Array, slope: Array | None = None) -> None:
        np.sin(z, out=out)
        if slope is not None:
            np.cos(z, out=slope)


@dataclass(frozen=True)
class LaterRecipe(Recipe):
    """A recipe with one more setting."""

    lookahead: float = 0.0


def with_recipe(config: Config, **changes: Any) -> Config:
    return replace(config, recipe=replace(config.recipe, **changes))


def with_activation(config: Config, activation: Any) -> Config:
    return replace(config, network=replace(config.network, activation=activation))


@pytest.mark.parametrize("name", OTHERS)
def test_a_class_added_to_nn_is_refused_by_every_other_library(name: str, tmp_path: Path) -> None:
    """It must never be compared as something else."""
    config = configure(tmp_path, "optimizer=sgd")
    for optimizer in (SignSgd(), Lion(0.9, 0.999, 1e-8)):
        changed = with_recipe(config, optimizer=optimizer)
        assert f"it has no {type(optimizer).__name__};" in str(refusal(name, changed))
        assert refusal("numpy", changed) is None
    changed = with_activation(config, Sine())
    assert "it has no Sine; set model.activation to one of" in str(refusal(name, changed))
    assert refusal("numpy", changed) is None


@pytest.mark.parametrize("name", OTHERS)
def test_a_setting_added_to_a_recipe_is_refused_where_it_is_on(name: str, tmp_path: Path) -> None:
    config = configure(tmp_path, "optimizer=sgd")
    values = {field.name: getattr(config.recipe, field.name) for field in fields(config.recipe)}
    off = replace(config, recipe=LaterRecipe(**values))
    on = replace(config, recipe=LaterRecipe(**values, lookahead=0.5))
    assert refusal(name, off) is None
    reason = "it has no train.lookahead=0.5; set train.lookahead=0.0"
    assert refusal(name, on) == reason
    assert refusal("numpy", on) is None


@pytest.mark.parametrize(
    "name", ["sklearn", *(pytest.param(each, marks=pytest.mark.peers) for each in IN_PROCESS)]
)
def test_a_module_has_no_case_that_takes_another_class(name: str, tmp_path: Path) -> None:
    """A spec that lists too much does not bypass the cases themselves."""
    if spec_of(name).missing:
        pytest.skip(f"{name} is not installed")
    start_of = training(tmp_path)
    unknown = replace(start_of, config=with_recipe(start_of.config, optimizer=SignSgd()))
    with pytest.raises(UserError, match="it has no SignSgd"):
        build(name, unknown)
    start_of.network.activation = Sine()
    with pytest.raises(UserError, match="it has no Sine"):
        build(name, start_of)


def test_samples_are_scaled_as_ours(tmp_path: Path) -> None:
    whole = training(tmp_path, "data.standardize=true")
    images, labels = samples(whole)
    rows = whole.parts.train.rows
    expected = whole.network.read(whole.data.images, rows).outputs[0]
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(labels, whole.data.labels[rows])


def test_a_full_batch_is_all_samples(tmp_path: Path) -> None:
    whole = training(tmp_path, "train.batch_size=null")
    assert batch_size(whole) == len(whole.parts.train)
