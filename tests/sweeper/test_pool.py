"""The pool of workers, before and after the trials that it is there for."""

import os
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.errors import HydraException

from optuna_joblib_sweeper import _pool, _private

SETTINGS: Any = SimpleNamespace(backend="loky", threads=1)


def note(folder: str, _: object = None) -> None:
    Path(folder, f"{os.getpid()}").touch()


def die_or_note(driver: int, folder: str, _: object = None) -> None:
    if os.getpid() != driver:
        os.kill(os.getpid(), signal.SIGKILL)
    note(folder)


@pytest.fixture(autouse=True)
def _no_workers_left() -> Any:
    yield
    _private.close_workers()


def test_workers_prepare_while_the_block_runs(tmp_path: Path) -> None:
    with _pool.started(partial(note, str(tmp_path)), 2, SETTINGS):
        pass
    prepared = {int(path.name) for path in tmp_path.iterdir()}
    streamed = set(_pool.stream(_pid, range(4), 2, SETTINGS))
    assert prepared
    assert prepared | streamed <= set(_private.reusable_executor._executor._processes)


def _pid(_: object) -> int:
    return os.getpid()


def test_a_worker_that_dies_as_it_prepares_ends_nothing(tmp_path: Path) -> None:
    with _pool.started(partial(die_or_note, os.getpid(), str(tmp_path)), 2, SETTINGS):
        pass
    assert len(list(_pool.stream(_pid, range(4), 2, SETTINGS))) == 4


def test_an_error_in_the_block_is_not_hidden(tmp_path: Path) -> None:
    with (
        pytest.raises(HydraException, match="no store"),
        _pool.started(partial(note, str(tmp_path)), 2, SETTINGS),
    ):
        raise HydraException("no store")


@pytest.mark.parametrize("backend", ["loky", "sequential"])
def test_what_a_worker_did_not_live_to_do_is_done_here(tmp_path: Path, backend: str) -> None:
    settings: Any = SimpleNamespace(backend=backend, threads=1)
    with _pool.aside(partial(die_or_note, os.getpid(), str(tmp_path)), None, 2, settings):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]
