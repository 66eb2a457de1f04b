"""Lifecycle of runs: opened, resumed, and closed with their true status.

Knows nothing of what they record. Only MLflow's client is used, no global state and no exit hooks.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from optuna_joblib_sweeper import mlflow_runs, mlflow_stores
from optuna_joblib_sweeper.processes import identity, is_dead, may_be_alive
from optuna_joblib_sweeper.secrets import masked
from optuna_joblib_sweeper.signals import interrupts_wait
from perceptune.errors import StoreError
from perceptune.tracking.ownership import context_tags
from perceptune.tracking.reading import children_of, find_run, last_epoch
from perceptune.tracking.recorded import RecordedRun
from perceptune.tracking.recorder import Recorder
from perceptune.tracking.runs import FolderRun, MlflowRun, Run
from perceptune.tracking.store import ExperimentRef, client_of, errors_of, open_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient

AnyRun = TypeVar("AnyRun", bound=Run)


@contextmanager
def open_run(
    ref: ExperimentRef,
    *,
    name: str,
    tags: Mapping[str, str],
    parent: str | None = None,
    run_id: str | None = None,
    borrowed: bool = False,
    fresh: bool = False,
    recorder: Recorder | None = None,
) -> Iterator[Run]:
    """A run of an MLflow store, closed with its true status however the block ends.

    Args:
        ref: the store and experiment, created if they do not exist.
        name: the run's name, for a new one.
        tags: recorded at once, with the process that owns the run.
        parent: the id of a new run's parent.
        run_id: an existing run to resume, in place of a new one.
        borrowed: another process holds that run open, and closes it.
        fresh: nothing has been recorded in that run yet.
        recorder: records the run in its own process; what is wrong with the store is then raised
            by any method, or at the end.

    Raises:
        StoreError: the store cannot be opened, has no such run, or a live process owns that run.
    """
    open_: Callable[[], Run]
    if recorder is None:
        open_ = partial(opened, ref, name, tags, parent, run_id, borrowed, fresh)
    else:
        with errors_of(ref.uri):
            # Most of what is wrong with a store shows here, before any training.
            mlflow_stores.make_lock(ref.uri)
            mlflow_stores.look_at(ref.uri)
        _refuse_no_parent(ref.uri, parent)
        owned = identity() | dict(tags)
        how = (ref, name, owned, parent, run_id, borrowed, fresh)
        open_ = partial(RecordedRun, recorder, ref.uri, *how)
    with _held(open_) as run:
        yield run


def opened(
    ref: ExperimentRef,
    name: str,
    tags: Mapping[str, str],
    parent: str | None,
    run_id: str | None,
    borrowed: bool,
    fresh: bool,
) -> MlflowRun:
    """See `open_run`; who calls it closes the run."""
    if run_id is None:
        return _create(ref, name, tags, parent)
    if not borrowed:
        return _reopen(ref.uri, run_id, tags)
    run = MlflowRun(client_of(ref.uri), run_id, ref.uri, borrowed=True)
    if not fresh:
        run.logged_epochs = last_epoch(ref.uri, run_id) or 0
    run.log_tags({**context_tags(), **tags})
    return run


@contextmanager
def open_folder(folder: Path, *, name: str, tags: Mapping[str, str]) -> Iterator[FolderRun]:
    """A run without a store, whose `run.json` is written to `folder` however the block ends."""
    with _held(lambda: FolderRun(folder, name, tags=dict(tags))) as run:
        yield run


@contextmanager
def open_parent(ref: ExperimentRef, name: str, tags: Mapping[str, str]) -> Iterator[MlflowRun]:
    """A parent run for those that this process and others make while the block runs.

    It is deleted at the end if it has no children. Children whose processes were killed are closed
    as well.

    Raises:
        StoreError: the store cannot be opened.
    """
    with _held(partial(_create, ref, name, tags, None), _close_parent) as run:
        yield run


@contextmanager
def write_to(uri: str, run_id: str) -> Iterator[MlflowRun]:
    """A run that somebody else holds open, and closes."""
    run = MlflowRun(client_of(uri), run_id, uri, borrowed=True)
    yield run
    run.flush()


def close_dead_runs(client: "MlflowClient", experiment_id: str) -> None:
    """Close the runs of an experiment whose process was killed, as FAILED.

    A held one is left to who opened it, which knows whether it was finished.
    """
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        tags = run.data.tags
        if mlflow_runs.HELD_TAG not in tags and is_dead(tags):
            reason = f"process {tags['pid']} was killed"
            mlflow_runs.close_run(client, run.info.run_id, "FAILED", "failed", reason)


def _close(run: Run, status: str, reason: str | None = None) -> None:
    run.close(status, reason)


@contextmanager
def _held(open_: Callable[[], AnyRun], close: Callable[..., None] = _close) -> Iterator[AnyRun]:
    """The run that `open_` returns, closed with its true status."""
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
        with suppress(
            StoreError
        ):  # the store may be what failed; the run is closed at the next start
            close(run, "KILLED" if by_signal else "FAILED", masked(reason))
        raise
    close(run, "FINISHED")


@interrupts_wait()
def _close_parent(run: MlflowRun, status: str, reason: str | None = None) -> None:
    with errors_of(run.store):
        mlflow_stores.refuse_silent(run.store)
        close_dead_runs(run.client, run.client.get_run(run.id).info.experiment_id)
        run.close(status, reason)
        if not children_of(run.store, run.id):
            run.client.delete_run(run.id)


def _refuse_no_parent(uri: str, parent: str | None) -> None:
    if parent is not None and find_run(uri, parent) is None:
        raise StoreError(f"tracking.parent={parent} is no run in {masked(uri)}; leave it out")


def _create(
    ref: ExperimentRef, name: str, tags: Mapping[str, str], parent: str | None
) -> MlflowRun:
    client, experiment = open_experiment(ref)
    _refuse_no_parent(ref.uri, parent)
    with errors_of(ref.uri):
        close_dead_runs(client, experiment)
        every = {**context_tags(), **tags}
        run_id = mlflow_runs.create_run(client, experiment, name, every, parent)
    return MlflowRun(client, run_id, ref.uri)


def _reopen(uri: str, run_id: str, tags: Mapping[str, str]) -> MlflowRun:
    found = find_run(uri, run_id)
    if found is None:
        raise StoreError(f"run {run_id} does not exist in {masked(uri)}")
    if found.status == "RUNNING" and may_be_alive(found.tags):
        raise StoreError(f"run {run_id} is still being trained, by process {found.tags['pid']}")
    run = MlflowRun(client_of(uri), run_id, uri, logged_epochs=last_epoch(uri, run_id) or 0)
    with errors_of(uri):
        if mlflow_runs.reopen(run.client, run_id) is None:
            raise StoreError(
                f"run {run_id} was deleted; restore it in the store or start a new one"
            )
        run.log_tags(tags)
        run.flush()  # it says who owns the run
    return run
