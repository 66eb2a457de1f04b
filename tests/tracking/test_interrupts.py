import signal
import threading
from pathlib import Path

import pytest

from perceptune.tracking.interrupts import interrupts_wait
from perceptune.tracking.store import Place, open_run
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
