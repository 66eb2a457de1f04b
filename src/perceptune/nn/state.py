"""What changes while training, as one value that can be saved; not how it changes."""

from dataclasses import dataclass

import numpy as np

from perceptune.nn.layout import Array
from perceptune.nn.optimizers import State
from perceptune.nn.recipe import Recipe


@dataclass
class TrainingState:
    """All that changes while training: what a checkpoint must hold to go on bit by bit.

    Attributes:
        theta: (size,) parameters.
        optimizer: what the optimizer remembers.
        average: (size,) running average of θ, if there is one.
        epoch: passes finished.
        order, noise: draw the order of the samples, and dropout.
    """

    theta: Array
    optimizer: State
    average: Array | None
    epoch: int
    order: np.random.Generator
    noise: np.random.Generator

    @classmethod
    def start(cls, theta: Array, recipe: Recipe, seed: np.random.SeedSequence) -> "TrainingState":
        """The state before the first epoch; `theta` will be changed in place."""
        order, noise = (np.random.default_rng(child) for child in seed.spawn(2))
        memory = recipe.optimizer.init(theta.size, theta.dtype)
        average = theta.copy() if recipe.ema else None
        return cls(theta, memory, average, 0, order, noise)

    @property
    def weights(self) -> Array:
        """The parameters to evaluate and to keep: the average where there is one."""
        return self.theta if self.average is None else self.average
