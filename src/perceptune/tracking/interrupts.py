"""Ctrl-C and SIGTERM wait while the store is written to; Ctrl-C is for the process that was asked.

Knows signals alone, not what is written.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Signals that come inside take effect when the block has ended.

    An interrupt raised in the middle of a write leaves a transaction open for as long as its
    traceback lives, and the database locked for whoever closes the run.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def interrupts_stay_here() -> Iterator[None]:
    """Processes started inside are deaf to Ctrl-C, which a terminal sends to them as well.

    Each would print a traceback of its own; whoever started them ends them. They inherit the
    mask of the thread that starts them, so here another thread hears the signal; Python acts on
    it in the main thread, as always.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    done = threading.Event()
    threading.Thread(target=done.wait, name="hear-interrupts", daemon=True).start()
    resource_tracker.ensure_running()  # started inside, it would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        done.set()
