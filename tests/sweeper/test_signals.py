"""Deferral of signals under Python's own handlers; `test_processes` has those of a sweep."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from optuna_joblib_sweeper.signals import deaf_children, interrupts_wait


def test_a_signal_takes_effect_when_the_block_has_ended() -> None:
    done = False
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        signal.raise_signal(signal.SIGINT)
        done = True
    assert done
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_nested_blocks_wait_for_the_outermost() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
        reached.append("after the inner block")
    assert reached


def test_other_threads_need_no_handlers() -> None:
    entered = []

    def enter() -> None:
        with interrupts_wait():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered


def test_processes_started_inside_are_deaf_to_ctrl_c_and_this_one_is_not() -> None:
    code = "import signal; print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    done = []
    with pytest.raises(KeyboardInterrupt), deaf_children():
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # another thread hears it, and it is acted on here
        done.append("too late")
    assert int(signal.SIGINT) in map(int, found.stdout.split())
    assert not done
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
