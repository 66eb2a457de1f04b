"""The test set is read once, at the end: its arrays record every access."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optuna_joblib_sweeper.testing import FakeTrial
from perceptune.data import sources
from perceptune.runs.training import Training
from support import run

CALM = ("tracking.enabled=false", "train.epochs=3", "model.hidden=[16]")


class Sealed:
    """An array-like whose values even NumPy can only read by these methods."""

    def __init__(self, values: np.ndarray, name: str, events: list[str]) -> None:
        self._values, self._name, self._events = values, name, events
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, key: Any) -> np.ndarray:
        self._events.append(self._name)
        return np.asarray(self._values[key])

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        self._events.append(self._name)
        return np.asarray(self._values)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens to a data set with a test part of its own, in order."""
    happened: list[str] = []
    load, record_epoch = sources.load, Training.record_epoch

    def sealed(settings: Any) -> Any:
        data = load(settings)
        images, labels = data.images[:300], data.labels[:300]
        return replace(
            data,
            images=data.images[300:],
            labels=data.labels[300:],
            test_images=Sealed(images, "test images", happened),
            test_labels=Sealed(labels, "test labels", happened),
        )

    def noted(training: Training, record: Any) -> None:
        happened.append("epoch")
        record_epoch(training, record)

    monkeypatch.setattr(sources, "load", sealed)
    monkeypatch.setattr(Training, "record_epoch", noted)
    return happened


def test_the_test_set_is_not_read_before_the_last_epoch(events: list[str], tmp_path: Path) -> None:
    result = run(tmp_path, *CALM)
    assert events[:3] == ["epoch"] * 3
    assert set(events[3:]) == {"test images", "test labels"}
    assert "test/accuracy" in result.metrics


def test_the_test_set_is_not_read_without_evaluation(events: list[str], tmp_path: Path) -> None:
    run(tmp_path, *CALM, "train.evaluate_test=false")
    assert events == ["epoch"] * 3


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_trial_never_reads_the_test_set(repeats: int, events: list[str], tmp_path: Path) -> None:
    run(tmp_path, *CALM, f"repeats={repeats}", trial=FakeTrial(folder=tmp_path))
    assert events == ["epoch"] * 3 * repeats
