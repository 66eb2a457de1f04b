"""MLflow: one parent run a study, one child run a trial.

It uses the client alone: the fluent API keeps its active run in globals, which belong to the task.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from optuna.trial import FrozenTrial, TrialState

from optuna_joblib_sweeper import mlflow_runs
from optuna_joblib_sweeper._job import Job, Outcome, TrackingLink
from optuna_joblib_sweeper._outputs import trials_csv
from optuna_joblib_sweeper._record import StudyRecord, TrialRecord
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper._tally import Tally
from optuna_joblib_sweeper._values import override_text, short_text
from optuna_joblib_sweeper.errors import SweepError, reason_of
from optuna_joblib_sweeper.paths import absolute_uri
from optuna_joblib_sweeper.result import SweepResult
from optuna_joblib_sweeper.settings import Settings
from optuna_joblib_sweeper.signals import interrupts_wait

FLUSH_SECONDS = 1.0
_STATUS = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.FAIL: "FAILED",
    TrialState.WAITING: "KILLED",
}


class ParentRun:
    """The study's run, held by the driver."""

    def __init__(self, client: MlflowClient, store: StudyStore, link: TrackingLink) -> None:
        """Wrap an open run."""
        self.client = client
        self.store = store
        self.link = link  # what the workers need
        self.run_id = link.parent_run_id
        self._best: dict[int, float] = {}
        self._flushed = time.monotonic()

    @classmethod
    def open(
        cls,
        settings: Settings,
        store: StudyStore,
        prepare: Callable[[str], None] | None,
        points: int | None,
    ) -> "ParentRun":
        """Make store, experiment and run, before any worker lives: only one process may.

        Raises:
            SweepError: the store can't be used.
        """
        uri = tracking_uri(settings)
        if prepare is not None:
            prepare(uri)
        try:
            with mlflow_runs.store_lock(uri):
                client = mlflow_runs.client_of(uri)
                link = _open_link(client, uri, settings, store)
        except Exception as error:  # whatever the driver of a database raises
            raise SweepError(
                f"hydra.sweeper.mlflow.tracking_uri={uri} can't be used: {reason_of(error)}"
            ) from error
        record = store.record()
        _log_new_params(client, link.parent_run_id, parent_params(settings, record, points))
        # A tag beside the parameter, because a resume may have more trials.
        tags = {"n_trials": str(record.n_trials)}
        mlflow_runs.log_batch(client, link.parent_run_id, tags=tags)
        return cls(client, store, link)

    def observe(self, tally: Tally) -> None:
        """Record the best value so far, at most once a second: the store has other writers."""
        if tally.best_value is not None:
            self._best[tally.finished] = tally.best_value
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        mlflow_runs.log_batch(self.client, self.run_id, metrics={"best_value": self._best})
        self._best = {}
        self._flushed = time.monotonic()

    @interrupts_wait()
    def close_children(self) -> None:
        """Close the runs that dead workers left open, by what became of their trials."""
        trials = {trial.number: trial for trial in self.store.trials()}
        condition = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.run_id}' and status = 'RUNNING'"
        for run in _search(self.client, self.link.experiment_id, condition):
            tags = run.data.tags
            ours = tags.get("study") == self.store.name
            trial = trials.get(int(tags.get("trial", -1))) if ours else None
            state = trial.state if trial else TrialState.WAITING
            if state == TrialState.RUNNING:
                continue  # another driver's
            reason = TrialRecord.of(trial).reason if trial else None
            reason = "interrupted" if state == TrialState.WAITING else reason
            mlflow_runs.close_run(self.client, run.info.run_id, _STATUS[state], None, reason)

    @interrupts_wait()
    def log_result(self, result: SweepResult, config: str | None, plots: bool) -> None:
        """What the study found, when all trials are done.

        Args:
            config: the winner's, as YAML.
            plots: whether its figures are kept as well.
        """
        self._flush()
        tags = {"trials": str(len(result.trials))}
        if result.winner is not None:
            tags["best_trial"] = str(result.winner.number)
            tags |= mlflow_runs.winner_tags(result.winner.run_id or "")
            for key, value in result.winner.params.items():
                tags[f"best/{_legal(key)}"] = override_text(value)
        mlflow_runs.log_batch(self.client, self.run_id, tags=tags)
        self.client.log_text(self.run_id, trials_csv(self.store), "trials.csv")
        if config is not None:
            self.client.log_text(self.run_id, config, "best_config.yaml")
            for path in (self.store.paths.results, self.store.paths.overlay):
                self.client.log_artifact(self.run_id, str(path))
        for name, figure in result.figures() if plots else ():
            self.client.log_figure(self.run_id, figure, f"plots/{name}.png")

    @interrupts_wait()
    def close(self, status: str, reason: str | None = None) -> None:
        """End the run with what really happened: FINISHED, FAILED or KILLED."""
        try:
            self._flush()
        finally:
            outcome = "finished" if status == "FINISHED" else "failed"
            mlflow_runs.close_run(self.client, self.run_id, status, outcome, reason)


class ChildRun:
    """A trial's run, held by the worker; a retried trial continues in the same one."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        """Wrap an open run."""
        self.client = client
        self.run_id = run_id

    @classmethod
    @contextmanager
    def opened(
        cls, job: Job, store: StudyStore, trial: FrozenTrial, chosen: Mapping[str, Any]
    ) -> "Iterator[ChildRun]":
        """Open the run, and point a task's own `mlflow.start_run()` and autologging at it."""
        link = job.tracking
        assert link is not None
        client = mlflow_runs.client_of(link.tracking_uri)
        tags = {"study": store.name, "trial": str(trial.number)}
        if job.confirmation is not None:
            tags |= {"confirms": str(chosen["trial"]), "confirm_seed": str(chosen["seed"])}
        run_id = _reopened(client, link, trial, tags)
        if run_id is None:
            params = job.space.decoded(chosen)
            name = " ".join([str(trial.number), *(short_text(k, v) for k, v in params.items())])
            parent = link.parent_run_id
            run_id = mlflow_runs.create_run(client, link.experiment_id, name, tags, parent)
            if job.settings.mlflow.log_params:
                _log_new_params(client, run_id, params)
        if TrialRecord.of(trial).mlflow_run_id != run_id:
            store.set_trial(trial, mlflow_run_id=run_id)
        with _environment(link, run_id):
            yield cls(client, run_id)

    def close(self, outcome: Outcome, attempt: int, threads: int) -> None:
        """End the run as the trial ended; tags that the task set itself stay as they are."""
        active = mlflow.active_run()
        if active is not None and active.info.run_id == self.run_id:
            mlflow.end_run()  # the task left it open; the next trial would log into it
        values = outcome.values or ()
        names = (
            ["objective"] if len(values) == 1 else [f"objective_{i}" for i in range(len(values))]
        )
        mlflow_runs.log_batch(
            self.client,
            self.run_id,
            metrics=dict(zip(names, values, strict=True)),
            tags={"attempt": str(attempt), "threads": str(threads)},
        )
        word, reason = None, outcome.reason
        if outcome.state != TrialState.COMPLETE:
            present = self.client.get_run(self.run_id).data.tags
            word = "pruned" if outcome.state == TrialState.PRUNED else "failed"
            word = None if "outcome" in present else word
            reason = None if "reason" in present else reason
        mlflow_runs.close_run(self.client, self.run_id, _STATUS[outcome.state], word, reason)


def tracking_uri(settings: Settings) -> str:
    """The store, by an absolute path if it is a local file, since tasks may change their folder."""
    default = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    return absolute_uri(settings.mlflow.tracking_uri or default)


def parent_params(settings: Settings, record: StudyRecord, points: int | None) -> dict[str, Any]:
    """Space, sampler, pruner and budget, as parameters of the parent run."""
    params: dict[str, Any] = {
        "sampler": record.sampler,
        "pruner": record.pruner,
        "direction": ", ".join(settings.directions),
        "n_trials": record.n_trials,
        "n_jobs": record.n_jobs,
        "threads": settings.threads,
        "seed": record.seed,
    }
    if points is not None:
        params["grid_points"] = points
    assert record.fingerprint is not None
    for line in record.fingerprint["space"].splitlines():
        key, _, what = line.partition(" = ")
        params[f"space/{key}"] = what
    return params


def _open_link(
    client: MlflowClient, uri: str, settings: Settings, store: StudyStore
) -> TrackingLink:
    """The study's experiment and run, of this start or an earlier one."""
    experiment = mlflow_runs.experiment_id(
        client, settings.mlflow.experiment or store.name, settings.mlflow.artifact_location
    )
    known = store.record().run_id
    run = mlflow_runs.reopen(client, known) if known else None
    if run is not None:
        link = TrackingLink(uri, run.info.experiment_id, run.info.run_id)
    else:
        made = mlflow_runs.create_run(client, experiment, store.name, {"study": store.name})
        link = TrackingLink(uri, experiment, made)
    store.set_record(tracking_uri=uri, run_id=link.parent_run_id)
    return link


def _reopened(
    client: MlflowClient, link: TrackingLink, trial: FrozenTrial, tags: Mapping[str, str]
) -> str | None:
    """The run of the trial's earlier attempt, open again; None if there is none."""
    record = TrialRecord.of(trial)
    known = record.mlflow_run_id
    if known is None and record.attempt:  # it died between making the run and recording it
        conditions = [f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{link.parent_run_id}'"]
        conditions += [f"tags.{key} = '{value}'" for key, value in tags.items()]
        found = client.search_runs([link.experiment_id], " and ".join(conditions), max_results=1)
        known = found[0].info.run_id if found else None
    run = mlflow_runs.reopen(client, known) if known else None
    return None if run is None else run.info.run_id


def _search(client: MlflowClient, experiment: str, condition: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment], condition, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


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


def _legal(key: str) -> str:
    """MLflow's names know no plus and no at sign."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in key.lstrip("+~"))


def _log_new_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    """Log what is new: the budget may change on a resume, a logged parameter may not."""
    known = client.get_run(run_id).data.params
    texts = {
        _legal(key): value if isinstance(value, str) else override_text(value)
        for key, value in params.items()
    }
    fresh = {key: text for key, text in texts.items() if key not in known}
    mlflow_runs.log_batch(client, run_id, params=fresh)
