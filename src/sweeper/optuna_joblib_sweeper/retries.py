"""Tasks in a pool of processes that survives the death of one: no other task is lost.

Refuses to know what the tasks do; studies do not need it, since their storage keeps what is done.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

T = TypeVar("T")
Task = Callable[[], T]


class KilledError(RuntimeError):
    """The result of a task whose process was killed at both attempts."""


def run_all(tasks: Sequence[Task[T]], n_jobs: int) -> Iterator[tuple[int, T | KilledError]]:
    """Run `tasks`, `n_jobs` at a time in other processes, or in this one if it is 1.

    joblib closes the whole pool when one of its processes is killed. The tasks that were running
    are then started again, each in a pool of its own, so that one that kills its process takes no
    other along.

    Yields:
        The index of a task and its result, in the order in which they end.

    Raises:
        Exception: what a task raises.
    """
    waiting = deque(enumerate(tasks))
    suspects: list[tuple[int, Task[T]]] = []
    while waiting:
        yield from _run(waiting, n_jobs, suspects)
    for suspect in suspects:
        killed: list[tuple[int, Task[T]]] = []
        yield from _run(deque([suspect]), max(abs(n_jobs), 2), killed)
        for index, _ in killed:
            yield index, KilledError("its process was killed, twice")


def _run(
    waiting: deque[tuple[int, Task[T]]], n_jobs: int, killed: list[tuple[int, Task[T]]]
) -> Iterator[tuple[int, T]]:
    """Run tasks in one pool until none is `waiting` or the pool breaks; add the begun to `killed`.

    A task is drawn only when a process is free for it, so no more than `n_jobs` have begun.
    """
    from joblib import Parallel, delayed

    begun: dict[int, Task[T]] = {}

    def drawn() -> Iterator[object]:
        while waiting:
            index, task = waiting.popleft()
            begun[index] = task
            yield delayed(_indexed)(index, task)

    pool = Parallel(n_jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    try:
        for index, result in pool(drawn()):
            del begun[index]
            yield index, result
    except BrokenProcessPool:
        killed += begun.items()


def _indexed(index: int, task: Task[T]) -> tuple[int, T]:
    return index, task()
