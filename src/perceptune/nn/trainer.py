"""One pass over the data: batch by batch from pixels to a gradient, and from it to new parameters.

Nothing here knows of validation, records, or how many passes there are to be.
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

# Samples that go through the network at once. A larger batch goes in pieces that stay in cache,
# and their gradients add up: full batches of MNIST take 0.08 s so, 0.14 s in one go (10 units).
MICRO_BATCH = 512


class Samples(Protocol):
    """Labelled images of which some rows are meant."""

    @property
    def images(self) -> Array:
        """Pixels as they were stored, (all, inputs)."""

    @property
    def labels(self) -> Array:
        """Integers below the number of classes, (all,)."""

    @property
    def rows(self) -> Array:
        """Which samples are meant, (samples,) indices into both."""


@dataclass
class Trainer:
    """One fit's views and constants, so that the inner loop makes none of them."""

    network: Network
    state: TrainingState
    recipe: Recipe
    train: Samples
    lr: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        network, train = self.network, self.train
        self.gradient = np.empty_like(self.state.theta)
        self.layers: list[Layer] = network.layout.layers(self.state.theta)
        self.gradients: list[Layer] = network.layout.layers(self.gradient)
        # Untouched pages of these cost no memory: for large batches, and for penalties.
        self.piece_gradient = np.empty_like(self.gradient)
        self.piece_gradients = network.layout.layers(self.piece_gradient)
        self.scratch = network.layout.layers(np.empty_like(self.gradient))
        classes = network.widths[-1]
        self.table = target_table(classes, self.recipe.label_smoothing, network.dtype)
        self.images = np.asarray(train.images)  # a memory map's own indexing is slower
        self.labels = train.labels[train.rows].astype(np.intp)
        self.batch_size = min(self.recipe.batch_size or len(train.rows), len(train.rows))
        self.steps = math.ceil(len(train.rows) / self.batch_size)
        # Plain descent takes its step size along in the gradient: one pass fewer over θ.
        recipe = self.recipe
        plain = not (recipe.l1 or recipe.l2 or recipe.clip_norm)
        self.folds = plain and isinstance(recipe.optimizer, Sgd)

    def run_epoch(self) -> tuple[float, float]:
        """Mean loss and accuracy over a pass in a fresh random order."""
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
        """One update; the batch's mean loss and its number of right answers before it."""
        recipe, state = self.recipe, self.state
        epoch = state.epoch + step / self.steps
        self.lr = recipe.lr * recipe.schedule.factor(epoch / recipe.epochs, epoch)
        loss, hits = self._differentiate(rows, labels, self.lr if self.folds else 1.0)
        if recipe.l1 or recipe.l2:
            add_penalty(self.layers, self.gradients, recipe.l1, recipe.l2, self.scratch)
        if recipe.clip_norm:
            clip_norm(self.gradient, recipe.clip_norm)
        if recipe.weight_decay:
            decay(self.layers, self.lr * recipe.weight_decay)
        if self.folds:
            state.theta -= self.gradient
        else:
            recipe.optimizer.step(state.theta, self.gradient, state.optimizer, self.lr)
        if recipe.max_norm:
            limit_unit_norms(self.layers, recipe.max_norm)
        if state.average is not None:
            self._average(state.average, state.epoch * self.steps + step)
        return loss, hits

    def _differentiate(self, rows: Array, labels: Array, scale: float) -> tuple[float, int]:
        """Mean loss and right answers of a batch; `gradient` is then that of scale · loss."""
        loss, hits = 0.0, 0
        for start in range(0, len(rows), MICRO_BATCH):
            piece, truth = rows[start : start + MICRO_BATCH], labels[start : start + MICRO_BATCH]
            share = len(piece) / len(rows)
            work = self.network.read(self.images, piece)
            self.table.take(truth, axis=0, out=work.targets, mode="clip")
            gradients = self.gradients if start == 0 else self.piece_gradients
            loss += share * self.network.loss_and_gradient(
                self.layers, gradients, work, work.targets, self.state.noise, scale * share
            )
            if start:
                self.gradient += self.piece_gradient
            np.equal(work.predicted, truth, out=work.hits)
            hits += int(np.count_nonzero(work.hits))
        return loss, hits

    def _average(self, average: Array, step: int) -> None:
        """Move the average towards θ; young averages forget faster, so that none is stale."""
        keep = min(self.recipe.ema, (1 + step) / (10 + step))
        np.subtract(self.state.theta, average, out=self.gradient)
        self.gradient *= 1 - keep
        average += self.gradient
