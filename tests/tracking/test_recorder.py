"""A run that another process records: the same record, whoever dies, and nothing half finished."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perceptune.errors import StoreError, UnrecordedError
from perceptune.nn.checkpoint import load_network
from perceptune.runs import run as run_module
from perceptune.runs.results import final_metrics
from perceptune.runs.run import train
from perceptune.runs.training import checkpoint_of
from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.reading import RunRecord, all_runs, find_run, history
from perceptune.tracking.recorder import OPENED, Recorder, standby, take
from perceptune.tracking.store import ExperimentRef, client_of, open_experiment
from support import configure, store_of


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with standby(needed=True):
        ready = take()
        assert ready is not None
        yield ready


def artifacts(uri: str, run_id: str, folder: str | None = None) -> Iterator[str]:
    for file in client_of(uri).list_artifacts(run_id, folder):
        if file.is_dir:
            yield from artifacts(uri, run_id, file.path)
        else:
            yield file.path


def test_a_recorder_leaves_the_record_of_a_run_without_one(
    recorder: Recorder, tmp_path: Path
) -> None:
    config = configure(tmp_path, "train.epochs=3")
    uri = store_of(tmp_path)
    results = [train(config, [], tmp_path, recorder=each) for each in (recorder, None)]
    one, other = (find_run(uri, str(result.run.id)) for result in results)
    assert one is not None
    assert other is not None
    assert one.params == other.params
    timed = {"fit_seconds", "epoch_seconds"}
    assert one.metrics.keys() == other.metrics.keys()
    for name in one.metrics.keys() - timed:
        assert one.metrics[name] == other.metrics[name]
    assert one.tags == other.tags  # the process that trains owns both
    for record in (one, other):
        assert [row["epoch"] for row in history(uri, record.id)] == [1, 2, 3]
    assert sorted(artifacts(uri, one.id)) == sorted(artifacts(uri, other.id))


def test_the_id_of_a_run_is_known_before_its_end(recorder: Recorder, ref: ExperimentRef) -> None:
    with open_run(ref, name="named", tags={}, recorder=recorder) as run:
        found = find_run(ref.uri, str(run.identified()))
        assert found is not None
        assert found.status == "RUNNING"
    closed = find_run(ref.uri, str(run.id))
    assert closed is not None
    assert closed.status == "FINISHED"


def test_an_interrupted_run_is_recorded_as_killed(recorder: Recorder, ref: ExperimentRef) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        open_run(ref, name="", tags={}, recorder=recorder) as run,
    ):
        run.log_metrics({"train/loss": 1.0}, 1)
        raise KeyboardInterrupt
    record = find_run(ref.uri, str(run.id))
    assert record is not None
    assert (record.status, record.tags["reason"]) == ("KILLED", "interrupted")
    assert record.metrics == {"train/loss": 1.0}


def until(fulfilled: Callable[[], Any]) -> Any:
    """What a condition returns once it is true."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := fulfilled():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


KILLED = """
import os, signal, sys, time
from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.recorder import standby, take
from perceptune.tracking.store import ExperimentRef

with standby(needed=True):
    ref = ExperimentRef(sys.argv[1], "killed")
    with open_run(ref, name="killed", tags={}, recorder=take()) as run:
        run.log_params({"optimizer.name": "adam"})
        for epoch in (1, 2, 3):
            run.log_metrics({"train/loss": 1 / epoch}, epoch)
        if sys.argv[2] == "later":
            run.identified()
        os.killpg(0, signal.SIGTERM) if sys.argv[3] == "group" else None
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["at once", "later"])
@pytest.mark.parametrize("whom", ["alone", "group"])
def test_what_a_killed_process_has_told_is_recorded(
    ref: ExperimentRef, moment: str, whom: str
) -> None:
    command = [sys.executable, "-c", KILLED, ref.uri, moment, whom]
    done = subprocess.run(command, check=False, start_new_session=True)
    assert done.returncode == -(signal.SIGKILL if whom == "alone" else signal.SIGTERM)

    def killed() -> RunRecord | None:
        found = [run for run in all_runs(ref.uri) if run.name == "killed"]
        there = [run for run in found if run.metrics.get("train/loss") == 1 / 3]
        return there[-1] if there else None

    record = until(killed)
    assert record.params == {"optimizer.name": "adam"}
    assert len(history(ref.uri, record.id)) == 3
    with open_run(ExperimentRef(ref.uri, "killed"), name="next", tags={}):
        pass
    closed = find_run(ref.uri, record.id)
    assert closed is not None
    assert (closed.status, closed.tags["outcome"]) == ("FAILED", "failed")
    client_of(ref.uri).delete_run(record.id)


def _deleted(uri: str) -> None:
    client, experiment = open_experiment(ExperimentRef(uri, "perceptune"))
    client.delete_experiment(experiment)


def _killed(recorder: Recorder) -> None:
    os.kill(recorder._process.pid, signal.SIGKILL)
    recorder._process.wait()


@pytest.mark.parametrize("what", ["the experiment was deleted", "the recorder was killed"])
def test_a_network_is_kept_that_cannot_be_recorded(
    what: str, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = configure(tmp_path, "train.epochs=2")
    if "deleted" in what:
        _deleted(store_of(tmp_path))

    def trained(*arguments: Any, **options: Any) -> Any:
        if "killed" in what:
            _killed(recorder)
        return final_metrics(*arguments, **options)

    monkeypatch.setattr(run_module, "final_metrics", trained)
    with pytest.raises(UnrecordedError, match=r"deleted|was killed") as error:
        train(config, [], tmp_path / "out", recorder=recorder)
    kept = load_network(tmp_path / "out" / "weights" / "best.npz")
    assert np.isfinite(kept.theta).all()
    resumed = str(error.value).partition("perceptune train resume=")[2]
    assert Path(resumed).is_file() or checkpoint_of(resumed).is_file()


def test_a_run_whose_store_fails_later_is_resumed_in_place(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def trained(*arguments: Any, **options: Any) -> Any:
        recorder.wait(OPENED)
        _killed(recorder)
        return final_metrics(*arguments, **options)

    monkeypatch.setattr(run_module, "final_metrics", trained)
    config = configure(tmp_path, "train.epochs=2")
    with pytest.raises(UnrecordedError) as error:
        train(config, [], tmp_path / "out", recorder=recorder)
    monkeypatch.setattr(run_module, "final_metrics", final_metrics)
    [run] = all_runs(store_of(tmp_path))
    assert str(error.value).endswith(f"perceptune train resume={run.id}")
    client_of(store_of(tmp_path)).set_tag(run.id, "process_start", "0.01")  # as if this one died
    train(configure(tmp_path, f"resume={run.id}"), [], tmp_path)
    [again] = all_runs(store_of(tmp_path))
    assert (again.id, again.status) == (run.id, "FINISHED")
    assert [row["epoch"] for row in history(store_of(tmp_path), run.id)] == [1, 2]


def test_a_run_that_lacks_something_is_never_finished(
    recorder: Recorder, ref: ExperimentRef, tmp_path: Path
) -> None:
    with (
        pytest.raises(StoreError),
        open_run(ref, name="lacking", tags={}, recorder=recorder) as run,
    ):
        run.log_params({"optimizer.name": "adam"})
        run.log_params({"no:such=name": "refused by MLflow"})
        run.log_text("later.txt", "still in time")
    record = find_run(ref.uri, str(recorder.wait(OPENED)))
    assert record is not None
    until(lambda: recorder._process.poll() is not None)
    record = find_run(ref.uri, record.id)
    assert record is not None
    assert record.status == "FAILED"


def test_a_recorder_that_nobody_needs_ends_at_once() -> None:
    with standby(needed=True):
        recorder = take()
        assert take() is None
    assert recorder is not None
    assert recorder._process.returncode is not None
    with standby(needed=False):
        assert take() is None
