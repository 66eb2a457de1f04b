"""Tasks in processes of which some are killed."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from optuna_joblib_sweeper.retries import KilledError, run_all


def _square(number: int, folder: Path, deaths: int = 0) -> int:
    """Its square; kills its process at the first `deaths` attempts."""
    attempt = folder / f"{number}-{len(list(folder.glob(f'{number}-*')))}"
    attempt.touch()
    if int(attempt.name.partition("-")[2]) < deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


@pytest.mark.parametrize("deaths", [0, 1])
def test_every_task_gives_its_result_though_a_process_is_killed(
    tmp_path: Path, deaths: int
) -> None:
    tasks = [partial(_square, number, tmp_path, deaths * (number == 1)) for number in range(6)]
    assert dict(run_all(tasks, 2)) == {number: number**2 for number in range(6)}


def test_a_task_that_kills_its_process_again_loses_no_other(tmp_path: Path) -> None:
    tasks = [partial(_square, number, tmp_path, 9 * (number == 2)) for number in range(5)]
    results = dict(run_all(tasks, 2))
    assert isinstance(results.pop(2), KilledError)
    assert results == {number: number**2 for number in (0, 1, 3, 4)}


def test_with_one_job_tasks_run_in_order_in_this_process() -> None:
    assert list(run_all([os.getpid, os.getppid], 1)) == [(0, os.getpid()), (1, os.getppid())]


def test_an_exception_of_a_task_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_all([partial(divmod, 1, 0)], 2))
