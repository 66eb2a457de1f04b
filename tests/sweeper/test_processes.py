import os
import signal
import subprocess
import sys

import pytest

from optuna_joblib_sweeper.signals import (
    Interrupted,
    deaf_children,
    interrupts_wait,
    signals_interrupt,
)


def test_a_signal_raises_at_the_end_of_a_block_that_makes_it_wait() -> None:
    reached = []
    with pytest.raises(Interrupted) as caught, signals_interrupt():
        with interrupts_wait():
            with interrupts_wait():
                signal.raise_signal(signal.SIGTERM)
            reached.append("inside")
        reached.append("outside")
    assert reached == ["inside"]
    assert caught.value.exit_code == 143


def test_a_signal_raises_at_once_elsewhere() -> None:
    reached = []
    with pytest.raises(Interrupted), signals_interrupt():
        signal.raise_signal(signal.SIGINT)
        reached.append("after it")
    assert not reached


def test_processes_started_inside_are_deaf_to_ctrl_c_and_this_one_waits() -> None:
    code = "import signal; print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    with pytest.raises(Interrupted), signals_interrupt(), deaf_children():
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        os.kill(os.getpid(), signal.SIGINT)
    assert int(signal.SIGINT) in map(int, found.stdout.split())
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
