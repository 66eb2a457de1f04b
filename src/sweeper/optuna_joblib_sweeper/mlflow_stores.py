"""The place of an MLflow store, a file or a server, looked at before MLflow opens it.

MLflow tries for minutes what does not answer. Imports the standard library alone, and refuses to
know what a store records: `mlflow_tables` does.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from ssl import SSLError
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from optuna_joblib_sweeper import mlflow_tables
from optuna_joblib_sweeper.paths import absolute_uri, sqlite_file

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
# What MLflow opens without a plugin, as of 3.17.
_SCHEMES = {*_DATABASES, "sqlite", "mssql", "http", "https", "file", "databricks", "uc"}
_ENDINGS = (".db", ".sqlite", ".sqlite3")  # of files of SQLite's


@contextmanager
def store_lock(uri: str) -> Iterator[None]:
    """One process at a time makes a SQLite store: on a fresh one all others would fail.

    Raises:
        OSError: the file can't be a store.
    """
    local, lock = sqlite_file(uri), make_lock(uri)
    if local is None or lock is None:
        yield
        return
    from filelock import FileLock  # 0.1 s

    with FileLock(lock):
        mlflow_tables.refuse_broken(local)
        yield


def make_lock(uri: str) -> Path | None:
    """The file that locks a SQLite store, made beside it; None for any other store.

    Raises:
        OSError: no file can be made there; a lock would wait for ever.
    """
    local = sqlite_file(uri)
    if local is None:
        return None
    local.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(f"{local}.making.lock")  # uv.lock may be there, and would be emptied
    lock.touch()
    return lock


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
        _refuse_scheme(uri)
        refuse_silent(uri)
    elif local.exists():
        mlflow_tables.refuse_broken(local)
        mlflow_tables.follow_move(local)


def _refuse_scheme(uri: str) -> None:
    scheme, colon, _ = uri.partition("://")
    if not colon or scheme.partition("+")[0] in _SCHEMES:
        return
    from importlib.metadata import entry_points

    if scheme not in entry_points(group="mlflow.tracking_store").names:
        raise OSError(f"MLflow knows no {scheme}://; write sqlite:///FILE or http://HOST:PORT")


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
