"""The results of a run: weights, model, final metrics, figures and tables.

A trial of a study never reads the test set. Knows nothing of the epoch loop.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from perceptune import figures
from perceptune.config import Config
from perceptune.data.dataset import Dataset
from perceptune.data.split import Part, Split
from perceptune.errors import DivergedError
from perceptune.evaluation import Scores, Spread, calibrate, confused_pairs, mistakes, score
from perceptune.nn.checkpoint import save_network
from perceptune.nn.checks import NotFiniteError
from perceptune.nn.layout import Array
from perceptune.nn.network import Network
from perceptune.runs.training import Training, rank
from perceptune.tracking.registry import Registration
from perceptune.tracking.runs import Run

_SHOWN = 40  # samples in a gallery
_UNITS = 64  # first-layer units in a figure


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network, or of the mean of several, for a part of the data.

    Attributes:
        part: its name, `test` or `validation`.
        images: (samples, height, width), for figures.
        rows: (samples,) their indices in the data set.
        labels: (samples,) the true classes.
        probabilities: (samples, classes).
        classes: their names.
    """

    part: str
    images: Array
    rows: Array
    labels: Array
    probabilities: Array
    classes: Sequence[str]

    @classmethod
    def of(cls, name: str, part: Part, data: Dataset, probabilities: Array) -> "Predictions":
        """Make them from `probabilities` (samples, classes) of the part `name` of `data`."""
        images = part.images[part.rows].reshape(-1, *data.shape)
        labels = part.labels[part.rows]
        return cls(name, images, part.rows, labels, probabilities, data.classes)

    @classmethod
    def by(
        cls, network: Network, theta: Array, data: Dataset, name: str, part: Part
    ) -> "Predictions":
        """Predict the part `name` of `data` by `network` with `theta` (size,).

        Raises:
            DivergedError: the weights are so large that the predictions are not finite.
        """
        try:
            probabilities = network.probabilities(theta, part.images[part.rows])
        except NotFiniteError as error:
            raise DivergedError(f"the training diverged: {error}; lower optimizer.lr") from None
        return cls.of(name, part, data, probabilities)

    def scores(self) -> Scores:
        """Loss, confusion matrix, and scores by class."""
        return score(self.labels, self.probabilities)

    def metrics(self, prefix: str) -> dict[str, float]:
        """The scores and the calibration error, by metric name."""
        error = calibrate(self.labels, self.probabilities).error
        return self.scores().metrics(prefix) | {f"{prefix}/ece": error}


def final_metrics(
    trainings: Sequence[Training], run: Run, outcome: str, *, in_trial: bool
) -> tuple[dict[str, float], Predictions | None]:
    """Measure and record the final metrics, as means over seeds; with what was predicted of tests.

    Raises:
        DivergedError: see `Predictions.by`.
    """
    first = trainings[0]
    config, size = first.config, float(first.network.layout.size)
    final = {"best/epoch": fmean(training.best.epoch for training in trainings)}
    final["fit_seconds"] = sum(training.seconds for training in trainings)
    best = {name: [t.best.metrics[name] for t in trainings] for name in first.best.metrics}
    means = {name: fmean(values) for name, values in best.items()}
    if "val/accuracy" in means:
        final["best/val_accuracy"] = means["val/accuracy"]
    for name, values in best.items() if len(trainings) > 1 else ():
        final |= Spread.of(values).metrics(name)
    predictions = None
    if _reads_test(config, outcome, in_trial):
        predictions = predictions_of(first, "test", first.parts.test)
        final |= predictions.metrics("test")
    run.log_metrics(final)
    return means | {"model/parameters": size, **final}, predictions


def record_results(
    trainings: Sequence[Training], run: Run, predictions: Predictions | None, *, in_trial: bool
) -> None:
    """Record weights, model and figures; `predictions` of the test set, if it was read."""
    config = trainings[0].config
    for training in trainings if len(trainings) > 1 else ():
        record_weights(training, run, weights_folder(training.config.seed))
    best_seed = max(trainings, key=lambda training: rank(training.best.metrics, config.objectives))
    record_weights(best_seed, run, as_model=not in_trial)
    if _draws(config, in_trial):
        _draw(trainings, run, predictions)


def weights_folder(seed: int) -> str:
    """The folder of one seed's weights in a trial with several."""
    return f"weights/seed_{seed}"


def record_weights(
    training: Training, run: Run, folder: str = "weights", *, as_model: bool = False
) -> None:
    """Record the last and the best weights in `folder`, and the best `as_model` as well."""
    best, config = training.best, training.config
    with tempfile.TemporaryDirectory() as scratch:
        for name, theta in (("last", training.state.weights), ("best", best.theta)):
            weights = Path(scratch) / f"{name}.npz"
            save_network(weights, training.network, theta, metadata(training))
            run.log_file(weights, folder)
        if as_model:
            registration = None
            if config.register is not None:
                accuracy = best.metrics.get("val/accuracy")
                registration = Registration(config.register, accuracy, training.data.digest)
            run.log_model(weights, example(training.parts), registration)


def predictions_of(training: Training, name: str, part: Part) -> Predictions:
    """Predictions of the best weights."""
    return Predictions.by(training.network, training.best.theta, training.data, name, part)


def example(parts: Split) -> Array:
    """Two images, (2, pixels), as an example of a model's input."""
    return np.asarray(parts.train.images[parts.train.rows[:2]])


def metadata(training: Training) -> dict[str, Any]:
    """The metadata of a network's file: enough to apply it to new images."""
    data, spec = training.data, training.config.data
    return {
        "shape": data.shape,
        "classes": data.classes,
        "pixel_max": data.pixel_max,
        "columns": data.columns,
        "data": {
            "name": data.name,
            "digest": data.digest,
            "split_seed": spec.split_seed,
            "dir": spec.dir,
            "path": spec.path,
            "origin": data.origin,
        },
        "epoch": training.best.epoch,
        "val/accuracy": training.best.metrics.get("val/accuracy"),
    }


def log_predictions(run: Run, predictions: Predictions, suffix: str = "") -> None:
    """Record figures and tables of `predictions`; `suffix` ends their names."""
    scores, names = predictions.scores(), predictions.classes
    labels, probabilities = predictions.labels, predictions.probabilities
    wrong, part = mistakes(labels, probabilities), predictions.part
    # Always the same samples, so that runs can be compared.
    some = np.random.default_rng(0).permutation(len(labels))[:_SHOWN]
    run.log_figure(
        f"confusion{suffix}", lambda path: figures.confusion(path, scores.confusion, names)
    )
    run.log_figure(
        f"per_class{suffix}",
        lambda path: figures.per_class(path, scores.precision, scores.recall, scores.f1, names),
    )
    run.log_figure(
        f"calibration{suffix}",
        lambda path: figures.calibration(path, calibrate(labels, probabilities)),
    )
    title = f"the most confident of {len(wrong):,} mistakes ({part}): true → predicted"
    _log_gallery(run, f"mistakes{suffix}", predictions, wrong[:_SHOWN], title)
    title = f"random samples ({part}): true → predicted"
    _log_gallery(run, f"samples{suffix}", predictions, some, title)
    run.log_table(f"mistakes{suffix}.json", *_mistakes_table(predictions, wrong))
    pairs = [
        [names[true], names[predicted], count]
        for true, predicted, count in confused_pairs(scores.confusion)
    ]
    run.log_table(f"confused_pairs{suffix}.json", ["true", "predicted", "count"], pairs)


def log_first_layer(
    run: Run, network: Network, theta: Array, shape: Sequence[int], suffix: str = ""
) -> None:
    """Record a figure of the first layer's weights in `theta` (size,), strongest units first."""
    weight = network.layout.layers(theta)[0].weight  # (inputs, units)
    with np.errstate(over="ignore"):
        strength = np.linalg.norm(weight, axis=0)
    chosen = np.argsort(-strength, kind="stable")[:_UNITS]
    tiles = weight.T[chosen].reshape(-1, *shape)
    title = (
        f"first-layer weights, {len(chosen)} of {weight.shape[1]} units, strongest first: "
        "orange positive, violet negative"
    )
    captions = [f"unit {unit}" for unit in chosen]
    run.log_figure(
        f"weights{suffix}", lambda path: figures.tiles(path, tiles, captions, title=title)
    )


def captions_of(
    names: Sequence[str], labels: Array, predicted: Array, probabilities: Array
) -> list[str]:
    """The captions of a gallery's samples; all arrays are (samples,)."""
    # Words such as "T-shirt/top → Ankle boot" are wider than the image above them.
    form = "{}\n→ {}\n{:.1%}" if max(map(len, names)) > 3 else "{} → {}  {:.1%}"
    return [
        form.format(names[true], names[guess], probability)
        for true, guess, probability in zip(labels, predicted, probabilities, strict=True)
    ]


def _draw(trainings: Sequence[Training], run: Run, predictions: Predictions | None) -> None:
    """Record figures and tables, of validation samples where the test set must not be read."""
    first = trainings[0]
    if len(trainings) > 1:
        histories = [training.history for training in trainings]
        run.log_figure("seeds", lambda path: figures.seeds(path, histories))
        return
    best, network, validation = first.best, first.network, first.parts.validation
    if predictions is None and validation is not None:
        predictions = predictions_of(first, "validation", validation)
    run.log_figure("curves", lambda path: figures.curves(path, first.history, best.epoch))
    log_first_layer(run, network, best.theta, first.data.shape)
    if predictions is not None:
        log_predictions(run, predictions)


def _log_gallery(run: Run, name: str, predictions: Predictions, chosen: Array, title: str) -> None:
    probabilities = predictions.probabilities[chosen].max(axis=1)
    predicted = predictions.probabilities[chosen].argmax(axis=1)
    labels = predictions.labels[chosen]
    captions = captions_of(predictions.classes, labels, predicted, probabilities)
    images, right = predictions.images[chosen], labels == predicted
    run.log_figure(
        name,
        lambda path: figures.gallery(path, images, captions, right, title=title, columns=8),
    )


def _mistakes_table(predictions: Predictions, wrong: Array) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of all wrong predictions, `wrong` (mistakes,), with their probabilities."""
    rows: list[list[object]] = []
    for position in wrong:
        probabilities = predictions.probabilities[position]
        true, guess = int(predictions.labels[position]), int(probabilities.argmax())
        rows.append(
            [
                int(predictions.rows[position]),
                predictions.classes[true],
                predictions.classes[guess],
                round(float(probabilities[guess]), 4),
                round(float(probabilities[true]), 4),
            ]
        )
    return ["index", "true", "predicted", "probability", "probability_of_true"], rows


def _draws(config: Config, in_trial: bool) -> bool:
    wanted = config.tracking.figures
    return config.tracking.enabled and (wanted == "all" or (wanted == "best" and not in_trial))


def _reads_test(config: Config, outcome: str, in_trial: bool) -> bool:
    """Every choice is made on validation samples: a trial never reads the test set."""
    return not in_trial and outcome != "pruned" and config.policy.evaluate_test is not False
