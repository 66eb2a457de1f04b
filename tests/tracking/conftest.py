"""A real SQLite store, made once for a test file, and an experiment of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from optuna_joblib_sweeper import mlflow_tables
from perceptune.nn.activations import Relu
from perceptune.nn.checkpoint import save_network
from perceptune.nn.network import Network
from perceptune.tracking import reading
from perceptune.tracking.store import ExperimentRef


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a store that the first test makes."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlruns/mlflow.db"


@pytest.fixture
def ref(uri: str, request: pytest.FixtureRequest) -> ExperimentRef:
    """An experiment that no other test uses."""
    return ExperimentRef(uri, request.node.name)


@pytest.fixture(params=["SQL", "client"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reads stores by SQL, then as if of a schema that is not known, by MLflow's client."""
    if request.param == "client":
        monkeypatch.setattr(mlflow_tables, "_SCHEMAS", set())
    reading.local_store.cache_clear()
    yield
    reading.local_store.cache_clear()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The file of a network for images of 2 × 2 pixels."""
    network = Network([4, 3, 2], Relu())
    theta = np.random.default_rng(0).normal(size=network.layout.size).astype(np.float32)
    path = tmp_path / "best.npz"
    metadata = {"shape": (2, 2), "classes": ["a", "b"], "pixel_max": 16}
    save_network(path, network, theta, metadata)
    return path
