"""The MLflow store: where it is, made once by one process at a time, and what keeps it from use.

MLflow is imported only when a client is asked for.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perceptune.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Place:
    """Where runs go: a store and an experiment in it."""

    uri: str
    experiment: str


def default_uri() -> str:
    """The store that is used where no other is named: below the current folder.

    Raises:
        UserError: the folder's name holds what a URI gives another meaning.
    """
    folder = str(Path.cwd())
    if "?" in folder or "%" in folder:
        raise UserError(f"a store cannot be below {folder!r}: rename it, or set tracking.uri")
    return f"sqlite:///{folder}/mlruns/mlflow.db"


def refuse_absent(uri: str) -> None:
    """A store that is only to be read must be there.

    Raises:
        UserError: it is a local file that does not exist.
    """
    local = _sqlite_file(uri)
    if local is not None and not local.exists():
        raise UserError(f"no store {local} yet; the first `perceptune train` makes it")


def prepare(uri: str) -> None:
    """Make the store, if it is not there, before several processes look for it at once."""
    with errors_of(Place(uri, "")), alone(uri):
        client_of(uri).search_experiments(max_results=1)


def client_to_read(uri: str) -> "MlflowClient":
    """A client of a store that is there already: whoever only reads makes none.

    Raises:
        UserError: there is no such store, or it cannot be opened.
    """
    refuse_absent(uri)
    local = _sqlite_file(uri)
    with errors_of(Place(uri, "")):
        if local is not None:
            _refuse_broken(local)
        return client_of(uri)


def find_experiment(place: Place) -> str | None:
    """The experiment's id, if there is one of that name."""
    with errors_of(place):
        found = client_of(place.uri).get_experiment_by_name(place.experiment)
    return str(found.experiment_id) if found else None


def artifacts_beside(uri: str) -> str | None:
    """Where a local store keeps its artifacts; MLflow's own default depends on the folder."""
    local = _sqlite_file(uri)
    return (local.parent / "artifacts").as_uri() if local else None


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """One process at a time: on a new SQLite file all others would fail."""
    local = _sqlite_file(uri)
    if local is None:
        yield
        return
    from filelock import FileLock

    local.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{local}.lock"):
        _refuse_broken(local)
        yield


def _refuse_broken(local: Path) -> None:
    """MLflow would try for minutes to open what SQLite refuses at once."""
    if local.is_dir():
        raise IsADirectoryError(f"{local} is a folder")
    try:
        with closing(sqlite3.connect(local)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        raise OSError(f"{local}: {error}") from None


def client_of(uri: str) -> "MlflowClient":
    """A client of the store; MLflow is imported here, and told to be quiet."""
    # Nothing of a user's training is reported to anyone, unless the user has said so.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(uri)


def experiment_id(client: "MlflowClient", place: Place) -> str:
    """The experiment's id; it is made if there is none of that name."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(place.experiment)
    if found is None:
        artifacts = artifacts_beside(place.uri)
        try:
            return str(client.create_experiment(place.experiment, artifact_location=artifacts))
        except MlflowException:
            found = client.get_experiment_by_name(place.experiment)  # somebody was faster
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise UserError(
            f"tracking.experiment={place.experiment} was deleted in the store; "
            "restore it there or choose another name"
        )
    return str(found.experiment_id)


@contextmanager
def errors_of(place: Place) -> Iterator[None]:
    """A store that cannot be reached is the user's to mend."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"tracking.uri={place.uri} cannot be used: {reason}") from error


def _sqlite_file(uri: str) -> Path | None:
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return Path(path) if uri.startswith("sqlite:///") else None


def contents(uri: str) -> str:
    """What a store holds, in words; an absent one is not made."""
    local = _sqlite_file(uri)
    if local and not local.exists():
        return "none yet; the first `perceptune train` makes the store"
    place = Place(uri, "")
    with errors_of(place):
        client = client_of(uri)
        counts = []
        for experiment in client.search_experiments():
            runs = client.search_runs([experiment.experiment_id], max_results=50_000)
            if runs:
                counts.append(f"{len(runs)} in {experiment.name}")
    return ", ".join(counts) or "none"
