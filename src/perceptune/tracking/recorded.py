"""A run that a recorder writes while this process trains; see `recorder`."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

from optuna_joblib_sweeper.signals import interrupts_wait
from perceptune.nn.layout import Array
from perceptune.tracking.recorder import CLOSED, OPENED, Recorder
from perceptune.tracking.registry import Registration
from perceptune.tracking.runs import Run


class RecordedRun(Run):
    """A run in an MLflow store that a recorder writes."""

    def __init__(self, recorder: Recorder, store: str, *how: Any) -> None:
        """Have the run opened; `how` are the arguments of `lifecycle.opened`."""
        self.id, self.store, self.outcome, self.registered = None, store, "finished", ""
        self._recorder = recorder
        self._waiting = Path(tempfile.mkdtemp())  # files that are not recorded yet
        recorder.tell("open", *how)

    def identified(self) -> str | None:
        """See `Run`; waits for the store.

        Raises:
            StoreError: the store cannot be used.
        """
        self.id = self._recorder.wait(OPENED)
        return self.id

    def log_params(self, params: Mapping[str, Any]) -> None:
        """See `Run`."""
        self._tell("log_params", dict(params))

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """See `Run`."""
        self._tell("log_metrics", dict(metrics), epoch)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """See `Run`."""
        self._tell("log_tags", dict(tags))

    def log_file(self, path: Path, folder: str = "") -> None:
        """See `Run`."""
        self._tell("log_file", self._kept(path), folder)

    def log_text(self, name: str, text: str) -> None:
        """See `Run`."""
        self._tell("log_text", name, text)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Run`."""
        self._tell("log_table", name, columns, rows)

    def log_model(self, weights: Path, example: Array, registration: Registration | None) -> None:
        """See `Run`; `registered` is known after `close`."""
        self._tell("log_model", self._kept(weights), example, registration)

    def log_data(self, name: str, digest: str, origin: str, profile: Mapping[str, Any]) -> None:
        """See `Run`."""
        self._tell("log_data", name, digest, origin, dict(profile))

    @interrupts_wait()
    def close(self, status: str, reason: str | None = None) -> None:
        """See `Run`; waits until all is written."""
        self._recorder.tell("close", self.outcome, status, reason)
        try:
            self.registered = self._recorder.wait(CLOSED)
        finally:
            self.id = self._recorder.known(OPENED)
            rmtree(self._waiting, ignore_errors=True)
        self._recorder.check()

    def _tell(self, method: str, *arguments: Any) -> None:
        self.id = self._recorder.known(OPENED)
        self._recorder.check()
        self._recorder.tell(method, *arguments)

    def _kept(self, path: Path) -> Path:
        """A copy of a file that its owner will remove; it keeps the name."""
        copy = Path(tempfile.mkdtemp(dir=self._waiting), path.name)
        copyfile(path, copy)
        return copy
