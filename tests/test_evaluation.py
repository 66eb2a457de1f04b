"""Scores against hand-counted numbers."""

import numpy as np

from perceptune.evaluation import score


def test_scores_of_a_small_case_counted_by_hand() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 1])
    scores = score(labels, predicted, classes=4)
    np.testing.assert_array_equal(
        scores.confusion, [[2, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    )
    np.testing.assert_allclose(scores.precision, [1, 1 / 3, 0, 0])
    np.testing.assert_allclose(scores.recall, [2 / 3, 1 / 2, 0, 0])
    np.testing.assert_allclose(scores.f1, [4 / 5, 2 / 5, 0, 0])
    assert scores.accuracy == 1 / 2
