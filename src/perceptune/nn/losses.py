"""Softmax and cross-entropy as one function, numerically stable, with its gradient.

Knows logits and target distributions only, not the network that computes them.
"""

from functools import cache

import numpy as np

from perceptune.nn.checks import check_below_one
from perceptune.nn.layout import Array


def target_table(classes: int, label_smoothing: float = 0.0, dtype: type = np.float32) -> Array:
    """Make the target distributions (classes, classes); row k is that of class k.

    Without smoothing a row is one-hot. Smoothing ε mixes it with the uniform distribution,
    (1 - ε)·onehot + ε/classes (Szegedy et al. 2016, arXiv:1512.00567, section 7).

    >>> target_table(2, 0.5, float).tolist()
    [[0.75, 0.25], [0.25, 0.75]]

    Raises:
        RangeError: label_smoothing outside [0, 1).
    """
    check_below_one(label_smoothing=label_smoothing)
    table: Array = np.full((classes, classes), label_smoothing / classes, dtype)
    np.fill_diagonal(table, 1 - label_smoothing + label_smoothing / classes)
    return table


def softmax(logits: Array) -> Array:
    """Turn `logits` (batch, classes) into probabilities, in place, and return them."""
    logits -= logits.max(axis=1, keepdims=True)  # e^z cannot overflow now
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def cross_entropy(logits: Array, targets: Array, column: Array) -> float:
    """Compute the sum over the batch of -Σₖ tₖ ln pₖ with p = softmax(logits).

    `logits` (batch, classes) become, in place, the gradient of that sum: p - t.
    `targets` (batch, classes) holds distributions, such as rows of `target_table`.
    `column` (batch, 1) is scratch.
    """
    np.maximum.reduce(logits, axis=1, keepdims=True, out=column)
    logits -= column  # e^z cannot overflow now
    agreement = np.vdot(targets, logits)
    np.exp(logits, out=logits)
    np.dot(logits, _ones(logits.shape[1], logits.dtype), out=column)
    logits /= column
    logits -= targets
    # ln pₖ = zₖ - ln Σ eᶻ, and each row of targets sums to 1.
    np.log(column, out=column)
    return float(column.sum() - agreement)


@cache
def _ones(count: int, dtype: np.dtype) -> Array:
    """Make a column of ones (count, 1).

    A product with it sums each row, in a quarter of the time of NumPy's reduction.
    """
    return np.ones((count, 1), dtype)
