"""Files that killed processes left behind: each name says whose it is, as `….PID@HOST`.

Refuses to know what is in them, and touches no name of another form.
"""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

cleared: list[str] = []
"""Names of what this process has cleared away."""

_SHARED = Path("/dev/shm")  # where loky keeps semaphores and large arrays
_CLOCKS_SECONDS = 2.0  # by which the clocks of processes and files may differ


def mark() -> str:
    """The end of a name that is this process's alone."""
    return f"{os.getpid()}@{platform.node()}"


def clear(folder: Path, pattern: str = ".*") -> None:
    """Remove what dead processes of this host left in a folder."""
    left = [path for path in folder.glob(pattern) if owner_of(path) and _is_left(path)]
    for path in left:
        _remove(path)
        _clear_shared(owner_of(path))
        cleared.append(path.name)


def owner_of(path: Path) -> int:
    """The number of the process of this host that a file's name mentions; 0 for any other name."""
    before, at, host = path.name.rpartition("@")
    number = before.rpartition(".")[2]
    ours = at and (host == platform.node() or host.startswith(f"{platform.node()}-"))
    return int(number) if ours and number.isdecimal() and len(number) < 10 else 0


def _is_left(path: Path) -> bool:
    """Whether the process is dead, or its number another's, which started after the last write."""
    try:
        process = psutil.Process(owner_of(path))
        started, written = process.create_time(), path.lstat().st_mtime
        dead = process.status() == psutil.STATUS_ZOMBIE
        return bool(dead or started > written + _CLOCKS_SECONDS)
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OSError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _clear_shared(owner: int) -> None:
    """Remove the shared memory of a process, which loky's own cleaner did not survive to do."""
    if psutil.pid_exists(owner):
        return
    for pattern in (f"sem.loky-{owner}-*", f"joblib_memmapping_folder_{owner}_*"):
        for path in _SHARED.glob(pattern):
            _remove(path)


@contextmanager
def own_temporaries(name: str) -> Iterator[None]:
    """All temporary files of this process in one folder, removed at the end or by the next start.

    Inside another such block nothing changes.

    Args:
        name: the beginning of the folder's name, the same at each start.
    """
    before = tempfile.gettempdir()
    if owner_of(Path(before)) == os.getpid():
        yield
        return
    clear(Path(before), f"{name}.*")
    folder = tempfile.mkdtemp(prefix=f"{name}.{mark()}-")
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)
