"""Scores against hand-counted numbers."""

import math

import numpy as np
import pytest

from perceptune.evaluation import score


def test_scores_of_a_small_case_counted_by_hand() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), [0, 0, 1, 1, 2, 1]
    probabilities = np.full((6, 4), 0.1)
    probabilities[np.arange(6), predicted] = 0.7
    scores = score(labels, probabilities)
    np.testing.assert_array_equal(
        scores.confusion, [[2, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    )
    np.testing.assert_allclose(scores.precision, [1, 1 / 3, 0, 0])
    np.testing.assert_allclose(scores.recall, [2 / 3, 1 / 2, 0, 0])
    np.testing.assert_allclose(scores.f1, [4 / 5, 2 / 5, 0, 0])
    assert scores.accuracy == 1 / 2
    assert scores.loss == pytest.approx(-(3 * math.log(0.7) + 3 * math.log(0.1)) / 6)
    assert scores.metrics("test")["test/f1/1"] == scores.f1[1]


def test_a_certain_mistake_costs_a_finite_loss() -> None:
    assert math.isfinite(score(np.array([1]), np.array([[1.0, 0.0]], np.float32)).loss)
