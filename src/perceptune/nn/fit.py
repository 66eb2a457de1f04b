"""The training loop as a generator: epoch by epoch, one `Epoch` record after another.

The caller decides between epochs whether to log, save or stop; nothing here does any of these.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perceptune.nn.layout import Array
from perceptune.nn.losses import cross_entropy, target_table
from perceptune.nn.network import Network
from perceptune.nn.recipe import Recipe
from perceptune.nn.state import TrainingState
from perceptune.nn.trainer import MICRO_BATCH, Samples, Trainer


@dataclass(frozen=True)
class Epoch:
    """The measurements of one epoch.

    Attributes:
        number: the epoch's number, from 1.
        train_loss, train_accuracy: means over the epoch, each batch measured just before its own
            step and with dropout; the loss is without penalties.
        val_loss, val_accuracy: after the epoch; None without a validation part.
        lr: learning rate of the last step.
        seconds: time of the epoch, without the validation.
        samples: number of training samples.
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
        """True while both losses are finite; if not, the training has diverged."""
        return math.isfinite(self.train_loss) and math.isfinite(self.val_loss or 0.0)


def fit(
    network: Network,
    state: TrainingState,
    recipe: Recipe,
    train: Samples,
    validation: Samples | None = None,
) -> Iterator[Epoch]:
    """Train from `state` on, changing it in place, until `recipe.epochs` epochs are finished.

    Between two records `state` can be saved; a `fit` that starts from the saved state is
    bit-identical to an uninterrupted one.
    """
    trainer = Trainer(network, state, recipe, train)
    while state.epoch < recipe.epochs:
        started = time.perf_counter()
        with np.errstate(all="ignore"):  # a training that diverges shows in its loss
            loss, accuracy = trainer.run_epoch()
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
    network: Network, theta: Array, samples: Samples, chunk: int = MICRO_BATCH
) -> tuple[float, float]:
    """Compute mean cross-entropy and accuracy of `theta` (size,) on all of `samples`.

    `chunk` samples are evaluated at a time, to bound memory.
    """
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
