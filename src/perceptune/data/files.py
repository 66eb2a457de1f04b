"""Fingerprints of a user's files, and one-line reasons why a file cannot be read.

Knows nothing of their content.
"""

import hashlib
import stat
from functools import lru_cache
from pathlib import Path

from perceptune.errors import UserError


def fingerprint(path: Path, *, remedy: str) -> str:
    """Compute the SHA-256 of a file, in hex.

    It is computed again only when the file's size or time changes, because a worker loads the same
    files for every trial.

    Raises:
        UserError: no such file, or an unreadable one; `remedy` ends the message.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a named pipe would wait forever
            raise UserError(f"{path} is a folder or a device, expected a file; {remedy}")
        return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        raise UserError(f"no file {path}; {remedy}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}; {remedy}") from None


def reason(error: BaseException) -> str:
    """Put the text of an exception into one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


@lru_cache(maxsize=32)
def _sha256(path: Path, size: int, time_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
