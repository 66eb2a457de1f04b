"""Processes and signals: nothing that a sweep started outlives it."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType

from optuna_joblib_sweeper._errors import Interrupted

WATCH_SECONDS = 0.2
_WATCHER = "follow-driver"


def descendants(pid: int) -> set[int]:
    """All processes below `pid`."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: set[int] = set()
    front = [pid]
    while front:
        front = [child for parent in front for child in children.get(parent, ())]
        found.update(front)
    return found


def _parents() -> Iterator[tuple[int, int]]:
    proc = Path("/proc")
    if (proc / "self").exists():
        for entry in proc.iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                except OSError:
                    continue  # it ended meanwhile
                yield int(entry.name), int(stat.rpartition(")")[2].split()[1])
        return
    listed = subprocess.run(["ps", "-Ao", "pid=,ppid="], capture_output=True, text=True)
    for line in listed.stdout.splitlines():
        child, parent = line.split()
        yield int(child), int(parent)


def kill_descendants(keep: set[int] | None = None) -> None:
    """SIGKILL everything below this process, but those in `keep`, and see them gone."""
    # Listed once: what comes later is loky's own, helpers with which it cleans up as well.
    doomed = [pid for pid in descendants(os.getpid()) - (keep or set()) if _is_alive(pid)]
    for pid in doomed:
        with contextlib.suppress(OSError):  # it ended meanwhile
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(map(_is_alive, doomed)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    """False for what is dead but not reaped, and for loky's tracker, which ends by itself."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return not Path("/proc/self").exists()


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """While inside, SIGINT and SIGTERM kill all that was started inside and raise `Interrupted`.

    Inside `interrupts_wait` it is raised at its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    before = descendants(os.getpid())
    numbers = (signal.SIGINT, signal.SIGTERM)

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)  # the clean-up that follows is short
        kill_descendants(keep=before)
        if _held.depth == 0:
            raise Interrupted(number)
        _held.number = number

    old = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@dataclass
class _Held:
    """How many blocks make an interruption wait, and the one that waits."""

    depth: int = 0
    number: int | None = None


_held = _Held()


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """An interruption inside takes effect at the end of the block; no write is torn by it.

    In the middle of a write it would leave a transaction open for as long as its traceback
    lives, and the database locked for the clean-up.
    """
    _held.depth += 1
    try:
        yield
    finally:
        _held.depth -= 1
        if _held.depth == 0 and _held.number is not None:
            number, _held.number = _held.number, None
            raise Interrupted(number)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes and threads started inside never see a Ctrl-C, however early it comes.

    A terminal sends it to all of them, and each that is still importing would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # started inside, it would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow_driver(driver_pid: int) -> None:
    """In a worker: leave signals to the driver, and die within moments of it.

    A pool whose driver was killed would otherwise idle for five minutes.
    """
    if any(thread.name == _WATCHER for thread in threading.enumerate()):
        return  # the worker serves its second study
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == driver_pid:
            time.sleep(WATCH_SECONDS)
        kill_descendants()
        os._exit(1)

    threading.Thread(target=watch, name=_WATCHER, daemon=True).start()
