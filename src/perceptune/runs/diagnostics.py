"""Records of `tracking.diagnostics=true`: numbers by epoch and layer, and a figure."""

from pathlib import Path

import numpy as np

from perceptune import figures
from perceptune.nn.diagnostics import activations, inspect
from perceptune.runs.training import Training

_SAMPLES = 256


class Diagnostics:
    """Inspects one training on one batch of its training samples, the same at every epoch."""

    def __init__(self, training: Training) -> None:
        self._training = training
        train = training.parts.train
        rows = np.random.default_rng(0).permutation(train.rows)[:_SAMPLES]
        self._images = np.asarray(train.images[rows])
        self._labels = train.labels[rows].astype(np.intp)
        self._before = self._activations()

    def metrics(self, lr: float) -> dict[str, float]:
        """Measure every layer: `layer_1/gradient_norm` and so on by metric name, input first."""
        training = self._training
        layers = inspect(
            training.network,
            training.state.theta,
            self._images,
            self._labels,
            training.config.recipe.optimizer,
            training.state.optimizer,
            lr,
        )
        return {
            f"layer_{number}/{name}": value
            for number, layer in enumerate(layers, start=1)
            for name, value in vars(layer).items()
            if value is not None and np.isfinite(value)
        }

    def draw(self, path: Path) -> None:
        """Draw histograms of the hidden layers' activations, at the start and now."""
        figures.activations(path, self._before, self._activations())

    def _activations(self) -> list[np.ndarray]:
        training = self._training
        return activations(training.network, training.state.theta, self._images)
