"""SIGINT and SIGTERM: when they take effect, and who hears them.

It refuses to know what a signal interrupts.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

from optuna_joblib_sweeper.processes import descendants, kill_descendants

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """SIGINT or SIGTERM reached the driver."""

    def __init__(self, signal_number: int) -> None:
        """Remember the signal, from which the exit code follows."""
        super().__init__(f"by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Signals that come inside take effect at the end of the block, whatever handles them.

    A context manager and a decorator. An interruption in the middle of a write would leave a
    transaction open for as long as its traceback lives, and the database locked for the clean-up.
    """
    came: list[int] = []
    try:
        with _handled_by(lambda number, frame: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGINT and SIGTERM go to `handler` inside; in other threads nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    before = {number: signal.signal(number, handler) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes started inside never see a Ctrl-C, however early it comes; this one does.

    A terminal sends it to all of them, and each that is still importing would print a traceback.
    They inherit the mask of the thread that starts them, so here another thread hears the signal;
    Python acts on it in the main thread, as always.
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


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """While inside, SIGINT and SIGTERM kill all that was started inside and raise `Interrupted`."""
    before = descendants()

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in _NUMBERS:
            signal.signal(other, signal.SIG_IGN)  # the clean-up that follows is short
        kill_descendants(keep=before)
        raise Interrupted(number)

    with _handled_by(interrupt):
        yield
