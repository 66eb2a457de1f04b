"""Downloads: each file from the first mirror that delivers it whole, checked by its SHA-256.

It knows neither what is in the files nor which data sets there are.
"""

import errno
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    """Bring files into `folder`, those that are not there yet.

    A mirror that delivers is asked first for the next file. Processes that ask for the same
    folder at the same time wait for one another.

    Args:
        hashes: The SHA-256 in hex of every file, by its name.
        mirrors: Addresses that a file's name can follow, tried in this order.
        folder: Where the files go; made when it is not there.
        timeout: Seconds without an answer, or without a byte, after which a mirror is given up.

    Returns:
        The path of every file, by its name.

    Raises:
        UserError: no mirror delivered a file, or the folder cannot be written.
    """
    paths = {name: folder / name for name in hashes}
    if all(_is_there(paths[name], sha256) for name, sha256 in hashes.items()):
        return paths  # no lock, so that a folder of somebody else's will do

    import pooch  # 0.1 s

    pooch.get_logger().setLevel(logging.WARNING)  # it announces every download on stderr
    ranked = list(mirrors)
    with _locked(folder):
        for name, sha256 in hashes.items():
            _fetch_one(name, sha256, ranked, folder, timeout)
    return paths


def _is_there(path: Path, sha256: str) -> bool:
    try:
        return fingerprint(path, remedy="") == sha256
    except UserError:
        return False


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    from filelock import FileLock  # 0.1 s

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"cannot write into the download folder {folder}: {reason(error)}; set "
            f"PERCEPTUNE_CACHE_DIR to a folder that can be written"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _fetch_one(name: str, sha256: str, ranked: list[str], folder: Path, timeout: float) -> None:
    """Bring one file; moves the mirror that delivered it to the front of `ranked`."""
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
                        # A server may otherwise declare the .gz as a transfer encoding, and
                        # what arrives is the unpacked file.
                        headers={"Accept-Encoding": "identity"},
                    ),
                )
        except Exception as error:  # whatever it is, the next mirror may do better
            failures.append(f"{url}: {_why(error, timeout)}")
            continue
        ranked.remove(mirror)
        ranked.insert(0, mirror)
        return
    raise UserError(f"cannot download {name} (tried {', '.join(failures)}); {REMEDY}")


def _why(error: Exception, timeout: float) -> str:
    """A mirror's failure in a few words; the HTTP stack's own texts run over several lines.

    The kinds are told apart by name, so that the HTTP library stays pooch's own affair.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    response = getattr(error, "response", None)
    if response is not None:
        return f"answered {response.status_code}"
    if "Timeout" in kinds or "TimeoutError" in kinds or "timed out" in str(error):
        return f"stalled for {timeout:g} s"
    if "ChunkedEncodingError" in kinds:
        return "broke off in the middle"
    if "ConnectionError" in kinds:
        return "no connection"
    if "RequestException" not in kinds and isinstance(error, OSError):
        return f"cannot be stored, {reason(error)}"
    if "does not match the known hash" in str(error):
        return "sent another file (its SHA-256 differs)"
    return f"{type(error).__name__}, {reason(error)[:120]}"


class _Meter:
    """pooch's progress bar (tqdm's interface), drawn by rich on a terminal, and a stall guard.

    A read timeout alone never ends a mirror that sends one byte now and then.
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
        """Bytes that the answer's head announces; 0 when it does not say."""
        return self._total

    @total.setter
    def total(self, count: int) -> None:
        self._total = count
        self._started = time.monotonic()  # the head is here: from now on bytes should flow

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
        """Note `count` more bytes.

        Raises:
            TimeoutError: the mirror is slower than any that is worth waiting for.
        """
        self._received += count
        seconds = time.monotonic() - self._started
        if seconds > self._timeout and self._received < seconds * SLOWEST_BYTES_PER_SECOND:
            raise TimeoutError(errno.ETIMEDOUT, "timed out")
        self._progress.update(self._task, completed=self._received, total=self._total or None)

    def reset(self) -> None:
        """Pooch starts again at nothing just before it reports the whole."""
        self._received, self._started = 0, math.inf

    def close(self) -> None:
        """Nothing: the bar ends with the `with` block."""
