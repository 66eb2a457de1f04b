"""Runs opened, resumed and closed truthfully: alone, below a parent, or again.

Only MLflow's client is used: nothing is left to exit hooks and global state.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from optuna_joblib_sweeper.processes import identity, may_be_alive
from optuna_joblib_sweeper.signals import interrupts_wait
from perceptune.errors import StoreError
from perceptune.tracking.ownership import context_tags
from perceptune.tracking.reading import children_of, last_epoch
from perceptune.tracking.runs import FolderRun, MlflowRun, Run
from perceptune.tracking.store import ExperimentRef, client_of, errors_of, open_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Entity

AnyRun = TypeVar("AnyRun", bound=Run)

_LONGEST_NAME = 200


@contextmanager
def open_run(
    ref: ExperimentRef,
    *,
    name: str,
    tags: Mapping[str, str],
    parent: str | None = None,
    run_id: str | None = None,
    borrowed: bool = False,
) -> Iterator[MlflowRun]:
    """A run of an MLflow store, closed truthfully however the block ends.

    Args:
        ref: the store and experiment, made if they do not exist.
        name: the run's name, for a new one.
        tags: recorded at once, with the process that owns the run.
        parent: the id of the run below which a new one is shown.
        run_id: an existing run to resume, in place of a new one.
        borrowed: that run is held open by somebody else, who also closes it.

    Raises:
        StoreError: the store cannot be opened, has no such run, or a live process owns that run.
    """
    if run_id is None:
        opened = partial(_create, ref, name, tags, parent)
    else:
        opened = partial(_borrow if borrowed else _resume, ref.uri, run_id, tags)
    with _held(opened, MlflowRun.close) as run:
        yield run


@contextmanager
def open_folder(folder: Path, *, name: str, tags: Mapping[str, str]) -> Iterator[FolderRun]:
    """A run without a store, whose `run.json` is written to `folder` however the block ends."""
    with _held(lambda: FolderRun(folder, name, tags=dict(tags)), FolderRun.close) as run:
        yield run


@contextmanager
def open_parent(ref: ExperimentRef, name: str, tags: Mapping[str, str]) -> Iterator[MlflowRun]:
    """A run for whatever is made below it while the block runs, by this process and others.

    It is deleted at the end if nothing was. If the block fails, children whose processes ended
    with it are closed as well.

    Raises:
        StoreError: the store cannot be opened.
    """
    with _held(partial(_create, ref, name, tags, None), _close_parent) as run:
        yield run


def write_to(uri: str, run_id: str) -> MlflowRun:
    """A run that somebody else holds open, and closes."""
    return MlflowRun(client_of(uri), run_id, uri, borrowed=True)


def close_dead_runs(client: "MlflowClient", experiment_id: str) -> None:
    """End the runs whose process was killed: nobody else will. Live ones are left alone."""
    from optuna_joblib_sweeper import mlflow_runs

    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        pid = run.data.tags.get("pid")
        if pid and not _may_be_alive(run):
            reason = f"process {pid} was killed"
            mlflow_runs.close_run(client, run.info.run_id, "FAILED", "failed", reason)


@contextmanager
def _held(open_: Callable[[], AnyRun], close: Callable[..., None]) -> Iterator[AnyRun]:
    """The run that `open_` returns, closed with what really happened."""
    run: AnyRun | None = None
    try:
        with interrupts_wait():  # until there is a run to close; MLflow's import takes seconds
            run = open_()
        yield run
    except BaseException as error:
        if run is None:
            raise
        by_signal = isinstance(error, KeyboardInterrupt | SystemExit)
        run.outcome = getattr(error, "outcome", "failed")
        reason = "interrupted" if by_signal else f"{type(error).__name__}: {error}"[:500]
        close(run, "KILLED" if by_signal else "FAILED", reason)
        raise
    close(run, "FINISHED")


@interrupts_wait()
def _close_parent(run: MlflowRun, status: str, reason: str | None = None) -> None:
    if status != "FINISHED":
        close_dead_runs(run.client, run.client.get_run(run.id).info.experiment_id)
    run.close(status, reason)
    if not children_of(run.store, run.id):
        run.client.delete_run(run.id)


def _create(
    ref: ExperimentRef, name: str, tags: Mapping[str, str], parent: str | None
) -> MlflowRun:
    from optuna_joblib_sweeper import mlflow_runs

    client, experiment = open_experiment(ref)
    with errors_of(ref.uri):
        close_dead_runs(client, experiment)
        every = {**context_tags(), **tags}
        run_id = mlflow_runs.create_run(client, experiment, name[:_LONGEST_NAME], every, parent)
    return MlflowRun(client, run_id, ref.uri)


def _resume(uri: str, run_id: str, tags: Mapping[str, str]) -> MlflowRun:
    from optuna_joblib_sweeper import mlflow_runs

    found = _find(uri, run_id)
    if found.info.status == "RUNNING" and _may_be_alive(found):
        pid = found.data.tags["pid"]
        raise StoreError(f"run {run_id} is still being trained, by process {pid}")
    with errors_of(uri):
        mlflow_runs.reopen(client_of(uri), run_id)
    return _resumed(MlflowRun(client_of(uri), run_id, uri), tags)


def _borrow(uri: str, run_id: str, tags: Mapping[str, str]) -> MlflowRun:
    _find(uri, run_id)
    return _resumed(write_to(uri, run_id), {**context_tags(), **tags})


def _resumed(run: MlflowRun, tags: Mapping[str, str]) -> MlflowRun:
    with errors_of(run.store):
        run.logged_epochs = last_epoch(run.store, run.id) or 0
        run.log_tags(tags)
    return run


def _find(uri: str, run_id: str) -> "Entity":
    from mlflow.exceptions import MlflowException

    with errors_of(uri):
        client = client_of(uri)
        try:
            return client.get_run(run_id)
        except MlflowException:
            raise StoreError(f"run {run_id} does not exist in {uri}") from None


def _may_be_alive(run: "Entity") -> bool:
    """False for a run without an owner."""
    owner = {key: run.data.tags.get(key, "") for key in identity()}
    return bool(owner["pid"]) and may_be_alive(owner)
