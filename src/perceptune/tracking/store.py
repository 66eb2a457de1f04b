"""The MLflow store: its location, its contents, and the translation of its errors.

Knows nothing of what a run records. MLflow is imported only when a client is made.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optuna_joblib_sweeper import leftovers, mlflow_runs, mlflow_stores, mlflow_tables
from optuna_joblib_sweeper.paths import absolute_uri, sqlite_file
from optuna_joblib_sweeper.secrets import masked
from perceptune.errors import StoreError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class ExperimentRef:
    """An experiment by the URI of its store and its name."""

    uri: str
    experiment: str


def default_uri() -> str:
    """The URI of the store of MLFLOW_TRACKING_URI, else of the one below the current folder.

    Raises:
        StoreError: the folder's name holds a character that has another meaning in a URI.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        return absolute_uri(named)
    folder = str(Path.cwd())
    if "?" in folder or "%" in folder:
        raise StoreError(f"a store cannot be below {folder!r}: rename it, or set tracking.uri")
    return f"sqlite:///{folder}/mlruns/mlflow.db"


def default_experiment() -> str:
    """The experiment of MLFLOW_EXPERIMENT_NAME, else perceptune."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "perceptune"


def clear_partial_files() -> None:
    """Remove half-written checkpoints and pages of killed processes."""
    for name in ("checkpoints", "report"):
        leftovers.clear(Path("mlruns") / name)


def artifacts_beside(uri: str) -> str | None:
    """The URI of a local store's artifacts; MLflow's default depends on the current folder."""
    local = sqlite_file(absolute_uri(uri))
    return (local.parent / "artifacts").as_uri() if local else None


def refuse_absent(uri: str) -> None:
    """Refuse a local store that does not exist, so that reading does not create it.

    Raises:
        StoreError: it is a local file that does not exist, or is empty.
    """
    local = _absent(uri)
    if local is not None:
        raise StoreError(f"no store {local} yet; the first `perceptune train` creates it")


def _absent(uri: str) -> Path | None:
    """The file of a local store that does not exist yet."""
    local = sqlite_file(uri)
    try:
        return None if local is None or local.is_dir() or local.stat().st_size else local
    except OSError:
        return local


def client_of(uri: str) -> "MlflowClient":
    """The process's client of the store; the first call imports MLflow.

    Raises:
        StoreError: the store cannot be opened.
    """
    with errors_of(uri):
        client = mlflow_runs.client_of(uri)
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # importing MLflow changes it
    return client


def client_to_read(uri: str) -> "MlflowClient":
    """A client of an existing store, for reading.

    Raises:
        StoreError: there is no such store, or it cannot be opened.
    """
    refuse_absent(uri)
    return client_of(uri)


def open_experiment(ref: ExperimentRef) -> tuple["MlflowClient", str]:
    """A client of the store and the experiment's id; both are created if they do not exist.

    Raises:
        StoreError: the store cannot be opened, or the experiment was deleted.
    """
    with errors_of(ref.uri), mlflow_stores.store_lock(ref.uri):
        client, artifacts = client_of(ref.uri), artifacts_beside(ref.uri)
        try:
            return client, mlflow_runs.experiment_id(client, ref.experiment, artifacts)
        except ValueError as error:
            raise StoreError(f"tracking.experiment={ref.experiment}: {error}") from None


def contents(uri: str) -> str:
    """The number of runs in each experiment of a store, as text; never creates the store.

    Raises:
        StoreError: the store cannot be read.
    """
    if _absent(uri):
        return "none yet; the first `perceptune train` creates the store"
    with errors_of(uri):
        counts = mlflow_tables.run_counts(uri)
        if counts is None:
            counts = _counted(client_of(uri))
    return ", ".join(f"{count} in {name}" for name, count in counts.items()) or "none"


def _counted(client: "MlflowClient") -> dict[str, int]:
    """The number of runs by experiment, of a store that cannot be asked for it."""
    names = {one.experiment_id: one.name for one in client.search_experiments()}
    return Counter(names[run.info.experiment_id] for run in search(client, list(names)))


def search(
    client: "MlflowClient", experiments: Sequence[str], condition: str = ""
) -> Iterator["Run"]:
    """The runs of some experiments that meet a condition in MLflow's syntax, oldest first."""
    token, order = None, ["attributes.start_time ASC"]
    while experiments:
        page = client.search_runs(list(experiments), condition, order_by=order, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


@contextmanager
def errors_of(uri: str) -> Iterator[None]:
    """Translate the errors of a store into `StoreError`.

    Raises:
        StoreError: for an error of MLflow, SQLAlchemy or the operating system.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError):
            if not _is_of_store(error):
                raise
            error = _plainer(uri, error)
        lines = str(error).splitlines() or [type(error).__name__]
        # SQLAlchemy may begin with a hint for its own users.
        reason = next((line for line in lines if "Error) " in line), lines[0])
        raise StoreError(masked(f"tracking.uri={uri} cannot be used: {reason}")) from error


def _plainer(uri: str, error: Exception) -> Exception:
    """What is wrong with a server that has stopped answering, in place of MLflow's many words."""
    try:
        mlflow_stores.refuse_silent(uri)
    except OSError as silent:
        return silent
    return error


def _is_of_store(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, MlflowException | SQLAlchemyError)
