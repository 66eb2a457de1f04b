"""Scores of predictions: loss, confusion matrix and the scores derived from it, calibration.

Takes plain arrays; knows neither networks nor the source of the predictions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev

import numpy as np

from perceptune.nn.layout import Array


@dataclass(frozen=True)
class Scores:
    """Scores of one set of predictions.

    Attributes:
        loss: mean cross-entropy.
        confusion: (classes, classes) counts, row the true class, column the predicted one.
        precision, recall, f1: (classes,) each in [0, 1]; 0 where undefined.
    """

    loss: float
    confusion: Array
    precision: Array
    recall: Array
    f1: Array

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    def metrics(self, part: str) -> dict[str, float]:
        """The scores by metric name: `test/accuracy`, `test/f1/3` and so on for `part` test."""
        metrics = {f"{part}/loss": self.loss, f"{part}/accuracy": self.accuracy}
        for name in ("precision", "recall", "f1"):
            for label, value in enumerate(getattr(self, name)):
                metrics[f"{part}/{name}/{label}"] = float(value)
        return metrics


def score(labels: Array, probabilities: Array) -> Scores:
    """Compare `labels` (samples,) with `probabilities` (samples, classes).

    The loss is the mean over samples of -ln p of the true class, summed in float64: that of
    `nn.fit.evaluate`, up to its rounding. A probability of 0 counts as the smallest normal number
    of its type, so that the loss stays finite.
    """
    classes = probabilities.shape[1]
    of_truth = probabilities[np.arange(len(labels)), labels]
    floor = np.finfo(probabilities.dtype).tiny
    pairs = labels.astype(np.int64) * classes + probabilities.argmax(axis=1)
    confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    correct = np.diag(confusion)
    of_predicted, of_true = confusion.sum(axis=0), confusion.sum(axis=1)
    return Scores(
        loss=float(-np.log(np.maximum(of_truth, floor), dtype=np.float64).mean()),
        confusion=confusion,
        precision=_ratio(correct, of_predicted),
        recall=_ratio(correct, of_true),
        f1=_ratio(2 * correct, of_predicted + of_true),
    )


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


@dataclass(frozen=True)
class Calibration:
    """Accuracy against confidence, in bins of equal width (Guo et al. 2017, arXiv:1706.04599).

    Attributes:
        confidence: (bins,) mean probability of the predicted class; 0 in an empty bin.
        accuracy: (bins,) fraction of correct predictions; 0 in an empty bin.
        count: (bins,) samples.
        error: ECE, the mean over samples of their bin's |accuracy - confidence|.
    """

    confidence: Array
    accuracy: Array
    count: Array
    error: float


def calibrate(labels: Array, probabilities: Array, bins: int = 15) -> Calibration:
    """Compare the confidence of predictions with their accuracy.

    Takes `labels` (samples,) and `probabilities` (samples, classes).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    mean = _ratio(np.bincount(place, confidence, bins), count)
    accuracy = _ratio(np.bincount(place, correct, bins), count)
    error = float((count * np.abs(accuracy - mean)).sum() / len(labels))
    return Calibration(mean, accuracy, count, error)


def mistakes(labels: Array, probabilities: Array) -> Array:
    """Find the positions of the wrong predictions, the most confident first.

    Takes `labels` (samples,) and `probabilities` (samples, classes); returns (wrong,).
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order]


def confused_pairs(confusion: Array) -> list[tuple[int, int, int]]:
    """List (true, predicted, count) of the mistakes in `confusion` (classes, classes), by count.

    >>> confused_pairs(np.array([[8, 2], [5, 9]]))
    [(1, 0, 5), (0, 1, 2)]
    """
    counts = confusion.copy()
    np.fill_diagonal(counts, 0)
    pairs = [(int(t), int(p), int(counts[t, p])) for t, p in np.argwhere(counts)]
    return sorted(pairs, key=lambda pair: -pair[2])


@dataclass(frozen=True)
class Spread:
    """Mean and spread of a number over seeds; `sd` is the sample standard deviation (n - 1).

    >>> Spread.of([0.5, 0.75, 1.0])
    Spread(mean=0.75, sd=0.25, min=0.5, max=1.0)
    """

    mean: float
    sd: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Compute the spread of two or more values."""
        return cls(fmean(values), stdev(values), min(values), max(values))

    def metrics(self, name: str) -> dict[str, float]:
        """The four numbers by metric name: `test/accuracy/mean` and so on for test/accuracy."""
        return {f"{name}/{key}": value for key, value in asdict(self).items()}
