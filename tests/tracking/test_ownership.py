"""The provenance of a run is recorded."""

import pytest

from perceptune import __version__
from perceptune.tracking.ownership import blas, blas_pins, context_tags


def test_blas_is_named() -> None:
    assert set(blas()) == {"library", "version", "kernel", "threads"}


def test_pins_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "512")
    assert blas_pins() == {"OPENBLAS_L2_SIZE": "512"}


def test_a_run_is_tagged_with_version_and_user() -> None:
    tags = context_tags()
    assert tags["perceptune.version"] == __version__
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= set(tags)
