"""Every run is closed with its true status, and only by its owner."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from optuna_joblib_sweeper import mlflow_runs
from optuna_joblib_sweeper.processes import identity
from perceptune.errors import DivergedError, StoreError
from perceptune.tracking.lifecycle import open_folder, open_parent, open_run, write_to
from perceptune.tracking.reading import RunRecord, all_runs, find_run, history, read_folders
from perceptune.tracking.store import ExperimentRef, client_of, open_experiment


def _found(ref: ExperimentRef, run_id: str) -> RunRecord:
    found = find_run(ref.uri, run_id)
    assert found is not None
    return found


ENDINGS = [
    (None, "FINISHED", "finished", None),
    (KeyboardInterrupt(), "KILLED", "failed", "interrupted"),
    (SystemExit(143), "KILLED", "failed", "interrupted"),
    (ValueError("no"), "FAILED", "failed", "ValueError: no"),
    (DivergedError("inf"), "FAILED", "diverged", "DivergedError: inf"),
]


def _end(error: BaseException | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize(("error", "status", "outcome", "reason"), ENDINGS)
def test_a_run_and_a_folder_are_closed_with_their_true_status(
    error: BaseException | None,
    status: str,
    outcome: str,
    reason: str | None,
    ref: ExperimentRef,
    tmp_path: Path,
) -> None:
    kind = type(error) if error else ()
    ids = []
    try:
        with open_run(ref, name="a run", tags={"kind": "test"}) as run:
            ids.append(run.id)
            _end(error)
    except kind:
        pass
    try:
        with open_folder(tmp_path / "run", name="a run", tags={"kind": "test"}):
            _end(error)
    except kind:
        pass
    [folder] = read_folders(tmp_path)
    for record in (_found(ref, ids[0]), folder):
        assert (record.name, record.status) == ("a run", status)
        assert record.tags["outcome"] == outcome
        assert record.tags.get("reason") == reason
        assert record.tags["kind"] == "test"


def test_an_outcome_that_the_block_sets_is_recorded(ref: ExperimentRef) -> None:
    with open_run(ref, name="pruned", tags={}) as run:
        run.outcome = "pruned"
    record = _found(ref, run.id)
    assert (record.status, record.tags["outcome"]) == ("FINISHED", "pruned")
    assert record.tags["perceptune.version"]
    assert record.tags["pid"] == str(os.getpid())


def test_an_interrupt_while_the_run_is_opened_closes_it(
    ref: ExperimentRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    create = MlflowClient.create_run
    made: list[Any] = []

    def create_and_interrupt(*arguments: object, **options: object) -> object:
        signal.raise_signal(signal.SIGINT)
        made.append(create(*arguments, **options))  # type: ignore[arg-type]
        return made[0]

    monkeypatch.setattr(MlflowClient, "create_run", create_and_interrupt)
    with pytest.raises(KeyboardInterrupt), open_run(ref, name="interrupted", tags={}):
        pass
    record = _found(ref, made[0].info.run_id)
    assert record.status == "KILLED"
    assert record.tags["reason"] == "interrupted"


def test_a_resumed_run_forgets_its_end_and_writes_no_epoch_twice(ref: ExperimentRef) -> None:
    with pytest.raises(KeyboardInterrupt), open_run(ref, name="resumed", tags={}) as run:
        for epoch in (1, 2):
            run.log_metrics({"train/loss": 1 / epoch}, epoch)
        raise KeyboardInterrupt
    with open_run(ref, name="", tags={"threads": "1"}, run_id=run.id) as again:
        record = _found(ref, run.id)
        assert record.status == "RUNNING"
        assert not {"outcome", "reason"} & set(record.tags)
        assert again.logged_epochs == 2
        for epoch in (2, 3):
            again.log_metrics({"train/loss": 9.0}, epoch)
    assert [row["train/loss"] for row in history(ref.uri, run.id)] == [1.0, 0.5, 9.0]
    record = _found(ref, run.id)
    assert (record.name, record.status, record.tags["threads"]) == ("resumed", "FINISHED", "1")


def test_a_run_whose_process_lives_is_not_resumed(ref: ExperimentRef) -> None:
    with open_run(ref, name="alive", tags={}) as run:
        with pytest.raises(StoreError, match=f"still being trained, by process {os.getpid()}"):
            open_run(ref, name="", tags={}, run_id=run.id).__enter__()
        assert _found(ref, run.id).status == "RUNNING"


def test_an_unknown_and_a_deleted_run_are_refused(ref: ExperimentRef) -> None:
    with open_run(ref, name="deleted", tags={}) as run:
        pass
    client_of(ref.uri).delete_run(run.id)
    for run_id, words in (("0" * 32, "does not exist in sqlite"), (run.id, "was deleted")):
        with pytest.raises(StoreError, match=words):
            open_run(ref, name="", tags={}, run_id=run_id).__enter__()


def test_a_borrowed_run_is_left_open_with_its_outcome(ref: ExperimentRef) -> None:
    with open_run(ref, name="lent", tags={}) as lent:
        with (
            pytest.raises(DivergedError),
            open_run(ref, name="", tags={"b": "1"}, run_id=lent.id, borrowed=True),
        ):
            raise DivergedError("inf")
        record = _found(ref, lent.id)
        assert record.status == "RUNNING"
        assert record.tags["outcome"] == "diverged"
        assert record.tags["reason"] == "DivergedError: inf"
        assert record.tags["b"] == "1"
        with write_to(ref.uri, lent.id) as run:
            run.log_metrics({"test/loss": 0.5})
        assert _found(ref, lent.id).metrics == {"test/loss": 0.5}


@pytest.mark.parametrize("alive", [True, False])
def test_runs_of_killed_processes_are_closed_at_the_next_start(
    ref: ExperimentRef, alive: bool
) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = identity(process.pid)
    with open_run(ref, name="first", tags={}) as first:
        first.log_tags(owner)
        first.flush()
        if not alive:
            process.kill()
            process.communicate()
        with open_run(ref, name="second", tags={}):
            record = _found(ref, first.id)
            assert record.status == ("RUNNING" if alive else "FAILED")
            killed = f"process {process.pid} was killed"
            assert record.tags.get("reason") == (None if alive else killed)
    if alive:
        process.communicate(b"\n")


def test_a_run_that_is_held_is_left_to_who_knows_its_end(ref: ExperimentRef) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    owner = identity(process.pid)
    process.wait()
    with open_run(ref, name="trial", tags={}) as trial:
        trial.log_tags(owner | mlflow_runs.HELD)
        trial.flush()
        with open_run(ref, name="training", tags={}):
            assert _found(ref, trial.id).status == "RUNNING"
        mlflow_runs.release(trial.client, trial.id)
        with open_run(ref, name="training", tags={}):
            assert _found(ref, trial.id).status == "FAILED"


RUBBISH = ["", "abc", "-1", "²", "1e5", "0x10", "9" * 30, "None", "{}", "1\n"]


@pytest.mark.parametrize("key", ["pid", "process_start", "host", "boot_id"])
def test_a_run_with_tags_of_others_is_left_alone(ref: ExperimentRef, key: str) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    owner = identity(ended.pid)
    ended.wait()
    client, experiment = open_experiment(ref)
    if key in ("pid", "process_start"):
        runs = [client.create_run(experiment, tags=owner | {key: text}) for text in RUBBISH if text]
    else:
        runs = []
    without = {name: text for name, text in owner.items() if name != key}
    runs += [client.create_run(experiment, tags=tags) for tags in (without, {"pid": "abc"}, {})]
    with open_run(ref, name="next", tags={}):
        pass
    assert {_found(ref, run.info.run_id).status for run in runs} == {"RUNNING"}


def test_children_stand_below_their_parent(ref: ExperimentRef) -> None:
    with (
        open_parent(ref, "parent", {"kind": "multirun"}) as parent,
        open_run(ref, name="child", tags={}, parent=parent.id) as child,
    ):
        pass
    assert _found(ref, child.id).parent == parent.id
    record = _found(ref, parent.id)
    assert (record.status, record.tags["kind"]) == ("FINISHED", "multirun")
    assert record.tags["outcome"] == "finished"


def test_a_parent_without_children_is_deleted(ref: ExperimentRef) -> None:
    with open_parent(ref, "childless", {}) as parent:
        pass
    with pytest.raises(ValueError, match="refused"), open_parent(ref, "refused", {}) as refused:
        raise ValueError("refused")
    assert not {parent.id, refused.id} & {record.id for record in all_runs(ref.uri)}


def test_a_failed_parent_closes_the_children_that_ended_with_it(ref: ExperimentRef) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    owner = identity(process.pid)
    process.wait()
    with pytest.raises(KeyboardInterrupt), open_parent(ref, "ended", {}) as parent:
        children = [open_run(ref, name="child", tags={}, parent=parent.id) for _ in range(2)]
        killed, alive = (child.__enter__() for child in children)
        killed.log_tags(owner)
        killed.flush()
        raise KeyboardInterrupt
    assert _found(ref, killed.id).status == "FAILED"
    assert _found(ref, alive.id).status == "RUNNING"
    assert _found(ref, parent.id).status == "KILLED"
    children[1].__exit__(None, None, None)
    assert _found(ref, alive.id).status == "FINISHED"
