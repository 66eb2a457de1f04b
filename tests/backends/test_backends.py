"""Every backend that is installed trains as ours does; what it cannot express it refuses."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from perceptune import backends
from perceptune.backends.numpy import NumpyBackend
from perceptune.config import to_dict
from perceptune.nn.activations import ACTIVATIONS
from perceptune.nn.fit import fit
from perceptune.nn.layout import Array
from perceptune.nn.optimizers import OPTIMIZERS
from perceptune.training import Training, start
from support import configure

STEPS, BATCH = 5, 32
IN_PROCESS = ("torch", "jax")  # Keras and a compiler take long: `test_runner` has them


def training(folder: Path, *overrides: str) -> Training:
    settings = ("model.hidden=[16,12]", "model.dtype=float64", "train.epochs=1", *overrides)
    return start(configure(folder, *settings), [])


def orders() -> Iterator[Array]:
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        yield rng.permutation(500)[:BATCH]


def walk(name: str, folder: Path, *overrides: str) -> tuple[list[float], Array]:
    """Losses and last weights of a few steps."""
    if backends.kind_of(name).missing:
        pytest.skip(f"{name} is not installed")
    backend = backends.build(name, training(folder, *overrides))
    return [backend.one_pass(order) for order in orders()], backend.theta()


def assert_same_walk(name: str, folder: Path, *overrides: str, tolerance: float) -> None:
    """Losses and weights, relative to the largest, differ by no more than `tolerance`."""
    losses, theta = walk(name, folder, *overrides)
    expected_losses, expected = walk("numpy", folder, *overrides)
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance, atol=0)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_a_pass_of_ours_is_that_of_fit(tmp_path: Path) -> None:
    whole = training(tmp_path, "model.dropout=0.2", "schedule=cosine", "train.epochs=2")
    by_fit = training(tmp_path, "model.dropout=0.2", "schedule=cosine", "train.epochs=2")
    order = np.random.default_rng(np.random.SeedSequence(0).spawn(2)[1].spawn(2)[0])
    ours = NumpyBackend(whole)
    records = fit(by_fit.network, by_fit.state, by_fit.config.recipe(), by_fit.parts.train)
    for record in records:
        assert ours.one_pass(order.permutation(len(whole.parts.train))) == record.train_loss
        np.testing.assert_array_equal(ours.theta(), by_fit.state.weights)


# Adam of scikit-learn: its ε counts up to √0.001 times as much as ours, so with a small one the
# two are alike, but where a gradient is as small.
SKLEARN = [
    (["optimizer=sgd"], 1e-12),
    (["optimizer=momentum"], 1e-12),
    (["optimizer=nesterov"], 1e-12),
    (["optimizer=adam", "optimizer.eps=1e-30"], 1e-9),
    (["optimizer=sgd", "model.activation=tanh"], 1e-12),
    (["optimizer=sgd", "model.activation=sigmoid"], 1e-12),
    (["optimizer=sgd", "train.batch_size=10"], 1e-12),
]


@pytest.mark.parametrize(("overrides", "tolerance"), SKLEARN, ids=str)
def test_scikit_learn_makes_our_steps(
    overrides: list[str], tolerance: float, tmp_path: Path
) -> None:
    assert_same_walk("sklearn", tmp_path, *overrides, tolerance=tolerance)


@pytest.mark.peers
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", IN_PROCESS)
def test_peers_make_our_steps_with_every_optimizer(
    name: str, optimizer: str, tmp_path: Path
) -> None:
    # Optax takes 1 - βᵗ in float32 whatever the weights are: 2⁻²⁴/0.001 = 6e-5 of a step, which is
    # 0.001 beside weights near 1, five times.
    # Its AdaGrad has ε under the root: √(v + ε²) and √v + ε differ by up to ε = 1e-10, beside a √v
    # that may be as small as 1e-3.
    loose = name == "jax" and optimizer in ("adam", "adamw", "adagrad")
    overrides = (f"optimizer={optimizer}",)
    assert_same_walk(name, tmp_path, *overrides, tolerance=1e-6 if loose else 1e-10)


@pytest.mark.peers
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", IN_PROCESS)
def test_peers_have_our_gradients_with_every_activation(
    name: str, activation: str, tmp_path: Path
) -> None:
    """A step of gradient descent of size 1 shows the gradient itself."""
    settings = ("optimizer=sgd", "optimizer.lr=1", f"model.activation={activation}")
    before = training(tmp_path, *settings).state.theta
    batch = next(orders())
    gradients = []
    for each in ("numpy", name):
        if backends.kind_of(each).missing:
            pytest.skip(f"{each} is not installed")
        backend = backends.build(each, training(tmp_path, *settings))
        backend.one_pass(batch)
        gradients.append(before - backend.theta())
    largest = np.abs(gradients[0]).max()
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=0, atol=1e-6 * largest)


REFUSED = [
    ("torch", "schedule=cosine", "schedule.name=cosine is known to numpy alone"),
    ("jax", "schedule.warmup=1", "schedule.warmup=1"),
    ("torch", "model.dropout=0.1", "model.dropout=0.1 is known to numpy alone"),
    ("keras_jax", "train.max_norm=1", "train.max_norm=1.0"),
    ("keras", "train.ema=0.9", "train.ema=0.9"),
    ("sklearn", "train.l2=0.1", "set train.l2=0.0"),
    (
        "sklearn",
        "optimizer=rmsprop",
        "optimizer.name=rmsprop; it has sgd, momentum, nesterov, adam",
    ),
    ("sklearn", "model.activation=gelu", "model.activation=gelu; it has relu, tanh, sigmoid"),
]


@pytest.mark.parametrize(("name", "override", "reason"), REFUSED)
def test_what_a_backend_cannot_express_is_refused_by_name(
    name: str, override: str, reason: str, tmp_path: Path
) -> None:
    config = configure(tmp_path, override)
    refusal = backends.refusal(name, config)
    assert refusal is not None
    assert reason in refusal
    assert backends.refusal("numpy", config) is None


def test_every_setting_of_a_recipe_is_either_shared_or_refused(tmp_path: Path) -> None:
    """A new knob of `train` must not be lost on the others without a word."""
    shared = {"epochs", "batch_size"}
    of_the_harness = {"metrics_every", "patience", "evaluate_test", "checkpoint_seconds"}
    known = {key.removeprefix("train.") for key in backends._OURS_ALONE}
    assert set(to_dict(configure(tmp_path))["train"]) <= shared | of_the_harness | known


def test_the_schema_knows_all_backends(tmp_path: Path) -> None:
    every = ",".join(backends.NAMES)
    assert configure(tmp_path, f"backends=[{every}]").backends == list(backends.NAMES)


def test_keras_runs_on_what_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert backends.kind_of("keras") == backends.KINDS["keras_torch"]


def test_samples_are_scaled_as_ours(tmp_path: Path) -> None:
    whole = training(tmp_path, "data.standardize=true")
    images, labels = backends.samples(whole)
    rows = whole.parts.train.rows
    expected = whole.network.read(whole.data.images, rows).outputs[0]
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(labels, whole.data.labels[rows])


def test_a_full_batch_is_all_samples(tmp_path: Path) -> None:
    whole = training(tmp_path, "train.batch_size=null")
    assert backends.batch_size(whole) == len(whole.parts.train)
