"""MLflow runs made, reopened, written to and closed truthfully, by MLflow's client alone.

Needs the extra `mlflow`, which is imported by the first call. It refuses to know what a run
records: studies, trials and trainings are the caller's.
"""

import gc
import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna_joblib_sweeper import leftovers, mlflow_stores, mlflow_tables
from optuna_joblib_sweeper.mlflow_tables import PARENT_TAG as PARENT_TAG
from optuna_joblib_sweeper.paths import sqlite_file as sqlite_file
from optuna_joblib_sweeper.processes import identity
from optuna_joblib_sweeper.signals import interrupts_wait

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow's own limits, as of 3.17.
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
LONGEST_KEY = 250
_BATCH = 100  # params or tags
_METRICS_BATCH = 800  # of 1,000 entries in all

# With MLflow's own defaults a server that dies is tried again for minutes.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",  # waits of 0, 2 and 4 s
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

_BEST_TAG = "best_run_id"
HELD_TAG = "held"  # while a run is open whose end is recorded elsewhere, whoever dies
HELD = {HELD_TAG: "true"}
Tags = Mapping[str, str]


@cache
def client_of(uri: str) -> "MlflowClient":
    """The client of a store, one a process: each holds a pool of connections.

    Raises:
        OSError: see `mlflow_stores.look_at`.
    """
    mlflow_stores.look_at(uri)
    import_client()
    from mlflow import MlflowClient

    with without_collection():
        local = sqlite_file(uri)
        if local and not (local.exists() and local.stat().st_size):
            _make(local)
        return MlflowClient(tracking_uri=uri)


def import_client() -> None:
    """Import MLflow, which takes seconds, with its settings for a patient and silent client."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    # Nothing of a user's runs is reported to anyone, unless the user allows it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a run
    # Each line of the making of a store, and tracebacks of what is raised as well.
    for name, level in (("alembic", logging.WARNING), ("mlflow.store", logging.CRITICAL)):
        logging.getLogger(name).setLevel(level)
    with without_collection():
        import mlflow  # noqa: F401


@contextmanager
def without_collection() -> Iterator[None]:
    """Python's garbage collector at rest: a fifth of the time of MLflow's import, for nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _make(local: Path) -> None:
    """Make a store beside its place, then move it there: a kill leaves a whole one or none."""
    leftovers.clear(local.parent, f".{local.name}.*")
    partial = local.with_name(f".{local.name}.{leftovers.mark()}")
    try:
        _write_new(partial)
        partial.replace(local)
    finally:
        partial.unlink(missing_ok=True)


def _write_new(local: Path) -> None:
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=f"sqlite:///{local}")


def experiment_id(client: "MlflowClient", name: str, artifact_location: str | None = None) -> str:
    """The id of an experiment; it is made if there is none of that name.

    Args:
        artifact_location: where a new experiment keeps its files; None for MLflow's own choice.

    Raises:
        ValueError: it was deleted.
    """
    from mlflow.exceptions import MlflowException

    tags = _tags_of_place(client)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location, tags))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ValueError(f"experiment {name} was deleted in the store; restore it or name another")
    for key, value in tags.items() - found.tags.items():  # an earlier version made it
        client.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


def _tags_of_place(client: "MlflowClient") -> dict[str, str]:
    """By these a store in a file knows that it was moved."""
    local = sqlite_file(client.tracking_uri)
    return {mlflow_tables.FOLDER_TAG: str(local.parent.absolute())} if local else {}


@interrupts_wait()
def create_run(
    client: "MlflowClient", experiment_id: str, name: str, tags: Tags, parent: str | None = None
) -> str:
    """Make a run that this process owns.

    Args:
        parent: the id of the run below which MLflow shows it.

    Returns:
        Its id.
    """
    owned = identity() | dict(tags) | ({PARENT_TAG: parent} if parent else {})
    run = client.create_run(experiment_id, tags=owned, run_name=name[:LONGEST_KEY])
    return str(run.info.run_id)


@interrupts_wait()
def reopen(client: "MlflowClient", run_id: str) -> "Run | None":
    """Take over a run: RUNNING again, with this process as its owner, and no outcome yet.

    Returns:
        The run as it was before; None if the store has none of that id, or the user deleted it.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
        if run.info.lifecycle_stage != "active":
            return None
        client.update_run(run_id, status="RUNNING")
        log_batch(client, run_id, tags=identity())
        for stale in {"outcome", "reason"} & set(run.data.tags):
            client.delete_tag(run_id, stale)
    except MlflowException:
        return None
    return run


@interrupts_wait()
def log_batch(
    client: "MlflowClient",
    run_id: str,
    *,
    metrics: Mapping[str, float | Mapping[int, float]] = {},
    step: int = 0,
    times: Mapping[int, int] = {},
    params: Mapping[str, Any] = {},
    tags: Mapping[str, str] = {},
) -> None:
    """Write to a run in as few batches as MLflow's limits allow.

    Args:
        metrics: by name a value, or values by step. What is not finite is left out: MLflow's
            stores refuse it.
        step: of the metrics that are given as a value.
        times: when the values of a step were measured, in ms since 1970; now by default.
        params: anything but text becomes JSON.
    """
    from mlflow.entities import Metric, Param, RunTag

    now = time.time_ns() // 1_000_000
    points = [
        Metric(name, float(value), times.get(at, now), at)
        for name, found in metrics.items()
        for at, value in (found if isinstance(found, Mapping) else {step: found}).items()
        if math.isfinite(value)
    ]
    settings = [Param(key, _text(value)[:LONGEST_PARAM]) for key, value in params.items()]
    texts = [RunTag(key, str(value)[:LONGEST_TAG]) for key, value in tags.items()]
    sizes = ((points, _METRICS_BATCH), (settings, _BATCH), (texts, _BATCH))
    for some in zip_longest(*(_batches(*pair) for pair in sizes), fillvalue=()):
        client.log_batch(run_id, metrics=some[0], params=some[1], tags=some[2])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _batches(entries: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


@interrupts_wait()
def close_run(
    client: "MlflowClient",
    run_id: str,
    status: str,
    outcome: str | None,
    reason: str | None = None,
    *,
    metrics: Mapping[str, float] = {},
    tags: Mapping[str, str] = {},
) -> None:
    """End a run with what became of it.

    Args:
        status: FINISHED, FAILED or KILLED.
        outcome: one word for the tag of that name; None leaves the tag as it is.
        reason: why it did not finish, for the tag of that name.
        metrics: and `tags`, written with these.
    """
    said = {"outcome": outcome, "reason": reason}
    every = {**tags, **{key: text for key, text in said.items() if text}}
    try:
        log_batch(client, run_id, metrics=metrics, tags=every)
    finally:
        client.set_terminated(run_id, status)


@interrupts_wait()
def release(client: "MlflowClient", run_id: str) -> None:
    """Say that a held run is closed."""
    client.delete_tag(run_id, HELD_TAG)


def winner_tags(run_id: str) -> dict[str, str]:
    """Tags by which a parent run names the best of its children."""
    return {_BEST_TAG: run_id}


def winner_of(tags: Tags) -> str | None:
    """The id of a parent run's best child, from its tags; None if it names none."""
    return tags.get(_BEST_TAG) or None
