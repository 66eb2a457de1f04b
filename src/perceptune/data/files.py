"""Fingerprints of a user's files, and one-line reasons why a file cannot be read.

Knows nothing of their content.
"""

import hashlib
import os
import stat
from functools import lru_cache
from pathlib import Path

from perceptune.errors import UserError

_MOST_BYTES = 4 * 10**9  # more than any data set here; fewer than would fill a memory


def expanded(name: str | Path) -> Path:
    """The path with `~` replaced, unless it names a user that does not exist."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def fingerprint(path: Path, *, remedy: str) -> str:
    """Compute the SHA-256 of a file, in hex.

    It is computed again only when the file's size or time changes, because a worker loads the same
    files for every trial.

    Raises:
        UserError: no such file, or an unreadable one; `remedy` ends the message.
    """
    status = regular_file(path, remedy=remedy)
    try:
        return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}; {remedy}") from None


def regular_file(path: Path, *, remedy: str, most_bytes: int = _MOST_BYTES) -> os.stat_result:
    """Check, before it is read, that `path` is a regular file of at most `most_bytes`.

    Returns:
        The file's status.

    Raises:
        UserError: no such file, or a folder, pipe or device, or an empty or too large file;
            `remedy` ends the message.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UserError(f"no file {path}; {remedy}") from None
    except (OSError, ValueError) as error:  # a null character in the name is a ValueError
        raise UserError(f"cannot read {path}: {reason(error)}; {remedy}") from None
    if not stat.S_ISREG(status.st_mode):  # reading a named pipe would wait forever
        raise UserError(f"{path} is a folder or a device, expected a file; {remedy}")
    if status.st_size == 0:  # as of files below /proc, some of which never end
        raise UserError(f"{path} is empty; {remedy}")
    if status.st_size > most_bytes:
        size = f"{status.st_size / 1e6:,.0f} MB, expected {most_bytes / 1e6:,.0f} MB at most"
        raise UserError(f"{path} has {size}; {remedy}")
    return status


def reason(error: BaseException) -> str:
    """Put the text of an exception into one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


@lru_cache(maxsize=32)
def _sha256(path: Path, size: int, time_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
