"""Runs read back as plain records, from a store or from folders; never creates a store."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from perceptune.errors import StoreError
from perceptune.tracking.store import client_to_read, errors_of, search

if TYPE_CHECKING:
    from mlflow.entities import Run

RECORD = "run.json"  # in the folder of a run without a store
_PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        id: MLflow's run id, or the folder of a run without a store.
        name, status: as in MLflow.
        parent: the id of its parent run, if it has one.
        params, metrics, tags: by name; the last value of each metric.
    """

    id: str
    name: str
    status: str
    parent: str | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def all_runs(uri: str) -> list[RunRecord]:
    """Every run of every experiment, oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    return list(_search(uri, ""))


def tested_runs(uri: str) -> list[RunRecord]:
    """The finished trainings with a test accuracy, after the parents of repeats; oldest first.

    The store finds them, since most runs of a large one are trials without.

    Raises:
        StoreError: the store cannot be read.
    """
    tested = "attributes.status = 'FINISHED' and metrics.`test/accuracy` >= 0"
    found = [*_search(uri, "tags.kind = 'repeats'"), *_search(uri, tested)]
    return list({run.id: run for run in found}.values())


def children_of(uri: str, parent_id: str) -> list[RunRecord]:
    """The runs directly below a run, oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    return list(_search(uri, f"tags.`{_PARENT}` = '{parent_id}'"))


def find_run(uri: str, run_id: str) -> RunRecord | None:
    """The run with that id, if the store has it.

    Raises:
        StoreError: the store cannot be read.
    """
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
    client = client_to_read(uri)
    with errors_of(uri):
        losses = client.get_metric_history(run_id, "train/loss")
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
    client, parent = client_to_read(uri), str(PurePosixPath(name).parent)
    with errors_of(uri):
        there = client.list_artifacts(run_id, None if parent == "." else parent)
        if name not in {file.path for file in there}:
            return None
        return Path(client.download_artifacts(run_id, name, str(folder)))


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
    return RunRecord(id=str(folder), parent=None, **kept)


def _search(uri: str, condition: str) -> Iterator[RunRecord]:
    client = client_to_read(uri)
    with errors_of(uri):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        yield from map(_record, search(client, experiments, condition))


def _record(run: "Run") -> RunRecord:
    return RunRecord(
        id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        status=run.info.status,
        parent=run.data.tags.get(_PARENT),
        params=run.data.params,
        metrics=run.data.metrics,
        tags=run.data.tags,
    )
