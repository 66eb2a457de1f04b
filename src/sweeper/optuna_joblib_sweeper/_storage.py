"""A study's storage: a journal file or a database; opened, locked, and mended after a kill.

It refuses to know what a study keeps in it.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, RDBStorage, get_storage

from optuna_joblib_sweeper._journal import Journal, drop_torn_end, read_journal
from optuna_joblib_sweeper.errors import SweepError, reason_of
from optuna_joblib_sweeper.paths import StudyPaths, sqlite_file


def open_storage(storage: str) -> BaseStorage:
    """Connect to a journal or database, and make what is not there; each process for itself.

    Raises:
        SweepError: it can't be opened.
    """
    with _refusals(storage):
        if "://" in storage:
            return get_storage(storage)
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        return Journal(Path(storage))


def read_storage(storage: str) -> BaseStorage:
    """Connect to a storage that is there already, to read it.

    Raises:
        SweepError: it is not, is damaged, or can't be opened.
    """
    local = _local(storage)
    if not has_studies(storage):
        raise SweepError(f"no studies in {local or storage}; name another journal or database")
    with _refusals(storage):
        if local is None:
            return get_storage(storage)
        if "://" not in storage:
            return read_journal(local)
        _refuse_other_databases(local)
        return get_storage(storage)


def has_studies(storage: str) -> bool:
    """Whether there is something to read; it connects to a server, and makes nothing.

    Raises:
        SweepError: the server can't be reached.
    """
    local = _local(storage)
    if local is not None:
        return local.exists() and (not local.is_file() or local.stat().st_size > 0)
    if storage.startswith("redis"):
        return True
    with _refusals(storage):
        server = RDBStorage(storage, skip_compatibility_check=True, skip_table_creation=True)
        with server.engine.connect() as connection:
            return connection.dialect.has_table(connection, "studies")


def _local(storage: str) -> Path | None:
    return sqlite_file(storage) if "://" in storage else Path(storage)


def refuse_unusable(paths: StudyPaths) -> None:
    """Look at what is there before anything is made beside it or in it.

    Raises:
        SweepError: a file that the storage names is another program's, is damaged, or can't be
            written.
    """
    file = paths.journal or sqlite_file(paths.storage)
    if file is None:
        return
    with _refusals(paths.storage):
        if has_studies(paths.storage):
            read_storage(paths.storage)
        lock = paths.write_lock
        if lock is not None and lock.exists() and not lock.is_symlink():
            raise SweepError(f"{lock} is in the way of the journal's lock; name another storage")
        there = next(parent for parent in (file, *file.parents) if parent.exists())
        if (there != file and not there.is_dir()) or not os.access(there, os.W_OK):
            raise SweepError(f"hydra.sweeper.storage={paths.storage}: {there} can't be written")


@contextmanager
def _refusals(storage: str) -> Iterator[None]:
    """Whatever a database's driver or the file system raises, in a line."""
    try:
        yield
    except SweepError:
        raise
    except Exception as error:
        raise SweepError(f"storage {storage} can't be opened: {reason_of(error)}") from error


def _refuse_other_databases(file: Path) -> None:
    """Refuse a SQLite database with tables of another program, and none of Optuna's."""
    if not file.is_file():
        raise SweepError(f"{file} is no database, but a folder or a device; name another file")
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    if tables and not {"studies", "trials"} <= tables:
        refusal = f"{file} is another program's database, and stays as it is"
        raise SweepError(f"{refusal}; name another one by hydra.sweeper.storage")


def trial_lock(paths: StudyPaths) -> "FileLock | nullcontext[None]":
    """Held while a trial is taken: the budget and the queue are counted, then changed.

    SQLite has no row locks, so without it two workers would take one trial. Database servers have
    them.
    """
    lock = paths.trial_lock
    return nullcontext() if lock is None else FileLock(lock, poll_interval=0.005)


@contextmanager
def sole_driver(paths: StudyPaths) -> Iterator[None]:
    """Refuse a second driver on a journal; on a database it joins.

    Raises:
        SweepError: the journal has a driver already, or can't be written.
    """
    journal = paths.journal
    if journal is None:
        yield
        return
    lock = FileLock(f"{paths.driver_lock}")
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        journal.open("ab").close()  # found out now, not by a lock that waits for ever
        lock.acquire(timeout=0)
    except Timeout:
        where = "wait for it, or set hydra.sweeper.storage to another file"
        raise SweepError(f"{journal} is in use by another sweep; {where}") from None
    except OSError as error:  # after Timeout, which is one as well
        raise SweepError(f"hydra.sweeper.storage={journal} can't be used: {error}") from None
    try:
        yield
    finally:
        lock.release()


def refuse_second_driver(paths: StudyPaths) -> None:
    """Refuse a journal that is in use, and make nothing beside it.

    Raises:
        SweepError: it has a driver.
    """
    if paths.driver_lock is not None and paths.driver_lock.exists():
        with sole_driver(paths):
            pass


def mend(paths: StudyPaths) -> None:
    """Undo what a kill inside a write left behind; only while nothing else writes."""
    for stale in paths.write_locks:
        stale.unlink(missing_ok=True)
    if paths.journal is not None and paths.journal.exists():
        drop_torn_end(paths.journal)
