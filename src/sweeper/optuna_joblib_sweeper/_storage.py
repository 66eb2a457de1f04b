"""Where a study is kept: a journal file or a database; its locks and its repair after a kill."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_joblib_sweeper.errors import SweepError


@dataclass(frozen=True)
class StorageSpec:
    """Exactly one of a journal's absolute path and a database's URL."""

    journal: Path | None = None
    url: str | None = None

    @classmethod
    def read(cls, storage: str | None, sweep_dir: Path) -> "StorageSpec":
        """From `hydra.sweeper.storage`: null, a path (from where the app was started) or a URL."""
        if storage is None:
            return cls(journal=sweep_dir / "optuna.journal")
        if "://" not in storage:
            return cls(journal=Path(storage).expanduser().absolute())
        scheme, _, rest = storage.partition(":///")
        if scheme.startswith("sqlite") and rest and not rest.startswith((":", "file:")):
            # Relative to the start as well: a task may change its folder.
            return cls(url=f"{scheme}:///{Path(rest).absolute()}")
        return cls(url=storage)

    def __str__(self) -> str:
        """As Optuna's command line takes it."""
        return str(self.journal or self.url)

    def open(self) -> BaseStorage:
        """Connect; each process for itself."""
        if self.journal is not None:
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(self.journal)))
        try:
            return get_storage(self.url)
        except Exception as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SweepError(f"hydra.sweeper.storage={self.url} can't be opened: {first}") from None

    def ask_lock(self) -> "FileLock | nullcontext[None]":
        """Held while a trial is taken: the budget and the queue are counted, then changed.

        SQLite has no row locks, so without it two workers would pop one trial. Database servers
        have them, and no file to put a lock beside.
        """
        beside = self._local_file()
        return nullcontext() if beside is None else FileLock(f"{beside}.ask")

    @contextmanager
    def sole_driver(self) -> Iterator[None]:
        """Refuse a second driver on a journal; on a database it joins.

        Raises:
            SweepError: the journal has a driver already.
        """
        if self.journal is None:
            yield
            return
        lock = FileLock(f"{self.journal}.driver")
        try:
            if self.journal.is_dir():
                raise IsADirectoryError(f"{self.journal} is a folder")
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            self.journal.open("ab").close()  # told now, not by a lock that waits for ever
            lock.acquire(timeout=0)
        except Timeout:
            raise SweepError(
                f"{self.journal} is in use by another sweep; wait for it, or set "
                f"hydra.sweeper.storage to another file"
            ) from None
        except OSError as error:  # after Timeout, which is one as well
            raise SweepError(
                f"hydra.sweeper.storage={self.journal} can't be used: {error}"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def mend(self) -> None:
        """Undo what a kill inside a write left behind; only while nothing else writes."""
        if self.journal is not None:
            mend_journal(self.journal)

    def _local_file(self) -> Path | None:
        if self.journal is not None:
            return self.journal
        scheme, _, rest = (self.url or "").partition(":///")
        if scheme.startswith("sqlite") and rest and not rest.startswith((":", "file:")):
            return Path(rest)
        return None


def mend_journal(journal: Path) -> bool:
    """Remove stale locks and torn lines; True if a line went.

    Nobody could ever read a torn line, nor one that was glued to it later, so dropping it changes
    nothing that any reader has seen.
    """
    for stale in journal.parent.glob(f"{journal.name}.lock*"):
        stale.unlink(missing_ok=True)
    if not journal.exists():
        return False
    lines = journal.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if _is_whole(line)]
    if len(whole) == len(lines):
        return False
    mended = journal.with_name(f"{journal.name}.mended")
    mended.write_bytes(b"".join(whole))
    mended.replace(journal)
    return True


def _is_whole(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
