"""Scores against hand-counted numbers."""

import math

import numpy as np
import pytest

from perceptune.data.split import Part
from perceptune.evaluation import Spread, calibrate, confused_pairs, mistakes, score
from perceptune.nn.activations import Tanh
from perceptune.nn.fit import evaluate
from perceptune.nn.initializers import XavierNormal
from perceptune.nn.network import NetworkSpec


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


def test_calibration_counted_by_hand() -> None:
    # Two bins: (0, 0.5] holds nothing, (0.5, 1] three samples of mean confidence 0.8, two right.
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2]])
    measured = calibrate(np.array([0, 1, 1]), probabilities, bins=2)
    np.testing.assert_array_equal(measured.count, [0, 3])
    np.testing.assert_allclose(measured.confidence, [0, 0.8])
    np.testing.assert_allclose(measured.accuracy, [0, 2 / 3])
    assert measured.error == pytest.approx(0.8 - 2 / 3)


def test_a_certain_and_right_network_is_perfectly_calibrated() -> None:
    labels = np.arange(10)
    assert calibrate(labels, np.eye(10)).error == 0


def test_mistakes_come_with_the_most_confident_first() -> None:
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    np.testing.assert_array_equal(mistakes(np.array([1, 1, 1, 0]), probabilities), [1, 0])


def test_confused_pairs_leave_out_what_is_right_and_what_never_happened() -> None:
    counts = np.array([[5, 1, 0], [3, 9, 0], [0, 2, 7]])
    assert confused_pairs(counts) == [(1, 0, 3), (2, 1, 2), (0, 1, 1)]
    assert counts[0, 0] == 5


@pytest.mark.parametrize(("dtype", "digits"), [("float64", 1e-12), ("float32", 6e-5)])
def test_validation_and_test_scores_are_one_measure(dtype: str, digits: float) -> None:
    """One sums over logits in the network's own type, the other over probabilities in float64.

    A sum of 900 roundings of 6e-8 each bounds the difference in float32.
    """
    network = NetworkSpec([16], Tanh(), XavierNormal(), 0.0, 0.0, dtype).build(8, 5, 1.0, 0.0)
    rng = np.random.default_rng(0)
    theta = rng.normal(size=network.layout.size).astype(dtype)
    images, labels = rng.normal(size=(900, 8)).astype(dtype), rng.integers(0, 5, 900)
    loss, accuracy = evaluate(network, theta, Part(images, labels, np.arange(900)))
    scores = score(labels, network.probabilities(theta, images))
    assert scores.accuracy == accuracy
    assert scores.loss == pytest.approx(loss, rel=digits)


def test_the_sd_of_a_spread_is_that_of_a_sample() -> None:
    spread = Spread.of([1.0, 2.0, 3.0])
    assert spread.metrics("a") == {"a/mean": 2.0, "a/sd": 1.0, "a/min": 1.0, "a/max": 3.0}
