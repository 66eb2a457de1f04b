"""What a store holds, read back as plain records; writes nothing, and makes no store."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perceptune.tracking.store import Place, client_to_read, errors_of

if TYPE_CHECKING:
    from mlflow.entities import Run

_PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class Record:
    """One run as its store has it.

    Attributes:
        id, name, status: as MLflow calls them.
        parent: the id of the run above it, if there is one.
        params, metrics, tags: by name; of a metric the last value.
    """

    id: str
    name: str
    status: str
    parent: str | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def all_runs(uri: str) -> list[Record]:
    """Every run of every experiment, oldest first.

    Raises:
        UserError: the store cannot be read.
    """
    found: list[Record] = []
    client = client_to_read(uri)
    with errors_of(Place(uri, "")):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        token = None
        while experiments:
            page = client.search_runs(
                experiments, order_by=["attributes.start_time ASC"], page_token=token
            )
            found += map(_record, page)
            token = page.token
            if not token:
                break
    return found


def find_run(uri: str, run_id: str) -> Record | None:
    """The run of that id, if the store has it."""
    from mlflow.exceptions import MlflowException

    client = client_to_read(uri)
    with errors_of(Place(uri, "")):
        try:
            return _record(client.get_run(run_id))
        except MlflowException:
            return None


def last_epoch(uri: str, run_id: str) -> int | None:
    """The last epoch that a training has recorded, if it has recorded any."""
    client = client_to_read(uri)
    with errors_of(Place(uri, "")):
        history = client.get_metric_history(run_id, "train/loss")
    return max((entry.step for entry in history), default=None)


def fetch_file(uri: str, run_id: str, name: str, folder: Path) -> Path | None:
    """Copy a file of a run into `folder`; None if the run has no such file."""
    from mlflow.exceptions import MlflowException

    try:
        return Path(client_to_read(uri).download_artifacts(run_id, name, str(folder)))
    except (MlflowException, OSError):
        return None


def _record(run: "Run") -> Record:
    return Record(
        id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        status=run.info.status,
        parent=run.data.tags.get(_PARENT),
        params=run.data.params,
        metrics=run.data.metrics,
        tags=run.data.tags,
    )
