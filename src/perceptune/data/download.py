"""Downloads: each file from the first mirror that delivers it whole, checked by its SHA-256.

Knows neither the content of the files nor any data set. Processes that download into one folder
wait for one another by a `filelock`, as in `cache`; `rich` draws the progress, because pooch would
need tqdm for it, which is no dependency.
"""

import errno
import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

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
        timeout: Seconds without an answer, or without a byte, after which a mirror is given up.

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


def _fetch_one(name: str, sha256: str, ranked: list[str], folder: Path, timeout: float) -> None:
    """Download one file; move the mirror that delivered it to the front of `ranked`."""
    import pooch

    failures = []
    for mirror in tuple(ranked):
        url = f"{mirror.rstrip('/')}/{name}"
        try:
            with _Meter(name, timeout) as meter:
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


class _Meter:
    """A progress bar for pooch (with tqdm's interface), drawn by rich on a terminal.

    It also ends stalled downloads: a read timeout alone never ends a mirror that sends a byte now
    and then.
    """

    def __init__(self, name: str, timeout: float) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as TimeLeft

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeLeft(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(name, total=None)
        self._timeout = timeout
        self._received = 0
        self._started = math.inf
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes that the response's head announces; 0 if it does not."""
        return self._total

    @total.setter
    def total(self, count: int) -> None:
        self._total = count
        self._started = time.monotonic()  # the head has arrived: bytes should follow

    def __enter__(self) -> "_Meter":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def update(self, count: int) -> None:
        """Add `count` bytes.

        Raises:
            TimeoutError: slower than `SLOWEST_BYTES_PER_SECOND` for longer than the timeout.
        """
        self._received += count
        seconds = time.monotonic() - self._started
        if seconds > self._timeout and self._received < seconds * SLOWEST_BYTES_PER_SECOND:
            raise TimeoutError(errno.ETIMEDOUT, "timed out")
        self._progress.update(self._task, completed=self._received, total=self._total or None)

    def reset(self) -> None:
        """Start again at 0, as pooch does just before it reports the total."""
        self._received, self._started = 0, math.inf

    def close(self) -> None:
        """Do nothing: the bar ends with the `with` block."""
