"""One training's record: in an MLflow run, or without MLflow in a folder.

Is given numbers, texts and files, and knows nothing of networks; which run it writes to is
decided in `store`.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from perceptune.nn.layout import Array
from perceptune.tracking.interrupts import interrupts_wait

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LONGEST_VALUE = 6000  # characters of a parameter
_PARAMETERS_A_BATCH = 100
_TABLES = "mlflow.loggedArtifacts"


@dataclass(frozen=True)
class Entry:
    """How a model goes into the registry.

    Attributes:
        name: the registered model's.
        accuracy: on validation samples, if there were any; champions are compared by it.
        digest: of the data, SHA-256; on other data an accuracy says nothing.
        crown: whether it may become the champion.
    """

    name: str
    accuracy: float | None
    digest: str
    crown: bool = False


class Run(Protocol):
    """One training's record."""

    store: str
    outcome: str
    registered: str  # what became of its model in the registry, in words

    @property
    def id(self) -> str | None:
        """The run's id in its store, if it has one."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings, by dotted name."""

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """Record numbers, of an epoch or of the whole run."""

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Record short texts."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file."""

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Keep a table, as the JSON file `name`."""

    def log_model(self, weights: Path, example: Array, entry: Entry | None) -> None:
        """Keep a network's file as a model for others; see `tracking.models.log_model`."""

    def log_data(self, name: str, digest: str, origin: str, profile: Mapping[str, Any]) -> None:
        """Record which data set was used; `digest` is its SHA-256."""


@dataclass
class FolderRun:
    """A run that is not tracked: its files stay in a folder, its numbers are only shown."""

    folder: Path
    id: str | None = None
    store: str = "none (tracking.enabled=false)"
    outcome: str = "finished"
    registered: str = ""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """See `Run`."""

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """See `Run`."""

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """See `Run`."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """See `Run`."""
        target = self.folder / folder
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Run`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(_as_table(columns, rows))

    def log_model(self, weights: Path, example: Array, entry: Entry | None) -> None:
        """See `Run`."""

    def log_data(self, name: str, digest: str, origin: str, profile: Mapping[str, Any]) -> None:
        """See `Run`."""


@dataclass
class MlflowRun:
    """A run in an MLflow store, written through the client alone."""

    client: "MlflowClient"
    id: str
    store: str
    outcome: str = "finished"
    registered: str = ""
    logged_epochs: int = 0
    """Epochs that an earlier process has recorded already; they are not written twice."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """See `Run`."""
        from mlflow.entities import Param

        entries = [Param(key, _as_text(value)[:_LONGEST_VALUE]) for key, value in params.items()]
        for start in range(0, len(entries), _PARAMETERS_A_BATCH):
            self._batch(params=entries[start : start + _PARAMETERS_A_BATCH])

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """See `Run`."""
        from mlflow.entities import Metric

        if epoch is not None and epoch <= self.logged_epochs:
            return
        now = time.time_ns() // 1_000_000
        self._batch(metrics=[Metric(k, float(v), now, epoch or 0) for k, v in metrics.items()])

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """See `Run`."""
        from mlflow.entities import RunTag

        self._batch(tags=[RunTag(key, value) for key, value in tags.items()])

    @interrupts_wait()
    def log_file(self, path: Path, folder: str = "") -> None:
        """See `Run`."""
        self.client.log_artifact(self.id, str(path), folder or None)

    @interrupts_wait()
    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Run`."""
        self.client.log_text(self.id, _as_table(columns, rows), name)
        # By this tag the UI knows which files it can show, filter and compare as tables.
        known = json.loads(self.client.get_run(self.id).data.tags.get(_TABLES, "[]"))
        entry = {"path": name, "type": "table"}
        if entry not in known:
            self.log_tags({_TABLES: json.dumps([*known, entry])})

    @interrupts_wait()
    def log_model(self, weights: Path, example: Array, entry: Entry | None) -> None:
        """See `Run`."""
        from perceptune.tracking.models import log_model

        self.registered = log_model(self, weights, example, entry) or ""

    @interrupts_wait()
    def log_data(self, name: str, digest: str, origin: str, profile: Mapping[str, Any]) -> None:
        """See `Run`."""
        from mlflow.entities import Dataset, DatasetInput

        entry = Dataset(
            name=name,
            digest=digest[:36],  # as long as MLflow's column
            source_type="local",
            source=json.dumps({"origin": origin}),
            profile=json.dumps(profile),
        )
        self.client.log_inputs(self.id, [DatasetInput(entry)])
        self.log_tags({"data.sha256": digest})

    @interrupts_wait()
    def _batch(self, **entries: Any) -> None:
        self.client.log_batch(self.id, **entries)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _as_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The form of `mlflow.log_table`, which needs pandas for it."""
    return json.dumps({"columns": list(columns), "data": [list(row) for row in rows]})
