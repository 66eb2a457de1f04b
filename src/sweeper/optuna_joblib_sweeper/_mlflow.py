"""MLflow: one parent run a study, one child run a trial.

It uses the client alone: the fluent API keeps its active run in globals, which belong to the task.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient
from optuna.trial import FrozenTrial, TrialState

from optuna_joblib_sweeper import _outputs, _values, mlflow_runs, mlflow_stores, processes
from optuna_joblib_sweeper._job import Job, StudyPlan, TrackingLink
from optuna_joblib_sweeper._record import StudyRecord, TrialRecord
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper._tally import Tally
from optuna_joblib_sweeper.errors import SweepError, reason_of
from optuna_joblib_sweeper.result import SweepResult
from optuna_joblib_sweeper.secrets import masked
from optuna_joblib_sweeper.signals import Interrupted, interrupts_wait

FLUSH_SECONDS = 1.0
_BELOW = f"tags.`{mlflow_runs.PARENT_TAG}`"
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED", "WAITING": "KILLED"}


@dataclass
class ParentRun:
    """The study's run, held by the driver."""

    client: MlflowClient
    store: StudyStore
    link: TrackingLink  # what the workers need
    resumed: bool  # so it may have children from before
    best: dict[int, float] = field(default_factory=dict)  # by trials finished, not yet recorded
    flushed: float = field(default_factory=time.monotonic)

    @classmethod
    @contextmanager
    def opened(cls, plan: StudyPlan, store: StudyStore) -> "Iterator[ParentRun]":
        """Make store, experiment and run, before any worker lives: only one process may.

        The run is closed with what really happened.

        Raises:
            SweepError: the store can't be used.
        """
        uri = mlflow_stores.absolute_store(plan.settings.mlflow.tracking_uri)
        parent, status, reason = None, "FINISHED", None
        try:
            with interrupts_wait():
                parent = cls._open(uri, plan, store)
            yield parent
        except BaseException as error:
            status = "KILLED" if isinstance(error, Interrupted) else "FAILED"
            reason = reason_of(error)
            raise
        finally:
            if parent is not None:
                parent.close(status, reason)

    @classmethod
    def _open(cls, uri: str, plan: StudyPlan, store: StudyStore) -> "ParentRun":
        settings, run_id = plan.settings.mlflow, store.record().run_id
        name, files = settings.experiment or store.name, settings.artifact_location
        try:
            with mlflow_stores.store_lock(uri):
                client = mlflow_runs.client_of(uri)
                experiment = mlflow_runs.experiment_id(client, name, files)
                run = mlflow_runs.reopen(client, run_id) if run_id else None
                if run is not None:
                    experiment, known = run.info.experiment_id, run.data.params
                else:
                    tags, known = {"study": store.name}, {}
                    run_id = mlflow_runs.create_run(client, experiment, store.name, tags)
        except ValueError as error:
            raise SweepError(f"hydra.sweeper.mlflow.experiment={name}: {error}") from error
        except Exception as error:  # whatever the driver of a database raises
            key, reason = "hydra.sweeper.mlflow.tracking_uri", reason_of(error)
            raise SweepError(f"{key}={uri} can't be used: {reason}") from error
        assert run_id is not None
        link = TrackingLink(uri, experiment, run_id)
        store.set_record(tracking_uri=masked(uri), run_id=run_id)
        # The budget may change on a resume, a logged parameter may not: so it is a tag as well.
        legal = _legal_keys(parent_params(plan, store.record()))
        fresh = {key: legal[key] for key in sorted(legal.keys() - known.keys())}
        mlflow_runs.log_batch(client, run_id, params=fresh, tags={"n_trials": str(plan.budget)})
        return cls(client, store, link, resumed=run is not None)

    def observe(self, tally: Tally) -> None:
        """Record the best value so far, at most once a second: the store has other writers."""
        if tally.best_value is not None:
            self.best[tally.finished] = tally.best_value
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self, tags: Mapping[str, str] = {}) -> None:
        metrics = {"best_value": self.best}
        mlflow_runs.log_batch(self.client, self.link.run_id, metrics=metrics, tags=tags)
        self.best = {}
        self.flushed = time.monotonic()

    @interrupts_wait()
    def close_children(self) -> None:
        """Close the runs that dead workers left open, by what the storage knows of their trials.

        Whatever MLflow has for them: a worker may be killed after its task ended the run, and a
        run of a dead process may have been closed as failed since.
        """
        for condition in ("status = 'RUNNING'", f"tags.{mlflow_runs.HELD_TAG} = 'true'"):
            below = f"{_BELOW} = '{self.link.run_id}' and {condition}"
            for run in self.client.search_runs([self.link.experiment_id], below):
                self._close_child(run.info.run_id, run.data.tags)

    def _close_child(self, run_id: str, tags: Mapping[str, str]) -> None:
        trial = self.store.trial_of(tags.get("study", ""), tags.get("trial", ""))
        if trial is not None and trial.state != TrialState.RUNNING:
            close_child(self.client, run_id, trial)
        elif trial is None and not processes.may_be_alive(tags):
            mlflow_runs.close_run(self.client, run_id, "KILLED", None, "interrupted")

    @interrupts_wait()
    def log_result(self, result: SweepResult, config: str | None) -> None:
        """What the study found, when all trials are done.

        Args:
            config: the winner's, as YAML.
        """
        tags = {"trials": str(len(result.trials))}
        if result.winner is not None:
            tags["best_trial"] = str(result.winner.number)
            tags |= mlflow_runs.winner_tags(result.winner.run_id or "")
            params = result.winner.params.items()
            tags |= {f"best/{_legal(key)}": _values.override_text(value) for key, value in params}
        self._flush(tags)
        with TemporaryDirectory() as folder:
            files = {"trials.csv": _outputs.trials_csv(result)}
            if config is not None:
                own = (self.store.paths.results, self.store.paths.overlay)
                files |= {path.name: path.read_text() for path in own}
                files["best_config.yaml"] = config
            for name, text in files.items():
                Path(folder, name).write_text(text)
            self.client.log_artifacts(self.link.run_id, folder)

    @interrupts_wait()
    def log_figures(self, folder: str) -> None:
        """Keep the figures that were drawn into a folder."""
        if any(Path(folder).iterdir()):
            self.client.log_artifacts(self.link.run_id, folder, "plots")

    @interrupts_wait()
    def close(self, status: str, reason: str | None) -> None:
        """End the run, and those below it that nobody else will end."""
        mlflow_stores.refuse_silent(self.link.tracking_uri)
        try:
            self.close_children()
            self._flush()
        finally:
            outcome = "finished" if status == "FINISHED" else "failed"
            mlflow_runs.close_run(self.client, self.link.run_id, status, outcome, reason)


@dataclass(frozen=True)
class ChildRun:
    """A trial's run, held by the worker; a retried trial continues in the same one."""

    client: MlflowClient
    run_id: str

    @classmethod
    @contextmanager
    def opened(
        cls, job: Job, store: StudyStore, trial: FrozenTrial, chosen: Mapping[str, Any]
    ) -> "Iterator[ChildRun]":
        """Open the run, and point a task's own `mlflow.start_run()` and autologging at it."""
        assert job.tracking is not None
        link, client = job.tracking, mlflow_runs.client_of(job.tracking.tracking_uri)
        tags = {"study": store.name, "trial": str(trial.number)}
        if job.plan.confirms is not None:
            tags |= {"confirms": str(chosen["trial"]), "confirm_seed": str(chosen["seed"])}
        run_id = _reopened(client, link, trial, tags)
        if run_id is None:
            params = job.plan.space.decoded(chosen)
            shown = map(_values.short_text, params, params.values())
            name = " ".join([str(trial.number), *shown])
            held = mlflow_runs.HELD | tags
            run_id = mlflow_runs.create_run(client, link.experiment_id, name, held, link.run_id)
            if job.plan.settings.mlflow.log_params:
                mlflow_runs.log_batch(client, run_id, params=_legal_keys(params))
        store.set_trial(trial, mlflow_run_id=run_id)
        with _environment(
            MLFLOW_TRACKING_URI=link.tracking_uri,
            MLFLOW_EXPERIMENT_ID=link.experiment_id,
            MLFLOW_RUN_ID=run_id,
        ):
            yield cls(client, run_id)

    def close(self, trial: FrozenTrial, threads: int) -> None:
        """End the run as the trial ended; tags that the task set itself stay as they are."""
        active = mlflow.active_run()
        if active is not None and active.info.run_id == self.run_id:
            mlflow.end_run()  # the task left it open; the next trial would log into it
        close_child(self.client, self.run_id, trial, threads=str(threads))


def close_child(client: MlflowClient, run_id: str, trial: FrozenTrial, **more: str) -> None:
    """End a run as its trial ended, or was given back; tags that the task set stay as they are.

    Args:
        more: tags.
    """
    state, record = trial.state.name, TrialRecord.of(trial)
    values = trial.values if state == "COMPLETE" else []
    several = len(values) > 1
    metrics = {f"objective_{i}" if several else "objective": v for i, v in enumerate(values)}
    present = client.get_run(run_id).data
    fresh = {name: value for name, value in metrics.items() if name not in present.metrics}
    words = {"PRUNED": "pruned", "FAIL": "failed"}
    reason = "interrupted" if state == "WAITING" else record.reason
    ended = {"outcome": words.get(state), "reason": reason}
    unsaid = {key: None if key in present.tags else text for key, text in ended.items()}
    tags = {"attempt": str(record.attempt), **more}
    mlflow_runs.close_run(client, run_id, _STATUS[state], **unsaid, metrics=fresh, tags=tags)
    if mlflow_runs.HELD_TAG in present.tags:
        mlflow_runs.release(client, run_id)


def parent_params(plan: StudyPlan, record: StudyRecord) -> dict[str, Any]:
    """Space, sampler, pruner and budget, as parameters of the parent run."""
    names = ("sampler", "pruner", "n_trials", "n_jobs", "seed")
    params = {name: getattr(record, name) for name in names}
    params |= {"direction": plan.fingerprint.direction, "threads": plan.settings.threads}
    params |= {} if plan.points is None else {"grid_points": plan.points}
    return params | {f"space/{key}": what for key, what in plan.fingerprint.searched()}


def _reopened(
    client: MlflowClient, link: TrackingLink, trial: FrozenTrial, tags: Mapping[str, str]
) -> str | None:
    """The run of the trial's earlier attempt, open again; None if there is none."""
    record = TrialRecord.of(trial)
    known = record.mlflow_run_id
    if known is None and record.attempt:  # it died between making the run and recording it
        conditions = [f"{_BELOW} = '{link.run_id}'"]
        conditions += [f"tags.{key} = '{value}'" for key, value in tags.items()]
        found = client.search_runs([link.experiment_id], " and ".join(conditions), max_results=1)
        known = found[0].info.run_id if found else None
    if known is None or mlflow_runs.reopen(client, known) is None:
        return None
    mlflow_runs.log_batch(client, known, tags=mlflow_runs.HELD)
    return known


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """The variables by which MLflow's fluent API and autologging find the trial's run."""
    before = {key: os.environ[key] for key in variables if key in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key in variables:
            os.environ.pop(key, None)
        os.environ.update(before)


def _legal(key: str) -> str:
    """MLflow's names know no plus and no at sign."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in key.lstrip("+~"))


def _legal_keys(params: Mapping[str, Any]) -> dict[str, Any]:
    return {_legal(key): value for key, value in params.items()}
