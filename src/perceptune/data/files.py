"""Files that a user points at: there, readable, and the right ones, or a line that says what to do.

It knows nothing of what stands in them.
"""

import hashlib
import stat
from functools import lru_cache
from pathlib import Path

from perceptune.errors import UserError


def fingerprint(path: Path, *, remedy: str) -> str:
    """SHA-256 of a file, in hex.

    Remembered for as long as the file keeps its size and time, because a worker loads the same
    files for every trial.

    Raises:
        UserError: no such file, or not one that can be read; `remedy` ends the line.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a named pipe would be waited for, forever
            raise UserError(f"{path} is a folder or a device, expected a file; {remedy}")
        return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        raise UserError(f"no file {path}; {remedy}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}; {remedy}") from None


def reason(error: BaseException) -> str:
    """What an exception says, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


@lru_cache(maxsize=32)
def _sha256(path: Path, size: int, time_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
