"""A study's storage: a journal file or a database; opened, locked, and mended after a kill.

It refuses to know what a study keeps in it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.paths import StudyPaths, sqlite_file


def open_storage(storage: str) -> BaseStorage:
    """Connect to a journal or database, and make what is not there; each process for itself.

    Raises:
        SweepError: it can't be opened.
    """
    try:
        if "://" in storage:
            return get_storage(storage)
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(storage))
    except Exception as error:  # whatever a database's driver, or a torn journal, raises
        first = (str(error) or type(error).__name__).splitlines()[0]
        torn = "a torn line of a journal is mended when its study is started again"
        raise SweepError(f"storage {storage} can't be opened: {first}; {torn}") from None


def read_storage(storage: str) -> BaseStorage:
    """Connect to a storage that is there already.

    Raises:
        SweepError: it is not, or can't be opened.
    """
    local = sqlite_file(storage) if "://" in storage else Path(storage)
    if local is not None and not local.is_file():
        raise SweepError(f"no studies in {local}; name another journal or database")
    return open_storage(storage)


def trial_lock(paths: StudyPaths) -> "FileLock | nullcontext[None]":
    """Held while a trial is taken: the budget and the queue are counted, then changed.

    SQLite has no row locks, so without it two workers would take one trial. Database servers have
    them.
    """
    return nullcontext() if paths.trial_lock is None else FileLock(paths.trial_lock)


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


def mend(paths: StudyPaths) -> None:
    """Undo what a kill inside a write left behind; only while nothing else writes.

    Nobody could ever read a torn line, nor one that was glued to it later, so dropping it changes
    nothing that any reader has seen.
    """
    for stale in paths.write_locks:
        stale.unlink(missing_ok=True)
    if paths.journal is None or not paths.journal.exists():
        return
    lines = paths.journal.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if _is_whole(line)]
    if len(whole) < len(lines):
        paths.mended.write_bytes(b"".join(whole))
        paths.mended.replace(paths.journal)


def _is_whole(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False
