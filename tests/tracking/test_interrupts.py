import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from perceptune.tracking.interrupts import interrupts_stay_here, interrupts_wait
from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.store import Place
from support import runs_in, store_of


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


def test_an_interrupt_while_the_run_is_opened_closes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    create = MlflowClient.create_run

    def create_and_interrupt(*arguments: object, **options: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return create(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "create_run", create_and_interrupt)
    place = Place(store_of(tmp_path), "perceptune")
    with pytest.raises(KeyboardInterrupt), open_run(place, name="interrupted", tags={}):
        pass
    [record] = runs_in(tmp_path)
    assert record.info.status == "KILLED"
    assert record.data.tags["reason"] == "interrupted"


def test_processes_started_inside_are_deaf_to_ctrl_c_and_this_one_is_not() -> None:
    code = "import signal; print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_stay_here():
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # another thread hears it, and it is acted on here
        done.append("too late")
    assert int(signal.SIGINT) in map(int, found.stdout.split())
    assert not done
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
