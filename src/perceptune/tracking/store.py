"""The MLflow store: where it is, opened by one process at a time, refused if it is broken.

Knows nothing of what a run holds. MLflow is imported only when a client is made.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perceptune.errors import StoreError

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class ExperimentRef:
    """An experiment by the URI of its store and its name."""

    uri: str
    experiment: str


def default_uri() -> str:
    """The URI of the store that is used where no other is named: below the current folder.

    Raises:
        StoreError: the folder's name holds a character that has another meaning in a URI.
    """
    folder = str(Path.cwd())
    if "?" in folder or "%" in folder:
        raise StoreError(f"a store cannot be below {folder!r}: rename it, or set tracking.uri")
    return f"sqlite:///{folder}/mlruns/mlflow.db"


def artifacts_beside(uri: str) -> str | None:
    """The URI of a local store's artifacts; MLflow's default depends on the current folder."""
    local = _sqlite_file(uri)
    return (local.parent / "artifacts").as_uri() if local else None


def refuse_absent(uri: str) -> None:
    """Refuse a local store that does not exist: one that is only read must be there.

    Raises:
        StoreError: it is a local file that does not exist.
    """
    local = _sqlite_file(uri)
    if local is not None and not local.exists():
        raise StoreError(f"no store {local} yet; the first `perceptune train` makes it")


def client_of(uri: str) -> "MlflowClient":
    """The process's client of the store."""
    _quieten_mlflow()
    from optuna_joblib_sweeper import mlflow_runs

    return mlflow_runs.client_of(uri)


def client_to_read(uri: str) -> "MlflowClient":
    """A client of a store that exists: reading makes none.

    Raises:
        StoreError: there is no such store, or it cannot be opened.
    """
    refuse_absent(uri)
    with errors_of(uri):
        _refuse_broken(uri)
        return client_of(uri)


def open_experiment(ref: ExperimentRef) -> tuple["MlflowClient", str]:
    """A client of the store and the experiment's id; both are made if they do not exist.

    Raises:
        StoreError: the store cannot be opened, or the experiment was deleted.
    """
    from optuna_joblib_sweeper import mlflow_runs

    with errors_of(ref.uri), _one_process_at_a_time(ref.uri):
        client = client_of(ref.uri)
        found = mlflow_runs.experiment_id(client, ref.experiment, artifacts_beside(ref.uri))
        if client.get_experiment(found).lifecycle_stage != "active":
            raise StoreError(
                f"tracking.experiment={ref.experiment} was deleted in the store; "
                "restore it there or choose another name"
            )
        return client, found


def prepare(uri: str) -> None:
    """Make the store, if it does not exist, before several processes look for it at once.

    Raises:
        StoreError: it cannot be opened.
    """
    with errors_of(uri), _one_process_at_a_time(uri):
        client_of(uri).search_experiments(max_results=1)


def find_experiment(ref: ExperimentRef) -> str | None:
    """The experiment's id, if there is one of that name.

    Raises:
        StoreError: the store cannot be read.
    """
    with errors_of(ref.uri):
        found = client_of(ref.uri).get_experiment_by_name(ref.experiment)
    return str(found.experiment_id) if found else None


def contents(uri: str) -> str:
    """The number of runs in each experiment of a store, as text; an absent store is not made.

    Raises:
        StoreError: the store cannot be read.
    """
    local = _sqlite_file(uri)
    if local and not local.exists():
        return "none yet; the first `perceptune train` makes the store"
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
    """Turn the errors of a store that cannot be used into the user's.

    Raises:
        StoreError: in place of an error of MLflow, of SQLAlchemy or of the system.
    """
    _quieten_mlflow()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"tracking.uri={uri} cannot be used: {reason}") from error


def _quieten_mlflow() -> None:
    """Comes before MLflow's import, which reads the first of these."""
    # Nothing about a user's training is reported to anyone, unless the user has allowed it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def _one_process_at_a_time(uri: str) -> Iterator[None]:
    """On a new SQLite file all processes but one would fail."""
    from optuna_joblib_sweeper import mlflow_runs

    with mlflow_runs.store_lock(uri):
        _refuse_broken(uri)
        yield


def _refuse_broken(uri: str) -> None:
    """MLflow would try for minutes to open what SQLite refuses at once."""
    local = _sqlite_file(uri)
    if local is None:
        return
    if local.is_dir():
        raise IsADirectoryError(f"{local} is a folder")
    try:
        with closing(sqlite3.connect(local)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        raise OSError(f"{local}: {error}") from None


def _sqlite_file(uri: str) -> Path | None:
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return Path(path) if uri.startswith("sqlite:///") else None
