"""Broken stores, by a seeded fuzzer: a line, never a traceback, and strangers untouched."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from perceptune.errors import StoreError
from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.reading import all_runs, find_run
from perceptune.tracking.store import ExperimentRef, contents


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store with two runs."""
    local = tmp_path_factory.mktemp("whole") / "mlflow.db"
    for name in ("first", "second"):
        with open_run(ExperimentRef(f"sqlite:///{local}", "one"), name=name, tags={}) as run:
            run.log_metrics({"train/loss": 1.0}, 1)
    return local


def _use(uri: str) -> list[str]:
    """What each use of the store ends with, one line each; any other error is raised."""

    def write() -> None:
        with open_run(ExperimentRef(uri, "one"), name="more", tags={}) as run:
            run.log_metrics({"train/loss": 1.0}, 1)

    uses: list[Callable[[], object]] = [
        lambda: contents(uri),
        lambda: all_runs(uri),
        lambda: find_run(uri, "0" * 32),
        write,
    ]
    said = []
    for use in uses:
        try:
            use()
        except StoreError as error:
            said.append(str(error))
    return said


def _flip(rng: random.Random, content: bytearray) -> None:
    for _ in range(rng.choice([1, 8, 64])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, content: bytearray) -> None:
    del content[rng.randrange(1, len(content)) :]


def _blank(rng: random.Random, content: bytearray) -> None:
    page = 4096 * rng.randrange(len(content) // 4096)
    content[page : page + 4096] = bytes(4096)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_store_is_used_or_refused_in_a_line(
    whole: Path, tmp_path: Path, seed: int
) -> None:
    rng, content = random.Random(seed), bytearray(whole.read_bytes())
    (_flip, _cut, _blank)[seed % 3](rng, content)
    (tmp_path / "mlflow.db").write_bytes(content)
    said = _use(f"sqlite:///{tmp_path}/mlflow.db")
    assert all(len(line.splitlines()) == 1 and "mlflow.db" in line for line in said)


STRANGERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("label,pixel0\n1,2\n" * 50),
    "noise": lambda path: path.write_bytes(random.Random(1).randbytes(9000)),
    "head": lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(84)),
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_file_that_is_no_store_is_refused_and_never_changed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine.db"
    STRANGERS[kind](path)
    before = path.is_file() and path.read_bytes()
    assert len(_use(f"sqlite:///{path}")) == 4
    assert (path.is_file() and path.read_bytes()) == before
    assert not [left for left in tmp_path.iterdir() if left.suffix not in (".db", ".lock")]


@pytest.mark.parametrize("table", ["runs", "experiments", "tags", "metrics", "params"])
def test_a_store_that_lacks_a_table_is_refused_as_it_is(
    whole: Path, tmp_path: Path, table: str
) -> None:
    local = Path(shutil.copy(whole, tmp_path / "mlflow.db"))
    with closing(sqlite3.connect(local)) as database, database:
        database.execute(f"DROP TABLE {table}")
    before = local.read_bytes()
    said = _use(f"sqlite:///{local}")
    assert len(said) == 4
    assert all(f"lacks the table {table}" in line for line in said)
    assert local.read_bytes() == before


def test_a_store_of_another_version_is_refused_with_the_remedy(whole: Path, tmp_path: Path) -> None:
    local = Path(shutil.copy(whole, tmp_path / "mlflow.db"))
    with closing(sqlite3.connect(local)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    assert all("mlflow db upgrade" in line for line in _use(f"sqlite:///{local}"))


@pytest.mark.slow
def test_a_locked_store_is_refused_in_a_line(whole: Path, tmp_path: Path) -> None:
    local = Path(shutil.copy(whole, tmp_path / "mlflow.db"))
    uri = f"sqlite:///{local}"
    assert not _use(uri)
    with closing(sqlite3.connect(local)) as database:
        database.execute("BEGIN EXCLUSIVE")
        said = _use(uri)
    assert said
    assert all("database is locked" in line for line in said)
