"""Errors of a sweep that a user can mend."""

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import CompactHydraException

from optuna_joblib_sweeper.mlflow_stores import refuse_silent
from optuna_joblib_sweeper.secrets import masked

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SweepError(CompactHydraException):
    """A mistake that the user can mend: value, rule, remedy. Hydra prints it without traceback."""

    def __init__(self, message: str) -> None:
        """Passwords in `message` are masked."""
        super().__init__(masked(message))


class HaltedError(SweepError):
    """Nothing more can be written; what is finished stays, and the same command resumes."""


@contextmanager
def halted_in_a_line(folders: Sequence[Path], store: str | None) -> Iterator[None]:
    """Whatever a full disk or a lost MLflow server leads to, in a line that names it.

    Args:
        folders: where the block writes; the one with the least space is named.
        store: the URI of the MLflow store, if there is one.

    Raises:
        HaltedError: the block failed for want of space, or of the server.
    """
    try:
        yield
    except HaltedError:
        raise
    except Exception as error:
        if lost := why_lost(store):
            remedy = "what is finished is kept; run the same command to resume once it answers"
            raise HaltedError(f"the store {store} is lost: {lost}; {remedy}") from error
        if not is_disk_full(error):
            raise
        there = [next(p for p in (folder, *folder.parents) if p.exists()) for folder in folders]
        fullest = min(there, key=lambda folder: shutil.disk_usage(folder).free)
        remedy = "make space and run the same command to resume"
        raise HaltedError(f"no space is left in {fullest}; {remedy}") from error


def why_lost(store: str | None) -> str:
    """What is wrong with the server of an MLflow store; empty if nothing, or if it is a file."""
    try:
        refuse_silent(store or "")
    except OSError as error:
        return str(error)
    return ""


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that a disk, a quota or a file's size ended."""
    if error is None:
        return False
    says_so = isinstance(error, OSError) and error.errno in _FULL
    known = says_so or "database or disk is full" in str(error) or "[Errno 28]" in str(error)
    return known or is_disk_full(error.__cause__ or error.__context__)


def reason_of(error: BaseException) -> str:
    """An error in one line, with its class."""
    text = f"{type(error).__name__}: {error}".strip().rstrip(":")
    return masked(text.splitlines()[0])[:500]


def one_line(text: str) -> str:
    """`text` with every run of white space as one blank, cut after 500 characters."""
    return " ".join(text.split())[:500]
