"""A store is looked at before MLflow opens it: silence, strangers, moves."""

import hashlib
import http.server
import platform
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from optuna_joblib_sweeper import mlflow_runs, mlflow_stores, mlflow_tables


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store with an experiment and a run that has an artifact."""
    local = tmp_path_factory.mktemp("made") / "place" / "mlflow.db"
    local.parent.mkdir()
    uri = f"sqlite:///{local}"
    with mlflow_stores.store_lock(uri):
        client = mlflow_runs.client_of(uri)
    home = (local.parent / "artifacts").as_uri()
    run = mlflow_runs.create_run(client, mlflow_runs.experiment_id(client, "one", home), "a", {})
    client.log_text(run, "kept", "note.txt")
    return local


def _copied(store: Path, folder: Path) -> Path:
    return Path(shutil.copytree(store.parent, folder)) / store.name


def _locations(local: Path) -> set[str]:
    """The folders in which the store's experiment and runs have their artifacts."""
    asked = (
        "SELECT artifact_location FROM experiments WHERE name = 'one'"
        " UNION SELECT artifact_uri FROM runs"
    )
    with closing(sqlite3.connect(local)) as database:
        return {place.partition("/artifacts")[0] for (place,) in database.execute(asked)}


@pytest.mark.parametrize("name", ["copy", "with space", "übung"])
def test_a_copy_names_its_own_artifacts(store: Path, tmp_path: Path, name: str) -> None:
    copied = _copied(store, tmp_path / name)
    mlflow_stores.look_at(f"sqlite:///{copied}")
    assert _locations(copied) == {copied.parent.as_uri()}
    assert _locations(store) == {store.parent.as_uri()}
    moved = copied.parent.rename(tmp_path / "again") / store.name
    mlflow_stores.look_at(f"sqlite:///{moved}")
    assert _locations(moved) == {moved.parent.as_uri()}


def test_a_copy_of_the_file_alone_reads_there_and_writes_here(store: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(store, tmp_path / "alone.db"))
    mlflow_stores.look_at(f"sqlite:///{alone}")
    assert _locations(alone) == {store.parent.as_uri(), tmp_path.as_uri()}


def test_a_store_by_another_name_of_its_folder_stays_as_it_is(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.parent)
    before = store.read_bytes()
    mlflow_stores.look_at(f"sqlite:///{tmp_path}/link/{store.name}")
    assert store.read_bytes() == before


def test_artifacts_elsewhere_stay_elsewhere(store: Path, tmp_path: Path) -> None:
    copied = _copied(store, tmp_path / "copy")
    far = ["s3://bucket/artifacts", "/mnt/share/artifacts", "mlflow-artifacts:/1"]
    with closing(sqlite3.connect(copied)) as database, database:
        for number, place in enumerate(far, start=50):
            database.execute(
                "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage,"
                " workspace) VALUES (?, ?, ?, 'active', 'default')",
                [number, str(number), place],
            )
    mlflow_stores.look_at(f"sqlite:///{copied}")
    with closing(sqlite3.connect(copied)) as database:
        asked = "SELECT artifact_location FROM experiments WHERE experiment_id >= 50"
        assert sorted(place for (place,) in database.execute(asked)) == sorted(far)


def test_runs_are_counted_without_mlflow(store: Path) -> None:
    assert mlflow_tables.run_counts(f"sqlite:///{store}") == {"one": 1}
    assert mlflow_tables.run_counts("http://127.0.0.1:1") is None


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE studies (study_id INTEGER)")
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")


STRANGERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("not a database\n" * 100),
    "short": lambda path: path.write_bytes(b"SQLite format 3\0"),
    "folder": lambda path: path.mkdir(),
    "another program's": _foreign,
    "noise": lambda path: path.write_bytes(random.Random(0).randbytes(20_000)),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_what_is_no_store_is_refused_and_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "stranger.db"
    STRANGERS[kind](path)
    before = path.is_file() and hashlib.sha256(path.read_bytes()).digest()
    uri = f"sqlite:///{path}"
    for use in (mlflow_stores.look_at, mlflow_runs.client_of, mlflow_tables.run_counts):
        with pytest.raises(OSError, match=r"stranger\.db"):
            use(uri)
    assert (path.is_file() and hashlib.sha256(path.read_bytes()).digest()) == before


def test_a_kill_in_the_making_of_a_store_leaves_none(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".mlflow.db.{ended.pid}@{platform.node()}"
    left.write_bytes(b"half")
    with mlflow_stores.store_lock(uri):
        mlflow_runs.client_of(uri)
    assert not left.exists()
    assert not list(tmp_path.glob(".mlflow.db.*"))


class _Page(http.server.BaseHTTPRequestHandler):
    status, text = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def _web(status: int, text: bytes) -> Iterator[str]:
    """The address of a server that answers everything with this."""
    page = type("Page", (_Page,), {"status": status, "text": text})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (500, b"", "HTTP status 500"),
        (503, b"<html>", "HTTP status 503"),
        (404, b"<html>", "no MLflow server"),
        (200, b"<html>", "no MLflow server"),
        (200, b"[]", "no MLflow server"),
        (200, b'{"name": "other"}', "no MLflow server"),
        (200, b"\xff\xfe", "no MLflow server"),
    ],
)
def test_a_server_that_is_not_mlflows_is_refused(status: int, text: bytes, said: str) -> None:
    with _web(status, text) as address, pytest.raises(ConnectionError, match=said):
        mlflow_stores.look_at(address)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, b'{"experiment": {}}'),
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'),
        (401, b"log in"),
        (403, b"Invalid Host header"),
    ],
)
def test_a_server_that_may_be_mlflows_is_left_to_mlflow(status: int, text: bytes) -> None:
    with _web(status, text) as address:
        mlflow_stores.look_at(address)
        mlflow_stores.look_at(address.replace("//", "//user:secret@") + "/")


SCHEMES = ["http", "https", "postgresql", "postgresql+psycopg2", "mysql+pymysql"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_address_without_a_server_is_refused(scheme: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"{scheme}://127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(ConnectionError, match="does not answer: Connection refused"):
            mlflow_stores.look_at(uri)


@pytest.mark.parametrize("scheme", SCHEMES[1:])
def test_a_server_that_takes_a_connection_and_says_nothing_is_refused(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_stores, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(OSError, match="does not answer"):
            mlflow_stores.look_at(uri)


def test_a_scheme_that_mlflow_does_not_know_is_refused() -> None:
    with pytest.raises(OSError, match="MLflow knows no nonsense://"):
        mlflow_stores.look_at("nonsense://x")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(OSError, match="does not answer"):
        mlflow_stores.look_at("http://no-such-host.invalid")


@pytest.mark.parametrize("uri", ["databricks", "databricks://me", "postgresql:///x"])
def test_what_has_no_address_is_left_to_mlflow(uri: str) -> None:
    mlflow_stores.look_at(uri)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a folder in which no file can be made")
def test_a_store_where_no_file_can_be_made_is_refused_at_once() -> None:
    with pytest.raises(OSError, match=r"x\.db"), mlflow_stores.store_lock("sqlite:////proc/x.db"):
        pytest.fail("no store can be there")
