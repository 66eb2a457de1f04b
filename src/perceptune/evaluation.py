"""How good predictions are: the confusion matrix and what follows from it. Plain arrays only."""

from dataclasses import dataclass

import numpy as np

from perceptune.nn.layout import Array


@dataclass(frozen=True)
class Scores:
    """Scores of one set of predictions.

    Attributes:
        confusion: (classes, classes) counts, row the true class, column the predicted one.
        precision, recall, f1: (classes,) each in [0, 1]; 0 where nothing could be counted.
    """

    confusion: Array
    precision: Array
    recall: Array
    f1: Array

    @property
    def accuracy(self) -> float:
        """Share of right predictions."""
        return float(np.trace(self.confusion) / self.confusion.sum())


def score(labels: Array, predicted: Array, classes: int) -> Scores:
    """Compare `labels` (samples,) with `predicted` (samples,), both integers below `classes`."""
    pairs = labels.astype(np.int64) * classes + predicted
    confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    right = np.diag(confusion)
    of_predicted, of_true = confusion.sum(axis=0), confusion.sum(axis=1)
    return Scores(
        confusion=confusion,
        precision=_ratio(right, of_predicted),
        recall=_ratio(right, of_true),
        f1=_ratio(2 * right, of_predicted + of_true),
    )


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
