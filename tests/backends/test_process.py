"""One backend's process: its epochs, its first steps, and every peer that is installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perceptune.backends import runner
from perceptune.backends.process import differ, first_steps, peak_memory
from perceptune.backends.specs import spec_of
from perceptune.nn.fit import fit
from perceptune.runs.training import start
from support import configure

SETTINGS = ("model.hidden=[16]", "train.epochs=2")


def test_ours_with_all_its_settings_is_a_fit(tmp_path: Path) -> None:
    """Also where the evaluated weights are not the trained ones, with EMA."""
    config = configure(
        tmp_path, *SETTINGS, "train.ema=0.9", "model.dropout=0.1", "schedule=cosine",
        "train.metrics_every=2", "train.checkpoint_seconds=0",
    )  # fmt: skip
    result = runner.train("numpy", config, tmp_path, parity_steps=0)
    training = start(config, [])
    every = config.changed(**{"train.metrics_every": 1}).recipe
    parts = training.parts
    records = list(fit(training.network, training.state, every, parts.train, parts.validation))
    assert [row["val/loss"] for row in result.history] == [each.val_loss for each in records]
    assert [row["train/loss"] for row in result.history] == [each.train_loss for each in records]
    assert "parity/loss" not in result.metrics


def test_first_steps_are_those_of_an_epoch(tmp_path: Path) -> None:
    config = configure(tmp_path, *SETTINGS, "train.epochs=1")
    losses, theta = first_steps("numpy", config, 10_000)
    training = start(config, [])
    [record] = fit(training.network, training.state, config.recipe, training.parts.train)
    np.testing.assert_array_equal(theta, training.state.weights)
    sizes = np.full(len(losses), 32)
    sizes[-1] = len(training.parts.train) - sizes[:-1].sum()
    assert np.average(losses, weights=sizes) == pytest.approx(record.train_loss, rel=1e-6)
    few, _ = first_steps("numpy", config, 3)
    np.testing.assert_array_equal(few, losses[:3])


def test_parity_is_the_largest_relative_difference() -> None:
    exact = (np.array([2.0, 1.0]), np.array([-4.0, 1.0]))
    other = (np.array([2.0, 1.1]), np.array([-4.0, 1.2]))
    assert differ(other, exact) == {
        "parity/loss": pytest.approx(0.1), "parity/weights": pytest.approx(0.05),
    }  # fmt: skip


def test_peak_memory_is_of_the_process_alone() -> None:
    """A process does not inherit the peak of its parent."""
    if peak_memory() is None:
        pytest.skip("this system does not report it")
    ballast = np.ones(25_000_000)  # 200 MB
    code = "from perceptune.backends.process import peak_memory; print(peak_memory())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(answer.stdout) < ballast.nbytes < (peak_memory() or 0)


@pytest.mark.peers
@pytest.mark.parametrize(
    "name", ["torch", "torch_compiled", "jax", "keras_jax", "keras_tensorflow", "keras_torch"]
)
def test_every_peer_makes_our_steps(name: str, tmp_path: Path) -> None:
    if spec_of(name).missing:
        pytest.skip(f"{name} is not installed")
    config = configure(tmp_path, "optimizer=momentum", *SETTINGS)
    metrics = runner.train(name, config, tmp_path, parity_steps=50).metrics
    # Roundings of 2⁻²⁴ over 50 steps, without an Adam to amplify them: 3e-7 was measured.
    assert max(metrics["parity/loss"], metrics["parity/weights"]) < 1e-5
    assert metrics["test/accuracy"] > 0.5
