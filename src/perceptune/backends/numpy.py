"""The backend of our own `nn.fit`, one epoch at a time."""

from dataclasses import replace
from typing import Any

import numpy as np

from perceptune.backends.backend import Backend
from perceptune.data.split import Part
from perceptune.nn.fit import fit
from perceptune.nn.layout import Array
from perceptune.runs.training import Training


class _AsGiven(np.random.Generator):
    """A generator whose permutations keep the order of the samples."""

    def permutation(self, x: Any, axis: int = 0) -> Array:
        return np.arange(x)


class NumpyBackend:
    """`fit` on the same samples as the other backends, in the same order."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._recipe = replace(training.config.recipe, metrics_every=1)
        # Arrays shared with the training's own state, whose generator draws the order.
        self._state = replace(training.state, order=_AsGiven(np.random.PCG64(0)))
        self._seen = 0

    def run_epoch(self, order: Array) -> float:
        """See `Backend`."""
        whole = self._training.parts.train
        # Schedules depend on the epoch, of which `order` may be a few batches.
        self._state.epoch = self._seen // len(whole)
        part = Part(whole.images, whole.labels, whole.rows[order])
        record = next(fit(self._training.network, self._state, self._recipe, part))
        self._seen += len(order)
        return record.train_loss

    def theta(self) -> Array:
        """See `Backend`."""
        return self._state.weights


build: type[Backend] = NumpyBackend
