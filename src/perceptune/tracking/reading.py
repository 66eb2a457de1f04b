"""Runs read back as plain records, from a store or from folders; never creates a store.

A store in a file is read by SQL, any other by MLflow's client, with the same result.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from optuna_joblib_sweeper import mlflow_stores, mlflow_tables
from optuna_joblib_sweeper.mlflow_tables import PARENT_TAG as PARENT_TAG
from optuna_joblib_sweeper.mlflow_tables import RunRecord as RunRecord
from optuna_joblib_sweeper.paths import sqlite_file
from perceptune.errors import StoreError
from perceptune.tracking.store import (
    ExperimentRef,
    client_to_read,
    errors_of,
    refuse_absent,
    search,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

TESTED = ("test/accuracy", "fit_seconds")
RECORD = "run.json"  # in the folder of a run without a store


@cache
def local_store(uri: str) -> Path | None:
    """The file of a store that `mlflow_tables` reads; None for any other.

    Raises:
        StoreError: there is no such store, or it cannot be read.
    """
    refuse_absent(uri)
    with errors_of(uri):
        if sqlite_file(uri) is None:
            return None
        mlflow_stores.look_at(uri)
        return mlflow_tables.readable(uri)


def find_experiment(ref: ExperimentRef) -> str | None:
    """The experiment's id, if there is one of that name.

    Raises:
        StoreError: the store cannot be read.
    """
    local = local_store(ref.uri)
    with errors_of(ref.uri):
        if local:
            return mlflow_tables.experiment_id(local, ref.experiment)
        found = client_to_read(ref.uri).get_experiment_by_name(ref.experiment)
    return str(found.experiment_id) if found else None


def all_runs(uri: str) -> list[RunRecord]:
    """Every run of every experiment, oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    return _search(uri)


def tested_runs(uri: str) -> list[RunRecord]:
    """The finished trainings with a test accuracy, after the parents of repeats; oldest first.

    The store finds them, since most runs of a large one are trials without. Of one in a file only
    these metrics are read.

    Raises:
        StoreError: the store cannot be read.
    """
    parents = _search(uri, tag=("kind", "repeats"))
    tested = _search(uri, finished_with=TESTED)
    return list({run.id: run for run in (*parents, *tested)}.values())


def children_of(uri: str, parent_id: str) -> list[RunRecord]:
    """The runs directly below a run, oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    return _search(uri, tag=(PARENT_TAG, parent_id))


def find_run(uri: str, run_id: str) -> RunRecord | None:
    """The run with that id, if the store has it.

    Raises:
        StoreError: the store cannot be read.
    """
    local = local_store(uri)
    if local:
        with errors_of(uri):
            return mlflow_tables.find_run(local, run_id)
    client = client_to_read(uri)
    from mlflow.exceptions import MlflowException

    with errors_of(uri):
        try:
            return _record(client.get_run(run_id))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


def has_run(uri: str, run_id: str) -> bool:
    """True if the store can be read and has that run."""
    try:
        return find_run(uri, run_id) is not None
    except StoreError:
        return False


def history(uri: str, run_id: str) -> list[dict[str, float]]:
    """A run's metrics by epoch: a row per epoch, in order, with its number as `epoch`.

    Metrics of the whole run, such as `test/accuracy`, are left out.

    Raises:
        StoreError: the store cannot be read, or has no such run.
    """
    client = client_to_read(uri)
    rows: dict[int, dict[str, float]] = {}
    with errors_of(uri):
        for name in client.get_run(run_id).data.metrics:
            if name.startswith(("test/", "best/")):
                continue  # logged once, at the end
            for entry in client.get_metric_history(run_id, name):
                if entry.step:  # 0 for metrics of the whole run
                    rows.setdefault(entry.step, {"epoch": entry.step})[name] = entry.value
    return [rows[epoch] for epoch in sorted(rows)]


def last_epoch(uri: str, run_id: str) -> int | None:
    """The last epoch that a training has recorded, if it has recorded any.

    Raises:
        StoreError: the store cannot be read.
    """
    local = local_store(uri)
    with errors_of(uri):
        if local:
            return mlflow_tables.last_step(local, run_id, "train/loss")
        losses = client_to_read(uri).get_metric_history(run_id, "train/loss")
    return max((entry.step for entry in losses), default=None)


def overrides_of(uri: str, run_id: str) -> list[str]:
    """The overrides that a run was started with; empty if it recorded none.

    Raises:
        StoreError: the store cannot be opened.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = fetch_file(uri, run_id, "overrides.yaml", Path(scratch))
        return _read_overrides(path) if path else []


def fetch_file(uri: str, run_id: str, name: str, folder: Path) -> Path | None:
    """Copy a file of a run into `folder`; None if the run has no such file.

    Raises:
        StoreError: the store cannot be opened, or the file cannot be read.
    """
    local = local_store(uri)
    with errors_of(uri):
        stored = mlflow_tables.find_run(local, run_id) if local else None
        files = mlflow_tables.local_path(stored.artifacts) if stored else None
        if files:
            return copied(files / name, folder) if (files / name).is_file() else None
    client, parent = client_to_read(uri), str(PurePosixPath(name).parent)
    with errors_of(uri):
        there = client.list_artifacts(run_id, None if parent == "." else parent)
        if name not in {file.path for file in there}:
            return None
        return Path(client.download_artifacts(run_id, name, str(folder)))


def copied(file: Path, folder: Path) -> Path:
    """A copy of a file in a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(file, folder))


def records_in(folder: Path) -> dict[Path, int]:
    """The records of runs without a store below `folder`: when each was written, in ns."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob(RECORD))}


def read_folders(folder: Path, known: Mapping[Path, int] | None = None) -> list[RunRecord]:
    """The runs without a store in the folders below `folder`, in the order of their names.

    Args:
        folder: where to look.
        known: an earlier answer of `records_in`; records that are still the same are left out.
    """
    new = sorted(dict(records_in(folder).items() - (known or {}).items()))
    return [_folder_record(path.parent, json.loads(path.read_text("utf-8"))) for path in new]


def read_folder(folder: Path) -> tuple[list[str], list[dict[str, float]]]:
    """The overrides and the history of a run without a store; see `overrides_of`, `history`."""
    record = json.loads((folder / RECORD).read_text("utf-8"))
    return _read_overrides(folder / "overrides.yaml"), record["history"]


def _read_overrides(path: Path) -> list[str]:
    import yaml

    return list(map(str, yaml.safe_load(path.read_text("utf-8")) or ()))


def _folder_record(folder: Path, read: Mapping[str, Any]) -> RunRecord:
    kept = {name: read[name] for name in ("name", "status", "params", "metrics", "tags")}
    return RunRecord(id=str(folder), artifacts=str(folder), **kept)


def _search(
    uri: str, *, tag: tuple[str, str] | None = None, finished_with: Sequence[str] = ()
) -> list[RunRecord]:
    """See `mlflow_tables.find_runs`."""
    local = local_store(uri)
    with errors_of(uri):
        if local:
            return mlflow_tables.find_runs(local, tag=tag, finished_with=finished_with)
        client = client_to_read(uri)
        conditions = [f"tags.`{tag[0]}` = '{tag[1]}'"] if tag else []
        conditions += ["attributes.status = 'FINISHED'"] if finished_with else []
        conditions += [f"metrics.`{name}` >= 0" for name in finished_with]
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(map(_record, search(client, experiments, " and ".join(conditions))))


def _record(run: "Run") -> RunRecord:
    info, data = run.info, run.data
    name, files = info.run_name or info.run_id, info.artifact_uri
    return RunRecord(info.run_id, name, info.status, files, data.params, data.metrics, data.tags)
