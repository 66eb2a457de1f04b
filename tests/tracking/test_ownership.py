"""A run's owner is taken for dead only when it is; what it was made with is named."""

import os
import subprocess
import sys

import pytest

from optuna_joblib_sweeper.processes import identity, may_be_alive
from perceptune import __version__
from perceptune.tracking.ownership import blas, blas_pins, context_tags


def test_this_process_is_alive() -> None:
    assert may_be_alive(identity())


def test_an_ended_process_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = identity(process.pid)
    assert may_be_alive(owner)
    process.communicate(b"\n")
    assert not may_be_alive(owner)


def test_a_process_that_nobody_has_waited_for_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    owner = identity(process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not may_be_alive(owner)
    process.wait()


@pytest.mark.parametrize(
    ("change", "alive"),
    [({"process_start": "1"}, False), ({"boot_id": "another"}, False), ({"host": "other"}, True)],
)
def test_a_number_given_again_a_restart_and_another_host(
    change: dict[str, str], alive: bool
) -> None:
    assert may_be_alive(identity() | change) is alive


def test_blas_is_named() -> None:
    assert set(blas()) == {"library", "version", "kernel", "threads"}


def test_pins_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "512")
    assert blas_pins() == {"OPENBLAS_L2_SIZE": "512"}


def test_a_run_is_tagged_with_version_and_user() -> None:
    tags = context_tags()
    assert tags["perceptune.version"] == __version__
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= set(tags)
