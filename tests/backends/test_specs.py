"""Backend specs: the names in the configuration, and the libraries that they select."""

from pathlib import Path

import pytest

from perceptune.backends import specs
from perceptune.backends.specs import NAMES, SPECS, is_installed, spec_of
from support import configure


def test_the_configuration_takes_all_names(tmp_path: Path) -> None:
    assert configure(tmp_path, f"backends=[{','.join(NAMES)}]").backends == list(NAMES)


def test_keras_runs_on_what_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert spec_of("keras") == SPECS["keras_torch"]


def test_keras_runs_on_the_first_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(specs, "is_installed", lambda package: package in ("keras", "torch"))
    assert spec_of("keras") == SPECS["keras_torch"]
    assert SPECS["keras_jax"].missing == ("jax",)


def test_packages_are_found_by_the_names_that_installers_use() -> None:
    assert is_installed("scikit-learn")
    assert not is_installed("no-such-package")
