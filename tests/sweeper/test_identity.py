"""A process is taken for dead only when it is."""

import os
import subprocess
import sys

import pytest

from optuna_joblib_sweeper.processes import identity, may_be_alive


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
