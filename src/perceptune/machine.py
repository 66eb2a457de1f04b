"""What machine and process this is: BLAS, threads, and a name by which a run knows its owner."""

import os
import platform
from pathlib import Path
from typing import Any

_BLAS_PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def blas() -> dict[str, Any]:
    """NumPy's BLAS as loaded: `library`, `version`, `kernel`, `threads`."""
    import numpy  # noqa: F401  (loads the library that is looked at)
    from threadpoolctl import threadpool_info

    for info in threadpool_info():
        if info["user_api"] == "blas":
            return {
                "library": info["internal_api"],
                "version": info["version"],
                "kernel": info.get("architecture", "unknown"),
                "threads": info["num_threads"],
            }
    return {"library": "unknown", "version": "?", "kernel": "unknown", "threads": 1}


def blas_pins() -> dict[str, str]:
    """Environment variables that may keep BLAS from the kernel that suits the processor."""
    return {name: os.environ[name] for name in _BLAS_PINS if name in os.environ}


def identity(pid: int | None = None) -> dict[str, str]:
    """Which process owns a run: process id, when it started, and on which boot of which host."""
    pid = pid or os.getpid()
    return {
        "pid": str(pid),
        "process_start": _process_start(pid),
        "host": platform.node(),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
    }


def may_be_alive(owner: dict[str, str]) -> bool:
    """Whether the process with this `identity` may still run; of another host nobody can say."""
    here = identity()
    if owner.get("host") != here["host"]:
        return True
    if owner.get("boot_id") != here["boot_id"]:
        return False
    pid = int(owner.get("pid", 0))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, under another user
    # The number may have been given to another process since.
    return owner.get("process_start", "") == _process_start(pid)


def _process_start(pid: int) -> str:
    """Start time in clock ticks since boot, where the kernel tells (field 22 of proc(5) stat).

    Nothing for a process that has ended and only waits for its parent to ask how.
    """
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if fields and fields[0] != "Z" else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
