"""joblib's pool as a stream: tokens in, results out as they come; a dead worker is an exception.

It refuses to know what a token means.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from joblib import Parallel, delayed, parallel_config

from optuna_joblib_sweeper._private import (
    FollowingLokyBackend,
    OneLokyBackend,
    TerminatedWorkerError,
)
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.settings import Settings
from optuna_joblib_sweeper.signals import deaf_children, interrupts_wait

Run = Callable[[Any], Any]


class WorkerDiedError(Exception):
    """A worker process ended in the middle of a task; joblib has closed the whole pool."""


def check_backend(name: str) -> None:
    """Refuse a backend that joblib does not know, or whose package is not installed.

    Raises:
        SweepError: with joblib's own reason.
    """
    try:
        with parallel_config(backend=name):
            pass
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise SweepError(f"hydra.sweeper.backend={name} can't be used: {reason}") from None


def stream(run: Run, tokens: Iterable[Any], n_jobs: int, settings: Settings) -> Iterator[Any]:
    """Yield `run(token)` for all tokens, in the order of their ends.

    A token is drawn from `tokens` only when a worker is free for it.

    Raises:
        WorkerDiedError: a worker was killed, or ended itself.
    """
    try:
        yield from _start(run, tokens, n_jobs, settings)
    except Exception as error:
        # By name as well: dask's error exists only where dask is installed.
        if isinstance(error, TerminatedWorkerError) or type(error).__name__ == "KilledWorker":
            raise WorkerDiedError(str(error)) from error
        raise


def _start(run: Run, tokens: Iterable[Any], n_jobs: int, settings: Settings) -> Iterator[Any]:
    with parallel_config(backend=_backend(n_jobs, settings)):
        parallel = Parallel(
            n_jobs=max(n_jobs, 2) if settings.backend == "loky" else n_jobs,
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch=n_jobs,
            max_nbytes=None,  # a job is small; mapped into memory, it would need a temporary file
        )
    with interrupts_wait(), deaf_children():  # the call starts the workers
        results: Iterator[Any] = parallel(delayed(run)(token) for token in tokens)
    return results


@contextmanager
def started(prepare: Run, n_jobs: int, settings: Settings) -> Iterator[None]:
    """Start the workers of a later `stream`, to `prepare` while the block runs.

    One that dies at it is for the stream to find out. Other backends than loky start none here.
    """
    if settings.backend != "loky":
        yield
        return
    ends = _start(prepare, range(n_jobs), n_jobs, settings)
    try:
        yield
    finally:
        _all_end(ends)


@contextmanager
def aside(run: Run, token: Any, n_jobs: int, settings: Settings) -> Iterator[None]:
    """A worker calls `run(token)` while the block runs; if it can't, this process does after it."""
    is_done = False
    if settings.backend != "loky":
        yield
    else:
        ends = _start(run, [token], n_jobs, settings)
        try:
            yield
        finally:
            is_done = _all_end(ends)
    if not is_done:
        run(token)


def _all_end(ends: Iterator[Any]) -> bool:
    """Wait for calls, as joblib complains of those that nobody waits for; False if one failed."""
    try:
        deque(ends, maxlen=0)
    except Exception:
        return False
    return True


def _backend(n_jobs: int, settings: Settings) -> Any:
    if settings.backend != "loky":
        return settings.backend  # by name: joblib registers clusters when one is named
    # The environment reaches what a task loads later, with a thread pool of its own.
    kind = OneLokyBackend if n_jobs == 1 else FollowingLokyBackend
    return kind(inner_max_num_threads=settings.threads)
