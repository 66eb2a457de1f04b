"""One epoch of training: for each batch from pixels to the gradient to new parameters.

Knows nothing of validation, of records, or of the number of epochs to come.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from perceptune.nn.layout import Array, Layer
from perceptune.nn.losses import target_table
from perceptune.nn.network import Network
from perceptune.nn.optimizers import Sgd
from perceptune.nn.recipe import Recipe
from perceptune.nn.regularizers import add_penalty, clip_norm, decay, limit_unit_norms
from perceptune.nn.state import TrainingState

# Samples that go through the network at once. A larger batch is split into micro-batches that fit
# in cache, and their gradients are summed: a full batch of MNIST takes 0.08 s this way and 0.14 s
# at once (10 hidden units).
MICRO_BATCH = 512


class Samples(Protocol):
    """Labelled images, of which only some rows are used."""

    @property
    def images(self) -> Array:
        """Pixels as stored, (n_total, inputs)."""

    @property
    def labels(self) -> Array:
        """Class indices, integers from 0, (n_total,)."""

    @property
    def rows(self) -> Array:
        """Indices of the samples to use, (samples,)."""


@dataclass
class Trainer:
    """The views and constants of one training, made once instead of in every step.

    Attributes:
        network: the network to train.
        state: its parameters and the optimizer's state, changed in place.
        recipe: the hyperparameters.
        train: the training samples.
        lr: learning rate of the last step.
    """

    network: Network
    state: TrainingState
    recipe: Recipe
    train: Samples
    lr: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        network, train, recipe = self.network, self.train, self.recipe
        self.gradient = np.empty_like(self.state.theta)
        self.layers: list[Layer] = network.layout.layers(self.state.theta)
        self.gradients: list[Layer] = network.layout.layers(self.gradient)
        # Pages never written cost no memory: micro_gradient is only written by micro-batches after
        # the first, scratch only by penalties.
        self.micro_gradient = np.empty_like(self.gradient)
        self.micro_gradients = network.layout.layers(self.micro_gradient)
        self.scratch = network.layout.layers(np.empty_like(self.gradient))
        self.targets = target_table(network.widths[-1], recipe.label_smoothing, network.dtype)
        self.images = np.asarray(train.images)  # a memory map's own indexing is slower
        self.labels = train.labels[train.rows].astype(np.intp)
        self.batch_size = min(recipe.batch_size or len(train.rows), len(train.rows))
        self.steps = math.ceil(len(train.rows) / self.batch_size)
        # For plain SGD lr is folded into the gradient: one pass fewer over θ.
        plain = not (recipe.l1 or recipe.l2 or recipe.clip_norm)
        self.lr_in_gradient = plain and isinstance(recipe.optimizer, Sgd)

    def run_epoch(self) -> tuple[float, float]:
        """Train on every sample once, in a fresh random order; return mean loss and accuracy."""
        count = len(self.labels)
        rows, labels = self.train.rows, self.labels
        if self.steps > 1:
            order = self.state.order.permutation(count)
            rows, labels = rows[order], labels[order]
        loss, hits = 0.0, 0
        for step in range(self.steps):
            batch = slice(step * self.batch_size, (step + 1) * self.batch_size)
            batch_loss, batch_hits = self._step(step, rows[batch], labels[batch])
            loss += batch_loss * len(rows[batch])
            hits += batch_hits
        return loss / count, hits / count

    def _step(self, step: int, rows: Array, labels: Array) -> tuple[float, int]:
        """Make one update; return the batch's mean loss and number of hits before it.

        `rows` (batch,) index the images, `labels` (batch,) are their classes.
        """
        recipe, state = self.recipe, self.state
        epoch = state.epoch + step / self.steps
        self.lr = recipe.lr * recipe.schedule.factor(epoch / recipe.epochs, epoch)
        loss, hits = self._differentiate(rows, labels, self.lr if self.lr_in_gradient else 1.0)
        if recipe.l1 or recipe.l2:
            add_penalty(self.layers, self.gradients, recipe.l1, recipe.l2, self.scratch)
        if recipe.clip_norm:
            clip_norm(self.gradient, recipe.clip_norm)
        if recipe.weight_decay:
            decay(self.layers, self.lr * recipe.weight_decay)
        if self.lr_in_gradient:
            state.theta -= self.gradient
        else:
            recipe.optimizer.step(state.theta, self.gradient, state.optimizer, self.lr)
        if recipe.max_norm:
            limit_unit_norms(self.layers, recipe.max_norm)
        if state.average is not None:
            self._update_average(state.average, state.epoch * self.steps + step)
        return loss, hits

    def _differentiate(self, rows: Array, labels: Array, scale: float) -> tuple[float, int]:
        """Write the gradient of scale · loss to `gradient`; return mean loss and hits.

        `rows` and `labels` are (batch,) and go in micro-batches.
        """
        loss, hits = 0.0, 0
        for start in range(0, len(rows), MICRO_BATCH):
            part = slice(start, start + MICRO_BATCH)
            truth = labels[part]
            fraction = len(truth) / len(rows)
            work = self.network.read(self.images, rows[part], train=True)
            self.targets.take(truth, axis=0, out=work.targets, mode="clip")
            gradients = self.gradients if start == 0 else self.micro_gradients
            loss += fraction * self.network.loss_and_gradient(
                self.layers, gradients, work, work.targets, self.state.noise, scale * fraction
            )
            if start:
                self.gradient += self.micro_gradient
            np.equal(work.predicted, truth, out=work.hits)
            hits += int(np.count_nonzero(work.hits))
        return loss, hits

    def _update_average(self, average: Array, step: int) -> None:
        """Move `average` (size,) towards θ.

        Early steps use a smaller decay rate, (1 + step) / (10 + step), so that the initial weights
        fade quickly.
        """
        keep = min(self.recipe.ema, (1 + step) / (10 + step))
        np.subtract(self.state.theta, average, out=self.gradient)
        self.gradient *= 1 - keep
        average += self.gradient
