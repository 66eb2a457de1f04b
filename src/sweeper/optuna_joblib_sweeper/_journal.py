"""Optuna's journal files: told from other files, checked line by line, rid of a torn end.

It refuses to know what a study is.
"""

import json
import logging
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import UnsupportedOperation
from itertools import count
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import (
    BaseJournalBackend,
    JournalFileBackend,
    JournalFileSymlinkLock,
)

from optuna_joblib_sweeper.errors import SweepError, reason_of

log = logging.getLogger(__name__)

_LONGEST_FIRST = 1 << 20  # bytes; it creates a study, and has its name and directions alone
_START = b'{"op_code":'  # of every line, as Optuna writes it
_NUMBER = (int, float)
_TRIAL, _STUDY = {"trial_id": int}, {"study_id": int}
_USER, _SYSTEM = {"user_attr": dict}, {"system_attr": dict}
# What each operation must have, by Optuna's own code for it.
_SHAPES: Mapping[Any, Mapping[str, Any]] = {
    0: {"study_name": str, "directions": list},
    1: _STUDY,
    2: _STUDY | _USER,
    3: _STUDY | _SYSTEM,
    4: _STUDY,
    5: _TRIAL | {"param_name": str, "param_value_internal": _NUMBER, "distribution": str},
    6: _TRIAL | {"state": int, "values": (list, type(None))},
    7: _TRIAL | {"step": int, "intermediate_value": _NUMBER},
    8: _TRIAL | _USER,
    9: _TRIAL | _SYSTEM,
}
_NEW_TRIAL = {"user_attrs": dict, "system_attrs": dict, "intermediate_values": dict}


class Journal(JournalStorage):
    """A journal that can write several lines at once."""

    def __init__(self, path: Path) -> None:
        """Open it; it is made if it is not there."""
        self._file = _File(str(path), lock_obj=_Lock(path))
        super().__init__(self._file)

    @contextmanager
    def one_write(self) -> Iterator[None]:
        """What the block writes goes to the file at its end, and is read from there on.

        Each write takes the lock, and waits for the disk. No trial can be made inside: Optuna reads
        its number back.
        """
        held: list[dict[str, Any]] = []
        self._file.held = held
        try:
            yield
        finally:
            self._file.held = None
            if held:
                self._file.append_logs(held)


class _File(JournalFileBackend):
    held: list[dict[str, Any]] | None = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self.held is None:
            super().append_logs(logs)
        else:
            self.held += logs


def read_journal(path: Path) -> JournalStorage:
    """A journal that is read alone, checked as a whole; a torn last line is passed over.

    Raises:
        SweepError: the file is no journal, or a line of it is damaged; it names the line.
    """
    _refuse_other_files(path)
    lines = _Lines(path)
    try:
        return JournalStorage(lines)
    except Exception as error:  # whatever Optuna meets when it applies a line
        where, reason = f"{path}, line {lines.number}", _in_words(error)
        remedy = "restore a copy, or name another file by hydra.sweeper.storage"
        raise SweepError(f"{where}: the journal is damaged: {reason}; {remedy}") from None


def drop_torn_end(path: Path) -> None:
    """Drop what follows the last whole line, as a kill inside a write or a full disk left it.

    Nobody could ever read that. The file as it was is kept beside it.
    """
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 1, 0))
        if file.read(1) in (b"", b"\n"):
            return
        kept = _keep_copy(path)
        file.truncate(path.read_bytes().rfind(b"\n") + 1)
    log.warning("%s ended in a torn line, which is dropped; the file as it was: %s", path, kept)


def _keep_copy(path: Path) -> Path:
    for number in count(1):
        kept = path.with_name(f"{path.name}.damaged-{number}")
        try:
            with kept.open("xb") as copy, path.open("rb") as file:
                shutil.copyfileobj(file, copy)
        except FileExistsError:
            continue
        except OSError:
            kept.unlink(missing_ok=True)
            raise
        return kept
    raise AssertionError


def _refuse_other_files(path: Path) -> None:
    """Refuse what a user did not mean to be a journal, after a look at its first line."""
    refusal = f"{path} is no journal of Optuna's, and stays as it is"
    remedy = "name another file by hydra.sweeper.storage"
    if not stat.S_ISREG(path.stat().st_mode):
        raise SweepError(f"{refusal}: not a regular file; {remedy}")
    with path.open("rb") as file:
        first = file.readline(_LONGEST_FIRST)
    if first.startswith(b"SQLite format 3\0"):
        remedy = f"a SQLite database is named by sqlite:///{path}"
    torn = not first.endswith(b"\n") and first[: len(_START)] == _START[: len(first)]
    if not torn and not _creates_study(first):
        raise SweepError(f"{refusal}; {remedy}")


def _creates_study(line: bytes) -> bool:
    try:
        return bool(_record(line)["op_code"] == 0)
    except (ValueError, RecursionError):
        return False


class _Lines(BaseJournalBackend):
    """The lines of a file, none of which it changes; `number` is the last one read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self._ends = {0: 0}  # by number of lines, where the next one begins

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as file:
            file.seek(self._ends[log_number_from])
            for number, line in enumerate(file, log_number_from + 1):
                if not line.endswith(b"\n"):
                    return  # torn, or still being written
                self.number = number
                self._ends[number] = self._ends[number - 1] + len(line)
                yield _record(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise UnsupportedOperation(f"{self.path} is open for reading alone")


class _Lock(JournalFileSymlinkLock):
    """Optuna's lock; who gets it finds the journal ending in a whole line.

    Otherwise a line would be glued to one that another process left torn, and both be lost.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._journal = path

    def acquire(self) -> bool:
        held = super().acquire()
        try:
            drop_torn_end(self._journal)
        except OSError:
            self.release()
            raise
        return held


def _record(line: bytes) -> dict[str, Any]:
    """A line that Optuna may apply.

    Raises:
        ValueError: it is no JSON, or lacks what its operation needs.
    """
    record = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get("op_code"), int):
        raise ValueError("it is no operation of Optuna's")
    shape = {"worker_id": str} | dict(_SHAPES.get(record["op_code"], {}))
    for key, kind in shape.items():
        if not isinstance(record.get(key), kind):
            raise ValueError(f"its {key} is missing or of another kind")
    if record["op_code"] == 4:
        _check_new_trial(record)
    values = record.get("values") or []
    if not all(isinstance(value, _NUMBER) for value in [*values, record.get("value") or 0]):
        raise ValueError("its values are no numbers")
    return record


def _check_new_trial(record: Mapping[str, Any]) -> None:
    for key, kind in _NEW_TRIAL.items():
        if not isinstance(record.get(key, {}), kind):
            raise ValueError(f"its {key} is of another kind")


def _in_words(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "it is no JSON"
    if isinstance(error, AssertionError):  # its operation is none of those that Optuna has
        return f"Optuna {optuna.__version__} does not know what it does; a newer one may"
    return str(error) if type(error) is ValueError else reason_of(error)
