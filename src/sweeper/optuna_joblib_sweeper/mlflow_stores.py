"""The place of an MLflow store, a file or a server, looked at before MLflow opens it.

MLflow tries for minutes what does not answer, and records absolute paths in a file that may be
moved or copied. Imports the standard library alone, and refuses to know what a store records.
"""

import json
import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from ssl import SSLError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from optuna_joblib_sweeper.paths import absolute_uri, sqlite_file

FOLDER_TAG = "store.folder"  # of an experiment: the store's folder when its records were written
_SECONDS = 4.0  # for a server to answer
_PROBE = "/api/2.0/mlflow/experiments/get?experiment_id=0"
_FORBIDDEN = (401, 403, 407)  # MLflow has the credentials, not this module
_LARGEST_ANSWER = 100_000
# A database server's port, and what makes it speak: nothing, where it speaks first.
_DATABASES = {
    "postgresql": (5432, b"\0\0\0\x08\x04\xd2\x16\x2f"),
    "mysql": (3306, b""),
    "mariadb": (3306, b""),
}
_ENDINGS = (".db", ".sqlite", ".sqlite3")  # of files of SQLite's
_TABLES = {"alembic_version", "experiments", "metrics", "params", "runs", "tags"}
_COUNT = """
    SELECT experiments.name, COUNT(*) FROM runs JOIN experiments USING (experiment_id)
    WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'
    GROUP BY experiment_id ORDER BY experiment_id
"""
# Columns with the locations of artifacts, as of MLflow 3.17.
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@contextmanager
def store_lock(uri: str) -> Iterator[None]:
    """One process at a time makes a SQLite store: on a fresh one all others would fail.

    Raises:
        OSError: the file can't be a store.
    """
    local = sqlite_file(uri)
    if local is None:
        yield
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock  # 0.1 s

    lock = Path(f"{local}.making.lock")  # uv.lock may be there, and would be emptied
    lock.touch()  # where no file can be made a lock would wait for ever
    with FileLock(lock):
        refuse_broken(local)
        yield


def absolute_store(named: str | None) -> str:
    """The URI of the store that is `named`, else of MLFLOW_TRACKING_URI, else ./mlflow.db."""
    default = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    return absolute_uri(named or default)


def look_at(uri: str) -> None:
    """Refuse a store that MLflow could not open; let one that was moved name its own artifacts.

    Raises:
        OSError: a file that is no database, or a server that does not answer as it should.
    """
    local = sqlite_file(uri)
    if local is None and uri.endswith(_ENDINGS):
        raise OSError(f"it is no URI; write sqlite:///{uri.removeprefix('file:')}")
    if local is None:
        refuse_silent(uri)
    elif local.exists():
        refuse_broken(local)
        follow_move(local)


def refuse_broken(local: Path) -> None:
    """Refuse at once what MLflow would try to open for minutes, or would make its tables in.

    Raises:
        OSError: the file is a folder, no database of SQLite's, or that of another program.
    """
    if local.exists() and not local.is_file():
        raise OSError(f"{local} is a folder or a device, expected a file")
    if not local.exists():
        return
    tables = {name for (name,) in _query(local, "SELECT name FROM sqlite_master")}
    lacking = sorted(_TABLES - tables)
    if tables and lacking:  # MLflow would make them, there and then
        what = f"{local} lacks the table {lacking[0]}"
        raise OSError(f"{what}; it is damaged, or a database of another program")


def run_counts(uri: str) -> dict[str, int] | None:
    """The number of runs by experiment, counted by the store; None if it is not a file.

    Raises:
        OSError: the file is no store.
    """
    local = sqlite_file(uri)
    if local is None:
        return None
    refuse_broken(local)
    return dict(_query(local, _COUNT))


def _query(local: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask a store that is not changed by it."""
    try:
        with closing(sqlite3.connect(f"{local.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()
    except sqlite3.Error as error:
        raise OSError(f"{local}: {error}") from None


def refuse_silent(uri: str) -> None:
    """Refuse a server that does not answer within seconds, or that is no MLflow server.

    Raises:
        OSError: its text says what happened instead.
    """
    scheme = uri.partition(":")[0].partition("+")[0]
    parts = urlsplit(uri)
    if scheme in ("http", "https"):
        _within_seconds(lambda: _ask_mlflow(uri))
    elif scheme in _DATABASES and parts.hostname:
        port, greeting = _DATABASES[scheme]
        _within_seconds(lambda: _ask_database(str(parts.hostname), parts.port or port, greeting))


def _within_seconds(ask: Callable[[], None]) -> None:
    """Wait for `ask`, in a thread because a look-up of a name or a trickle knows no timeout."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            ask()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    if thread.is_alive():
        raise TimeoutError(f"it does not answer within {_SECONDS:.0f} s")
    if failures:
        raise failures[0]


def _ask_mlflow(uri: str) -> None:
    parts = urlsplit(uri)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])  # urllib knows no user there
    try:
        with urlopen(bare.geturl().rstrip("/") + _PROBE, timeout=_SECONDS) as answer:
            status, text = answer.status, answer.read(_LARGEST_ANSWER)
    except HTTPError as error:
        status, text = error.code, error.read(_LARGEST_ANSWER)
    except URLError as error:
        if isinstance(error.reason, SSLError):
            return  # MLflow may be told to trust it
        raise ConnectionError(f"it does not answer: {_reason(error.reason)}") from None
    except (OSError, ValueError) as error:
        raise ConnectionError(f"it does not answer: {_reason(error)}") from None
    if status >= 500:
        raise ConnectionError(f"the server answers with HTTP status {status}")
    if status not in _FORBIDDEN and not _is_of_mlflow(text):
        raise ConnectionError(f"what answers there (HTTP status {status}) is no MLflow server")


def _is_of_mlflow(text: bytes) -> bool:
    with suppress(ValueError):
        answer = json.loads(text)
        return isinstance(answer, dict) and bool(answer.keys() & {"experiment", "error_code"})
    return False


def _ask_database(host: str, port: int, greeting: bytes) -> None:
    try:
        with socket.create_connection((host, port), timeout=_SECONDS) as connection:
            connection.sendall(greeting)
            if not connection.recv(1):
                raise ConnectionError("the connection was closed")
    except OSError as error:
        raise ConnectionError(f"{host}:{port} does not answer: {_reason(error)}") from None


def _reason(error: object) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]


def follow_move(local: Path) -> None:
    """Let the records of a store that was moved or copied name the artifacts that went with it.

    Without this a moved store finds none, and a copy reads and writes those of the original. A
    store that cannot be changed stays as it is.
    """
    here = local.parent.absolute()
    with suppress(sqlite3.Error), closing(sqlite3.connect(local)) as database, database:
        for before in _former_folders(database):
            if not _is_same(Path(before), here):
                _rename(database, before, str(here))


def _former_folders(database: sqlite3.Connection) -> set[str]:
    """Folders for which locations were recorded, also by versions that left no tag."""
    asked = "SELECT DISTINCT value FROM experiment_tags WHERE key = ?"
    tags = {folder for (folder,) in database.execute(asked, [FOLDER_TAG])}
    asked = "SELECT artifact_location FROM experiments WHERE artifact_location LIKE ?"
    found = [location for (location,) in database.execute(asked, ["file:///%/artifacts"])]
    return tags | {str(_path_of(one).parent) for one in found if not _path_of(one).exists()}


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return one == other


def _rename(database: sqlite3.Connection, before: str, here: str) -> None:
    """Replace the folder `before` in locations; what is only there stays there."""
    ours = "SELECT experiment_id FROM experiment_tags WHERE key = ? AND value = ?"
    tagged = {number for (number,) in database.execute(ours, [FOLDER_TAG, before])}
    names = [(before, here), (Path(before).as_uri(), Path(here).as_uri())]
    for table, column in _LOCATIONS:
        is_ours = "experiment_id" if table == "experiments" else "NULL"
        rows = database.execute(f"SELECT rowid, {column}, {is_ours} FROM {table}").fetchall()
        for row, location, experiment in rows:
            for old, new in names:
                if str(location).startswith(f"{old}/"):
                    moved = new + location.removeprefix(old)
                    only_there = _path_of(location).exists() and not _path_of(moved).exists()
                    if experiment in tagged or not only_there:
                        change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
                        database.execute(change, [moved, row])
    change = "UPDATE experiment_tags SET value = ? WHERE key = ? AND value = ?"
    database.execute(change, [here, FOLDER_TAG, before])


def _path_of(location: str) -> Path:
    is_uri = location.startswith("file:")
    return Path(unquote(urlsplit(location).path) if is_uri else location)
