"""The MLflow store: its location, its contents, and the translation of its errors.

Knows nothing of what a run records. MLflow is imported only when a client is made.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optuna_joblib_sweeper import mlflow_runs
from optuna_joblib_sweeper.paths import sqlite_file
from perceptune.errors import StoreError

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class ExperimentRef:
    """An experiment by the URI of its store and its name."""

    uri: str
    experiment: str


def default_uri() -> str:
    """The URI of the default store, below the current folder.

    Raises:
        StoreError: the folder's name holds a character that has another meaning in a URI.
    """
    folder = str(Path.cwd())
    if "?" in folder or "%" in folder:
        raise StoreError(f"a store cannot be below {folder!r}: rename it, or set tracking.uri")
    return f"sqlite:///{folder}/mlruns/mlflow.db"


def artifacts_beside(uri: str) -> str | None:
    """The URI of a local store's artifacts; MLflow's default depends on the current folder."""
    local = sqlite_file(uri)
    return (local.parent / "artifacts").as_uri() if local else None


def refuse_absent(uri: str) -> None:
    """Refuse a local store that does not exist, so that reading does not create it.

    Raises:
        StoreError: it is a local file that does not exist.
    """
    local = sqlite_file(uri)
    if local is not None and not local.exists():
        raise StoreError(f"no store {local} yet; the first `perceptune train` creates it")


def client_of(uri: str) -> "MlflowClient":
    """The process's client of the store; the first call imports MLflow."""
    client = mlflow_runs.client_of(uri)
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # importing MLflow changes it
    return client


def client_to_read(uri: str) -> "MlflowClient":
    """A client of an existing store, for reading.

    Raises:
        StoreError: there is no such store, or it cannot be opened.
    """
    refuse_absent(uri)
    local = sqlite_file(uri)
    with errors_of(uri):
        if local is not None:
            mlflow_runs.refuse_broken(local)
        return client_of(uri)


def open_experiment(ref: ExperimentRef) -> tuple["MlflowClient", str]:
    """A client of the store and the experiment's id; both are created if they do not exist.

    Raises:
        StoreError: the store cannot be opened, or the experiment was deleted.
    """
    with errors_of(ref.uri), mlflow_runs.store_lock(ref.uri):
        client, artifacts = client_of(ref.uri), artifacts_beside(ref.uri)
        try:
            return client, mlflow_runs.experiment_id(client, ref.experiment, artifacts)
        except ValueError as error:
            raise StoreError(f"tracking.experiment={ref.experiment}: {error}") from None


def find_experiment(ref: ExperimentRef) -> str | None:
    """The experiment's id, if there is one of that name.

    Raises:
        StoreError: the store cannot be read.
    """
    with errors_of(ref.uri):
        found = client_of(ref.uri).get_experiment_by_name(ref.experiment)
    return str(found.experiment_id) if found else None


def contents(uri: str) -> str:
    """The number of runs in each experiment of a store, as text; never creates the store.

    Raises:
        StoreError: the store cannot be read.
    """
    local = sqlite_file(uri)
    if local and not local.exists():
        return "none yet; the first `perceptune train` creates the store"
    counts = []
    with errors_of(uri):
        client = client_of(uri)
        for experiment in client.search_experiments():
            runs = client.search_runs([experiment.experiment_id], max_results=50_000)
            if runs:
                counts.append(f"{len(runs)} in {experiment.name}")
    return ", ".join(counts) or "none"


@contextmanager
def errors_of(uri: str) -> Iterator[None]:
    """Translate the errors of a store into `StoreError`.

    Raises:
        StoreError: for an error of MLflow, SQLAlchemy or the operating system.
    """
    try:
        yield
    except Exception as error:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        if not isinstance(error, MlflowException | SQLAlchemyError | OSError):
            raise
        reason = str(error).splitlines()[0]
        raise StoreError(f"tracking.uri={uri} cannot be used: {reason}") from error
