"""The state of a training: everything that changes from step to step, as one value to be saved."""

from dataclasses import dataclass

import numpy as np

from perceptune.nn.layout import Array
from perceptune.nn.optimizers import State
from perceptune.nn.recipe import Recipe


@dataclass
class TrainingState:
    """The state of a training; a training resumed from it continues bit for bit.

    Attributes:
        theta: (size,) parameters.
        optimizer: the optimizer's own state.
        average: (size,) running average of θ, if the recipe has one.
        epoch: epochs finished.
        order, noise: generators of the sample order and of dropout.
    """

    theta: Array
    optimizer: State
    average: Array | None
    epoch: int
    order: np.random.Generator
    noise: np.random.Generator

    @classmethod
    def start(cls, theta: Array, recipe: Recipe, seed: np.random.SeedSequence) -> "TrainingState":
        """Make the state before the first epoch; training changes `theta` (size,) in place."""
        order, noise = (np.random.default_rng(child) for child in seed.spawn(2))
        optimizer = recipe.optimizer.init(theta.size, theta.dtype)
        average = theta.copy() if recipe.ema else None
        return cls(theta, optimizer, average, 0, order, noise)

    @property
    def finite(self) -> bool:
        """True while all numbers are finite; if not, the training has diverged."""
        arrays = [self.theta, self.weights, *self.optimizer.values()]
        return all(bool(np.isfinite(array).all()) for array in arrays)

    @property
    def weights(self) -> Array:
        """The parameters (size,) to evaluate and to keep: the average where there is one."""
        return self.theta if self.average is None else self.average
