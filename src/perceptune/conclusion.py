"""The end of a run: weights, model and final numbers are recorded, and what was learnt is shown.

A study's trial is told apart here: it never reads the test set.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from perceptune import exhibits, figures
from perceptune.config import Config
from perceptune.data.dataset import Dataset
from perceptune.data.split import Part, Split
from perceptune.nn import checkpoint
from perceptune.nn.layout import Array
from perceptune.nn.network import Network
from perceptune.tracking.run import Entry, Run
from perceptune.training import Training


def conclude(training: Training, run: Run, outcome: str, *, in_trial: bool) -> dict[str, float]:
    """Record the weights and the final numbers, and return these."""
    config, best, network = training.config, training.best, training.network
    final = dict(best.metrics)
    final |= {"model/parameters": float(network.layout.size), "fit_seconds": training.seconds}
    logged = {"best/epoch": float(best.epoch), "fit_seconds": training.seconds}
    if "val/accuracy" in best.metrics:
        logged["best/val_accuracy"] = best.metrics["val/accuracy"]
    said = None
    if _reads_test(config, outcome, in_trial):
        said = predictions(training.data, network, best.theta, "test", training.parts.test)
        logged |= said.metrics("test")
    run.log_metrics(logged)
    keep_weights(training, run, as_model=not in_trial)
    if _draws(config, in_trial):
        _show(training, run, said)
    return final | logged


def keep_weights(
    training: Training, run: Run, folder: str = "weights", *, as_model: bool = False
) -> None:
    """Record the weights in `folder`, and perhaps the best of them as a model for others."""
    best, config = training.best, training.config
    with tempfile.TemporaryDirectory() as scratch:
        for name, theta in (("last", training.state.weights), ("best", best.theta)):
            weights = Path(scratch) / f"{name}.npz"
            checkpoint.save_network(weights, training.network, theta, notes(training))
            run.log_file(weights, folder)
        if as_model:
            entry = None
            if config.register is not None:
                accuracy = best.metrics.get("val/accuracy")
                entry = Entry(config.register, accuracy, training.data.digest)
            run.log_model(weights, example(training.parts), entry)


def example(parts: Split) -> Array:
    """Two images, to show what a model is given."""
    return np.asarray(parts.train.images[parts.train.rows[:2]])


def _show(training: Training, run: Run, said: exhibits.Predictions | None) -> None:
    """Pictures and tables; of validation samples where the test set must not be read."""
    best, network, data = training.best, training.network, training.data
    validation = training.parts.validation
    if said is None and validation is not None:
        said = predictions(data, network, best.theta, "validation", validation)
    log_picture(run, "curves", lambda path: figures.curves(path, training.history, best.epoch))
    exhibits.show_weights(run, network, best.theta, data.shape)
    if said is not None:
        exhibits.show(run, said)


def log_picture(run: Run, name: str, draw: Callable[[Path], None]) -> None:
    """Record what `draw` draws, by `name`."""
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / f"{name}.png"
        draw(picture)
        run.log_file(picture, "plots")


def predictions(
    data: Dataset, network: Network, theta: Array, name: str, part: Part
) -> exhibits.Predictions:
    """What weights say about a part of the data."""
    probabilities = network.probabilities(theta, part.images[part.rows])
    return exhibits.Predictions.of(name, part, data.shape, probabilities, data.classes)


def notes(training: Training) -> dict[str, Any]:
    """What a network's file says beside its weights: enough to use it on new images."""
    data = training.data
    return {
        "shape": data.shape,
        "classes": data.classes,
        "pixel_max": data.pixel_max,
        "data": {
            "name": data.name,
            "digest": data.digest,
            "split_seed": training.config.data.split_seed,
        },
        "epoch": training.best.epoch,
        "val/accuracy": training.best.metrics.get("val/accuracy"),
    }


def _draws(config: Config, in_trial: bool) -> bool:
    wanted = config.tracking.figures
    return config.tracking.enabled and (wanted == "all" or (wanted == "best" and not in_trial))


def _reads_test(config: Config, outcome: str, in_trial: bool) -> bool:
    """Every choice is made on validation samples: a trial never looks at the test set."""
    return not in_trial and outcome != "pruned" and config.train.evaluate_test is not False
