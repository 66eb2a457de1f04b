"""Processes: which one this is, which are below it, and that none outlives its sweep.

It refuses to know what any of them does.
"""

import contextlib
import os
import platform
import re
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

_SAME_START_SECONDS = 2.0  # the kernel rounds the time of the boot, now up, now down
_WATCHER = "follow-driver"
_PID = re.compile(r"[0-9]{1,9}")
_START = re.compile(r"([0-9]{1,12}\.[0-9]{2})?")


def identity(pid: int | None = None) -> dict[str, str]:
    """What distinguishes a process from any other, on this and other hosts and after a reboot.

    Args:
        pid: its number; None for this process.

    Returns:
        `pid`, `process_start` in seconds after the boot ("" if it does not run), `host` and
        `boot_id` ("" where the system has none): short texts, fit for tags of an MLflow run.
    """
    pid = os.getpid() if pid is None else pid
    host, boot = platform.node(), _boot_id()
    return {"pid": str(pid), "process_start": _start(pid), "host": host, "boot_id": boot}


def may_be_alive(owner: Mapping[str, str]) -> bool:
    """Whether the process with this `identity` may still run; True for one of another host."""
    if not _is_whole(owner):
        return False
    here = identity(int(owner["pid"]))
    if owner.get("host") != here["host"]:
        return True
    then, now = owner.get("process_start"), here["process_start"]
    if owner.get("boot_id") != here["boot_id"] or not then or not now:
        return False
    # Else its number was given to another process.
    return abs(float(then) - float(now)) < _SAME_START_SECONDS


def is_dead(owner: Mapping[str, str]) -> bool:
    """Whether these are an `identity`, and its process does not run; False for anything else."""
    return _is_whole(owner) and not may_be_alive(owner)


def _is_whole(owner: Mapping[str, str]) -> bool:
    """Whether these texts, which anybody may have written, are an `identity`."""
    texts = [owner.get(key) for key in ("pid", "process_start", "host", "boot_id")]
    if not all(isinstance(text, str) for text in texts):
        return False
    return bool(_PID.fullmatch(str(texts[0])) and _START.fullmatch(str(texts[1])))


def _start(pid: int) -> str:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return f"{process.create_time() - psutil.boot_time():.2f}"
    return ""


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def descendants() -> set[psutil.Process]:
    """All processes below this one."""
    return set(psutil.Process().children(recursive=True))


def kill_descendants(keep: Iterable[psutil.Process] = ()) -> None:
    """SIGKILL everything below this process, but those in `keep`, and see them gone."""
    # Listed once: what comes later is loky's own, helpers with which it cleans up as well.
    doomed = [process for process in descendants() - set(keep) if _is_running(process)]
    for process in doomed:
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            process.kill()
    deadline = time.monotonic() + 5
    # No `wait_procs`: it would reap them, and their parents' own waiting would find nothing.
    while any(map(_is_running, doomed)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_running(process: psutil.Process) -> bool:
    """False for what is dead but not reaped, and for loky's tracker, which ends by itself."""
    try:
        is_tracker = any("resource_tracker" in part for part in process.cmdline())
        return not is_tracker and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def follow_driver(driver_pid: int) -> None:
    """In a worker: leave signals to the driver, and die within moments of it.

    A pool whose driver was killed would otherwise idle for five minutes.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    end_with(driver_pid)


def end_with(parent_pid: int) -> None:
    """End this process, and those below it, within moments of the one that started it."""
    if any(thread.name == _WATCHER for thread in threading.enumerate()):
        return  # a worker serves its second study

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(0.2)
        kill_descendants()
        os._exit(1)

    threading.Thread(target=watch, name=_WATCHER, daemon=True).start()
