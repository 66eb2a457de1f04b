"""Downloads: each file from the first mirror that delivers it whole, checked by its SHA-256.

Knows neither the content of the files nor any data set. Processes that download into one folder
wait for one another on a `filelock`, as in `cache`; tqdm draws pooch's progress bar.
"""

import errno
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

from perceptune.data.files import fingerprint, reason
from perceptune.errors import UserError

SLOWEST_BYTES_PER_SECOND = 1024  # below it, a mirror counts as stalled

REMEDY = (
    "check the network, or put the files into a folder of your own and set PERCEPTUNE_DATA_DIR "
    "or data.dir to it"
)


def fetch(
    hashes: Mapping[str, str], *, mirrors: Sequence[str], folder: Path, timeout: float = 10.0
) -> dict[str, Path]:
    """Download the files that `folder` does not have yet.

    The mirror that delivered a file comes first for the next. Processes that download into the same
    folder at the same time wait for one another.

    Args:
        hashes: The SHA-256 in hex of every file, by its name.
        mirrors: URLs without the file name at the end, tried in this order.
        folder: Where the files go; made if it does not exist.
        timeout: Seconds without a response, or without a byte, after which a mirror is given up.

    Returns:
        The path of every file, by its name.

    Raises:
        UserError: no mirror delivered a file, or the folder cannot be written.
    """
    paths = {name: folder / name for name in hashes}
    if all(_is_there(paths[name], sha256) for name, sha256 in hashes.items()):
        return paths  # without the lock, so that a read-only folder is enough

    import pooch  # 0.1 s

    pooch.get_logger().setLevel(logging.WARNING)  # it reports every download on stderr
    ranked = list(mirrors)
    with _lock(folder):
        for name, sha256 in hashes.items():
            if paths[name].exists() and not _is_there(paths[name], sha256):
                _keep(paths[name])
            _fetch_one(name, sha256, ranked, folder, timeout)
    return paths


def _is_there(path: Path, sha256: str) -> bool:
    try:
        return fingerprint(path, remedy="") == sha256
    except UserError:
        return False


def _lock(folder: Path) -> AbstractContextManager[object]:
    """Make the folder and lock it; leaving the returned context unlocks it."""
    from filelock import FileLock  # 0.1 s

    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / ".lock").acquire()
    except OSError as error:
        raise UserError(
            f"cannot write into the download folder {folder}: {reason(error)}; set "
            f"PERCEPTUNE_CACHE_DIR to a writable folder"
        ) from None


def _keep(path: Path) -> None:
    """Put a file that is not the published one aside: it may be the user's own."""
    names = (path.with_name(f"{path.name}.other-{number}") for number in count(1))
    try:
        if path.stat().st_size:
            path.rename(next(name for name in names if not name.exists()))
    except OSError as error:
        raise UserError(f"cannot put {path} aside: {reason(error)}; remove it") from None


def _fetch_one(name: str, sha256: str, ranked: list[str], folder: Path, timeout: float) -> None:
    """Download one file; move the mirror that delivered it to the front of `ranked`."""
    import pooch

    failures = []
    for mirror in tuple(ranked):
        url = f"{mirror.rstrip('/')}/{name}"
        try:
            with _meter(name, timeout) as meter:
                pooch.retrieve(
                    url,
                    known_hash=f"sha256:{sha256}",
                    fname=name,
                    path=folder,
                    downloader=pooch.HTTPDownloader(
                        progressbar=meter,
                        timeout=timeout,
                        # Otherwise a server may declare the .gz as a transfer encoding, and the
                        # client decompresses it.
                        headers={"Accept-Encoding": "identity"},
                    ),
                )
        except Exception as error:  # of any kind: the next mirror may work
            failures.append(f"{url}: {_why(error, timeout)}")
            continue
        ranked.remove(mirror)
        ranked.insert(0, mirror)
        return
    raise UserError(f"cannot download {name} (tried {', '.join(failures)}); {REMEDY}")


def _why(error: Exception, timeout: float) -> str:
    """Describe a mirror's failure in a few words; the HTTP library's messages have several lines.

    Kinds are distinguished by name, so that pooch alone depends on the HTTP library.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    response = getattr(error, "response", None)
    if response is not None:
        return f"answered {response.status_code}"
    if "Timeout" in kinds or "TimeoutError" in kinds or "timed out" in str(error):
        return f"stalled for {timeout:g} s"
    if "ChunkedEncodingError" in kinds:
        return "closed the connection before the end"
    if "ConnectionError" in kinds:
        return "no connection"
    if "RequestException" not in kinds and isinstance(error, OSError):
        return f"cannot be stored, {reason(error)}"
    if "does not match the known hash" in str(error):
        return "sent another file (its SHA-256 differs)"
    return f"{type(error).__name__}, {reason(error)[:120]}"


def _meter(name: str, timeout: float) -> Any:
    """A progress bar for pooch, drawn on a terminal, that also ends stalled downloads.

    A read timeout alone never ends a mirror that sends a byte now and then.
    """
    from tqdm import tqdm

    class Meter(tqdm):  # type: ignore[misc]
        received, started = 0.0, 0.0

        def __bool__(self) -> bool:
            return True  # pooch tests it, and tqdm's own fails without a total

        def update(self, n: float | None = 1) -> None:
            """Add `n` bytes; called by pooch."""
            self.started = self.started or time.monotonic()
            self.received += n or 0
            seconds = time.monotonic() - self.started
            if seconds > timeout and self.received < seconds * SLOWEST_BYTES_PER_SECOND:
                raise TimeoutError(errno.ETIMEDOUT, "timed out")
            super().update(n)

    return Meter(desc=name, unit="B", unit_scale=True, disable=None)  # None: off a terminal
