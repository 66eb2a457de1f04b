"""Runs: the records of trainings, in MLflow or, without it, in folders.

Takes numbers, texts and files, and knows nothing of networks; `lifecycle` opens and closes runs.
"""

import json
import math
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from optuna_joblib_sweeper import mlflow_runs, mlflow_stores
from optuna_joblib_sweeper.signals import interrupts_wait
from perceptune.errors import StoreError
from perceptune.nn.layout import Array
from perceptune.tracking import registry
from perceptune.tracking.reading import RECORD
from perceptune.tracking.registry import Registration
from perceptune.tracking.store import errors_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TABLES = "mlflow.loggedArtifacts"
_FLUSH_SECONDS = 1.0  # of an unfinished run's metrics that a killed process may take along
Arguments = ParamSpec("Arguments")


class Run(ABC):
    """The record of one training.

    Attributes:
        id: the run's id in its store; None without a store.
        store: the URI of the store, or the folder in its place.
        outcome: finished, stopped_early, pruned, failed or diverged; becomes a tag at the end.
        registered: the outcome of registering the run's model, as text.
    """

    id: str | None
    store: str
    outcome: str
    registered: str

    def identified(self) -> str | None:
        """The id of the run, once its store has given it; None without a store."""
        return self.id

    @abstractmethod
    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings, by dotted name."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """Record numbers, of an epoch or of the whole run; non-finite ones are left out."""

    @abstractmethod
    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Record tags, short texts by name."""

    @abstractmethod
    def log_file(self, path: Path, folder: str = "") -> None:
        """Save a copy of a file in `folder` of the run's artifacts."""

    @abstractmethod
    def log_text(self, name: str, text: str) -> None:
        """Save a text as the file `name`."""

    @abstractmethod
    def log_model(self, weights: Path, example: Array, registration: Registration | None) -> None:
        """Log a network's file as an MLflow model; see `registry.log_model`.

        `example` holds some images, (n, pixels) uint8.
        """

    @abstractmethod
    def log_data(self, name: str, digest: str, origin: str, profile: Mapping[str, Any]) -> None:
        """Record which data set was used; `digest` is its SHA-256."""

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Save a table as the JSON file `name`, in the format of `mlflow.log_table`."""
        self.log_text(name, json.dumps({"columns": list(columns), "data": list(map(list, rows))}))

    def log_figure(self, name: str, draw: Callable[[Path], None]) -> None:
        """Save a figure as plots/NAME.png; `draw` writes the PNG to its argument."""
        with tempfile.TemporaryDirectory() as scratch:
            figure = Path(scratch) / f"{name}.png"
            draw(figure)
            self.log_file(figure, "plots")

    @abstractmethod
    def close(self, status: str, reason: str | None = None) -> None:
        """End the run as FINISHED, FAILED or KILLED, with its outcome and the reason."""


@dataclass
class FolderRun(Run):
    """A run without a store: files in a folder, and all else in the folder's `run.json`.

    Attributes:
        history: metrics by epoch.
    """

    folder: Path
    name: str = ""
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    id: str | None = None
    outcome: str = "finished"
    registered: str = ""

    def __post_init__(self) -> None:
        self.store = str(self.folder)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """See `Run`."""
        for name, value in params.items():
            self.params[name] = value if isinstance(value, str) else json.dumps(value)

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """See `Run`."""
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        self.metrics |= finite
        if epoch is not None:
            self.history[epoch] = self.history.get(epoch, {"epoch": epoch}) | finite

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """See `Run`."""
        self.tags |= tags

    def log_file(self, path: Path, folder: str = "") -> None:
        """See `Run`."""
        target = self.folder / folder
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)

    def log_text(self, name: str, text: str) -> None:
        """See `Run`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def log_model(self, weights: Path, example: Array, registration: Registration | None) -> None:
        """Do nothing: models are only in stores."""

    def log_data(self, name: str, digest: str, origin: str, profile: Mapping[str, Any]) -> None:
        """See `Run`."""
        self.log_tags({"data.sha256": digest})

    @interrupts_wait()
    def close(self, status: str, reason: str | None = None) -> None:
        """See `Run`; writes `run.json` atomically."""
        self.log_tags(_ending(self, reason))
        record = {
            "name": self.name,
            "status": status,
            "params": self.params,
            "metrics": self.metrics,
            "tags": self.tags,
            "history": [self.history[epoch] for epoch in sorted(self.history)],
        }
        self.log_text(f"{RECORD}.part", json.dumps(record, indent=1))
        (self.folder / f"{RECORD}.part").replace(self.folder / RECORD)


def _in_store(
    method: Callable[Concatenate["MlflowRun", Arguments], None],
) -> Callable[Concatenate["MlflowRun", Arguments], None]:
    """Make a method write whole or not at all, and translate the errors of the store."""

    @wraps(method)
    def write(
        self: "MlflowRun", /, *arguments: Arguments.args, **options: Arguments.kwargs
    ) -> None:
        with interrupts_wait(), errors_of(self.store):
            method(self, *arguments, **options)

    return write


@dataclass
class _Pending:
    """Records of a run that are not written yet.

    Attributes:
        metrics: values by step, by name.
        times: when each step was recorded, in ms since 1970.
    """

    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class MlflowRun(Run):
    """A run in an MLflow store, written through the client alone.

    Params, tags and metrics are kept back and written together, metrics within a second: a write
    may take longer than an epoch.

    Attributes:
        borrowed: another process holds the run open, and closes it.
        logged_epochs: last epoch that an earlier process recorded; metrics up to it are skipped.
    """

    client: "MlflowClient"
    id: str
    store: str
    outcome: str = "finished"
    registered: str = ""
    borrowed: bool = False
    logged_epochs: int = 0
    _pending: _Pending = field(default_factory=_Pending)
    _written: float = field(default_factory=time.monotonic)  # the last time
    _measured: float = field(default_factory=time.monotonic)  # the last epoch
    _tables: list[dict[str, str]] = field(default_factory=list)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """See `Run`."""
        self._pending.params |= params

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """See `Run`."""
        if epoch is not None and epoch <= self.logged_epochs:
            return
        step, now = epoch or 0, time.monotonic()
        self._pending.times[step] = time.time_ns() // 1_000_000
        for name, value in metrics.items():
            self._pending.metrics.setdefault(name, {})[step] = value
        length, self._measured = now - self._measured, now
        if now - self._written + length >= _FLUSH_SECONDS:  # the next epoch takes as long
            self.flush()

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """See `Run`."""
        self._pending.tags |= tags

    @_in_store
    def flush(self) -> None:
        """Write what was kept back."""
        waiting, self._pending = self._pending, _Pending()
        self._written = time.monotonic()
        if waiting == _Pending():
            return
        mlflow_runs.log_batch(
            self.client,
            self.id,
            params=waiting.params,
            metrics=waiting.metrics,
            times=waiting.times,
            tags=waiting.tags,
        )

    @_in_store
    def log_file(self, path: Path, folder: str = "") -> None:
        """See `Run`."""
        self.client.log_artifact(self.id, str(path), folder or None)

    @_in_store
    def log_text(self, name: str, text: str) -> None:
        """See `Run`."""
        self.client.log_text(self.id, text, name)

    @_in_store
    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Run`."""
        super().log_table(name, columns, rows)
        # This tag lists the files that the UI shows, filters and compares as tables.
        if not self._tables:
            self._tables = json.loads(self.client.get_run(self.id).data.tags.get(_TABLES, "[]"))
        entry = {"path": name, "type": "table"}
        if entry not in self._tables:
            self._tables.append(entry)
            self.log_tags({_TABLES: json.dumps(self._tables)})

    @_in_store
    def log_model(self, weights: Path, example: Array, registration: Registration | None) -> None:
        """See `Run`."""
        self.registered = registry.log_model(self.client, self.id, weights, example, registration)

    @_in_store
    def log_data(self, name: str, digest: str, origin: str, profile: Mapping[str, Any]) -> None:
        """See `Run`."""
        from mlflow.entities import Dataset, DatasetInput

        entry = Dataset(
            name=name,
            digest=digest[:36],  # MLflow's maximum
            source_type="local",
            source=json.dumps({"origin": origin}),
            profile=json.dumps(profile),
        )
        self.client.log_inputs(self.id, [DatasetInput(entry)])
        self.log_tags({"data.sha256": digest})

    @_in_store
    def close(self, status: str, reason: str | None = None) -> None:
        """See `Run`."""
        mlflow_stores.refuse_silent(self.store)
        if self.borrowed:
            self.log_tags(_ending(self, reason))
        try:
            self.flush()
        except StoreError as error:  # such as a text that MLflow refuses
            status, self.outcome, reason = "FAILED", "failed", reason or str(error)
            raise
        finally:
            if not self.borrowed:
                mlflow_runs.close_run(self.client, self.id, status, self.outcome, reason)


def _ending(run: Run, reason: str | None) -> dict[str, str]:
    return {"outcome": run.outcome} | ({"reason": reason} if reason else {})
