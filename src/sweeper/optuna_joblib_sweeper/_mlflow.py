"""MLflow: one parent run a study, one child run a trial; the only module that imports mlflow.

It uses the client alone: the fluent API keeps its active run in globals, which belong to the task.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from optuna.trial import FrozenTrial, TrialState

from optuna_joblib_sweeper._config import MlflowSettings
from optuna_joblib_sweeper._job import Job, Outcome, TrackingLink
from optuna_joblib_sweeper._record import trials_csv
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper._tally import Tally
from optuna_joblib_sweeper._values import override_text, short_text
from optuna_joblib_sweeper.processes import identity
from optuna_joblib_sweeper.signals import interrupts_wait

log = logging.getLogger(__name__)

LONGEST_PARAM = 6000
LONGEST_TAG = 5000
FLUSH_SECONDS = 1.0
_STATUS = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.FAIL: "FAILED",
    TrialState.WAITING: "KILLED",
}


class ParentRun:
    """The study's run, held by the driver."""

    def __init__(self, client: MlflowClient, uri: str, run: Run, store: StudyStore) -> None:
        """Wrap an open run."""
        self.client = client
        self.uri = uri
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.store = store
        self._pending: list[Metric] = []
        self._flushed = time.monotonic()

    @classmethod
    def open(
        cls, settings: MlflowSettings, store: StudyStore, prepare: Any, params: Mapping[str, Any]
    ) -> "ParentRun":
        """Make store, experiment and run, before any worker lives: only one process may."""
        uri = resolve_uri(settings.tracking_uri)
        if prepare is not None:
            prepare(uri)
        with _store_lock(uri):
            client = MlflowClient(tracking_uri=uri)
            name = settings.experiment or store.name
            experiment_id = _experiment(client, name, settings.artifact_location)
            run = _reopen(client, store.attrs().get("mlflow_parent"))
            if run is None:
                tags = {"study": store.name, **identity()}
                run = client.create_run(experiment_id, tags=tags, run_name=store.name)
                store.set_attr("mlflow_parent", run.info.run_id)
            store.set_attr("mlflow_uri", uri)
        parent = cls(client, uri, run, store)
        _log_params(client, parent.run_id, params)
        # A tag beside the parameter, because a resume may ask for more trials.
        client.set_tag(parent.run_id, "n_trials", str(params["n_trials"]))
        return parent

    def link(self, log_params: bool) -> TrackingLink:
        """What the workers need."""
        return TrackingLink(self.uri, self.experiment_id, self.run_id, log_params)

    def observe(self, tally: Tally) -> None:
        """Record the best value so far, at most once a second: the store has other writers."""
        if tally.best_value is not None:
            now = round(time.time() * 1000)
            self._pending.append(Metric("best_value", tally.best_value, now, tally.finished))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    @interrupts_wait()
    def _flush(self) -> None:
        finite = [metric for metric in self._pending if abs(metric.value) < float("inf")]
        for start in range(0, len(finite), 1000):
            self.client.log_batch(self.run_id, metrics=finite[start : start + 1000])
        self._pending = []
        self._flushed = time.monotonic()

    @interrupts_wait()
    def close_children(self) -> None:
        """Close the runs that dead workers left open, by what became of their trials."""
        trials = {(self.store.name, trial.number): trial for trial in self.store.trials()}
        token = None
        condition = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.run_id}' and status = 'RUNNING'"
        while True:
            page = self.client.search_runs([self.experiment_id], condition, page_token=token)
            for run in page:
                key = (run.data.tags.get("study"), int(run.data.tags.get("trial", -1)))
                trial = trials.get(key) if key[0] == self.store.name else None  # type: ignore[arg-type]
                state = trial.state if trial else TrialState.WAITING
                if state == TrialState.RUNNING:
                    continue  # another driver's
                reason = trial.user_attrs.get("reason") if trial else None
                if state == TrialState.WAITING:
                    reason = "interrupted"
                if reason:
                    self.client.set_tag(run.info.run_id, "reason", str(reason)[:LONGEST_TAG])
                self.client.set_terminated(run.info.run_id, _STATUS[state])
            token = page.token
            if not token:
                return

    @interrupts_wait()
    def log_results(
        self,
        best: FrozenTrial | None,
        decoded: Mapping[str, Any],
        best_config: str | None,
        files: Sequence[Path],
        plots: bool,
    ) -> None:
        """The study's outcome, when all trials are done."""
        self._flush()
        tags = {"trials": str(len(self.store.trials()))}
        if best is not None:
            tags["best_trial"] = str(best.number)
            tags["best_run_id"] = str(best.user_attrs.get("mlflow_run_id", ""))
            for key, value in decoded.items():
                tags[f"best/{_legal(key)}"] = override_text(value)[:LONGEST_TAG]
        self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        self.client.log_text(self.run_id, trials_csv(self.store), "trials.csv")
        if best_config is not None:
            self.client.log_text(self.run_id, best_config, "best_config.yaml")
        for path in files:
            self.client.log_artifact(self.run_id, str(path))
        if plots:
            from optuna_joblib_sweeper._plots import study_figures

            for name, figure in study_figures(self.store.study()):
                self.client.log_figure(self.run_id, figure, f"plots/{name}.png")

    @interrupts_wait()
    def close(self, status: str, reason: str | None = None) -> None:
        """End the run with what really happened: FINISHED, FAILED or KILLED."""
        try:
            self._flush()
            if reason:
                self.client.set_tag(self.run_id, "reason", reason[:LONGEST_TAG])
            outcome = "finished" if status == "FINISHED" else "failed"
            self.client.set_tag(self.run_id, "outcome", outcome)
        finally:
            self.client.set_terminated(self.run_id, status)


class ChildRun:
    """A trial's run, held by the worker; a retried trial goes on in the same one."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        """Wrap an open run."""
        self.client = client
        self.run_id = run_id

    @classmethod
    @contextmanager
    def opened(
        cls,
        job: Job,
        store: StudyStore,
        trial: FrozenTrial,
        chosen: Mapping[str, Any],
        overrides: Sequence[str],
    ) -> "Iterator[ChildRun]":
        """Open the run, and point a task's own `mlflow.start_run()` and autologging at it."""
        link = job.tracking
        assert link is not None
        client = _client(link.tracking_uri)
        decoded = job.space.decoded(chosen)
        tags = {"study": store.name, "trial": str(trial.number)}
        if job.confirmation is not None:
            tags |= {"confirms": str(chosen["trial"]), "confirm_seed": str(chosen["seed"])}
        run = _reopen(client, trial.user_attrs.get("mlflow_run_id"))
        if run is None and trial.user_attrs.get("attempt"):
            run = _find_child(client, link, tags)  # died between making the run and noting it
        if run is None:
            name = " ".join([str(trial.number), *(short_text(k, v) for k, v in decoded.items())])
            tags[MLFLOW_PARENT_RUN_ID] = link.parent_run_id
            tags |= identity()
            run = client.create_run(link.experiment_id, tags=tags, run_name=name[:250])
            if link.log_params:
                _log_params(client, run.info.run_id, decoded)
        run_id = run.info.run_id
        if trial.user_attrs.get("mlflow_run_id") != run_id:
            store.set_trial_attr(trial, "mlflow_run_id", run_id)
        with _environment(link, run_id):
            yield cls(client, run_id)

    def close(self, outcome: Outcome, attempt: int, threads: int) -> None:
        """End the run as the trial ended; tags that the task set itself stay as they are."""
        active = mlflow.active_run()
        if active is not None and active.info.run_id == self.run_id:
            mlflow.end_run()  # the task left it open; the next trial would log into it
        tags = {"attempt": str(attempt), "threads": str(threads)}
        if outcome.state != TrialState.COMPLETE:
            present = self.client.get_run(self.run_id).data.tags
            if "outcome" not in present:
                tags["outcome"] = "pruned" if outcome.state == TrialState.PRUNED else "failed"
            if outcome.reason and "reason" not in present:
                tags["reason"] = outcome.reason[:LONGEST_TAG]
        now = round(time.time() * 1000)
        several = len(outcome.values or ()) > 1
        metrics = [
            Metric(f"objective_{index}" if several else "objective", value, now, 0)
            for index, value in enumerate(outcome.values or ())
            if abs(value) < float("inf")
        ]
        self.client.log_batch(
            self.run_id, metrics=metrics, tags=[RunTag(k, v) for k, v in tags.items()]
        )
        self.client.set_terminated(self.run_id, _STATUS[outcome.state])


@contextmanager
def _environment(link: TrackingLink, run_id: str) -> Iterator[None]:
    """The variables by which MLflow's fluent API and autologging find the trial's run."""
    environment = {
        "MLFLOW_TRACKING_URI": link.tracking_uri,
        "MLFLOW_EXPERIMENT_ID": link.experiment_id,
        "MLFLOW_RUN_ID": run_id,
    }
    before = {key: os.environ.get(key) for key in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


def resolve_uri(uri: str | None) -> str:
    """The tracking URI with a local path made absolute, since tasks may change their folder."""
    found = uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, _, path = found.partition(":///")
    if scheme == "sqlite" and path and not path.startswith(":"):
        return f"sqlite:///{Path(path).absolute()}"
    return found


def _legal(key: str) -> str:
    """MLflow's names know no plus and no at sign."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in key.lstrip("+~"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else override_text(value)


def _log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    """Log what is new: the budget may change on a resume, a logged parameter may not."""
    known = client.get_run(run_id).data.params
    fresh = [
        Param(_legal(key), _text(value)[:LONGEST_PARAM])
        for key, value in params.items()
        if _legal(key) not in known
    ]
    for start in range(0, len(fresh), 100):
        client.log_batch(run_id, params=fresh[start : start + 100])


def _experiment(client: MlflowClient, name: str, artifact_location: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=artifact_location))


def _reopen(client: MlflowClient, run_id: str | None) -> Run | None:
    """The run, RUNNING again; None if there is none, or the user deleted it."""
    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
        if run.info.lifecycle_stage != "active":
            return None
        client.update_run(run_id, status="RUNNING")
        owner = [RunTag(key, value) for key, value in identity().items()]
        client.log_batch(run_id, tags=owner)
        for stale in {"outcome", "reason"} & set(run.data.tags):
            client.delete_tag(run_id, stale)
    except MlflowException:
        return None
    return run


def _find_child(client: MlflowClient, link: TrackingLink, tags: Mapping[str, str]) -> Run | None:
    conditions = [f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{link.parent_run_id}'"]
    conditions += [f"tags.{key} = '{value}'" for key, value in tags.items()]
    found = client.search_runs([link.experiment_id], " and ".join(conditions), max_results=1)
    return _reopen(client, found[0].info.run_id) if found else None


def _store_lock(uri: str) -> "FileLock | nullcontext[None]":
    scheme, _, path = uri.partition(":///")
    if scheme != "sqlite":
        return nullcontext()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{path}.lock")


_clients: dict[str, MlflowClient] = {}


def _client(uri: str) -> MlflowClient:
    """One client a process: each holds a connection pool."""
    if uri not in _clients:
        _clients[uri] = MlflowClient(tracking_uri=uri)
    return _clients[uri]
