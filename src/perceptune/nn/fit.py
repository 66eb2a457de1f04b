"""Training: passes over the data, as a generator that yields one `Epoch` record after another.

Whoever iterates decides what to do between epochs: log, stop, save. Nothing here knows why.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from perceptune.nn.layout import Array, Layer
from perceptune.nn.losses import cross_entropy, target_table
from perceptune.nn.network import Network
from perceptune.nn.optimizers import Sgd, State
from perceptune.nn.recipe import Recipe
from perceptune.nn.regularizers import add_penalty, clip_norm, decay, limit_unit_norms

# Samples that go through the network at once. A larger batch goes in pieces that stay in cache,
# and their gradients add up: full batches of MNIST take 0.08 s so, 0.14 s in one go (10 units).
_PIECE = 512


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


@dataclass(frozen=True)
class Epoch:
    """What one pass over the data came to.

    Attributes:
        number: passes finished, from 1.
        train_loss, train_accuracy: means over the pass, each batch measured just before its own
            step and with dropout at work; the penalties are left out of the loss.
        val_loss, val_accuracy: after the pass; None without a validation part.
        lr: step size of the last step.
        seconds: time of the pass, without the validation.
        samples: how many were seen in it.
    """

    number: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    seconds: float
    samples: int

    @property
    def finite(self) -> bool:
        """Whether both losses are numbers; if not, the training has diverged."""
        return math.isfinite(self.train_loss) and math.isfinite(self.val_loss or 0.0)


def fit(
    network: Network,
    state: TrainingState,
    recipe: Recipe,
    train: Samples,
    validation: Samples | None = None,
) -> Iterator[Epoch]:
    """Train from `state` on, changing it in place, until `recipe.epochs` passes are made.

    Between two records `state` is whole: it may be saved, and a fit that starts from what was
    saved ends with the same bits.
    """
    trainer = _Trainer(network, state, recipe, train)
    while state.epoch < recipe.epochs:
        started = time.perf_counter()
        with np.errstate(all="ignore"):  # a training that diverges shows in its loss
            loss, accuracy = trainer.one_pass()
        seconds = time.perf_counter() - started
        state.epoch += 1
        if state.epoch % recipe.metrics_every and state.epoch < recipe.epochs:
            continue
        val_loss, val_accuracy = None, None
        if validation is not None:
            val_loss, val_accuracy = evaluate(network, state.weights, validation)
        yield Epoch(
            number=state.epoch,
            train_loss=loss,
            train_accuracy=accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            lr=trainer.lr,
            seconds=seconds,
            samples=len(train.rows),
        )


def evaluate(
    network: Network, theta: Array, samples: Samples, chunk: int = _PIECE
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of `theta` (size,) on all of `samples`, in chunks."""
    layers = network.layout.layers(theta)
    table = target_table(network.widths[-1], dtype=network.dtype)
    images = np.asarray(samples.images)
    loss, hits = 0.0, 0
    with np.errstate(all="ignore"):
        for start in range(0, len(samples.rows), chunk):
            rows = samples.rows[start : start + chunk]
            labels = samples.labels[rows]
            work = network.read(images, rows)
            logits = network.forward(layers, work)
            logits.argmax(axis=1, out=work.predicted)
            hits += int(np.count_nonzero(work.predicted == labels))
            loss += cross_entropy(logits, table[labels], work.column)
    return loss / len(samples.rows), hits / len(samples.rows)


@dataclass
class _Trainer:
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

    def one_pass(self) -> tuple[float, float]:
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
        for start in range(0, len(rows), _PIECE):
            piece, truth = rows[start : start + _PIECE], labels[start : start + _PIECE]
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
