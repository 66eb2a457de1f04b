"""One trial in a worker process: take → sample → compose → run → tell.

joblib carries only a token; all that matters goes through the study's storage. So each result is
stored before the worker's next trial is sampled, and a worker's death loses no stored result.
"""

import importlib
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import optuna
from hydra.core.utils import setup_globals
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import ThreadpoolController

from optuna_joblib_sweeper import _private, _storage, _tally, current, processes, secrets
from optuna_joblib_sweeper._job import Job
from optuna_joblib_sweeper._record import TrialRecord
from optuna_joblib_sweeper._run_job import run_job
from optuna_joblib_sweeper._samplers import SamplerFactory
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper._trial import RunningTrial, read_values
from optuna_joblib_sweeper.errors import (
    halted_in_a_line,
    is_disk_full,
    reason_of,
    why_lost,
)


def run_token(
    job_key: str, main: Mapping[str, str], pickled_job: bytes, number: int | None
) -> int | None:
    """Run one trial: the waiting one called `number`, or whichever comes next.

    Args:
        main: the app's script, if the job can't be read or run without it; see `_private`.

    Returns:
        Its number; None if nothing is left to run, so a token that a cluster runs twice does no
        harm.
    """
    if job_key not in _sessions:
        _sessions.clear()
        _private.load_main(main)
        _sessions[job_key] = Session(pickle.loads(pickled_job))
    return _sessions[job_key].run(number)


def prepare(main: Mapping[str, str], pickled_job: bytes, _: object) -> None:
    """Import what a tracked trial needs, while the driver opens the store."""
    _private.load_main(main)
    pickle.loads(pickled_job)
    importlib.import_module("optuna_joblib_sweeper._mlflow")


_sessions: dict[str, "Session"] = {}


class Session:
    """A worker's standing: one per process and study."""

    def __init__(self, job: Job) -> None:
        """Set the process up for the study."""
        if job.driver_pid is not None and job.driver_pid != os.getpid():
            processes.follow_driver(job.driver_pid)
        setup_globals()
        _private.set_singletons(job.singletons)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.job = job
        self.plan = job.plan
        self.store = StudyStore(job.plan.paths)
        self.samplers = SamplerFactory(job.plan.settings, job.plan.space)
        self._loaded = 0  # modules, when thread pools were looked for

    def run(self, number: int | None) -> int | None:
        """Take a trial and see it to its end; None once the study should stop.

        Raises:
            HaltedError: the trial is not finished then, and its driver gives it back.
        """
        with halted_in_a_line(self.plan.folders, self.plan.store):
            return self._run(number)

    def _run(self, number: int | None) -> int | None:
        settings, budget = self.plan.settings, self.plan.budget
        # Looked at here as well: this worker's last result is in the storage, but the driver,
        # which hands out tokens ahead of results, may not have seen it.
        if _tally.stops_early(settings, budget, self.store.trials):
            return None
        taken = self.store.take(number, budget, self.job.driver)
        if taken is None:
            return None
        trial = self.store.trial(taken)
        try:
            chosen, overrides = self._sample(trial)
        except Exception as error:
            self._fail(trial, error)
            return taken
        with self._child_run(trial, chosen) as child:
            running = RunningTrial(self.plan, self.store, trial, chosen)
            running.mlflow_run_id = child and child.run_id
            self._attempt(trial, running, overrides)
            if child:
                child.close(self.store.trial(taken), settings.threads)
        return taken

    def _sample(self, trial: FrozenTrial) -> tuple[dict[str, Any], Sequence[str]]:
        """The suggested values and the overrides; those of an earlier attempt if there are any."""
        if TrialRecord.of(trial).proposal:
            return dict(trial.params), TrialRecord.of(trial).overrides
        plan, chosen = self.plan, self._suggest(trial)
        overrides = plan.overrides(chosen)
        proposal = {"overrides": overrides, "params": plan.space.decoded(chosen)}
        self.store.set_trial(trial, proposal=proposal)
        return chosen, overrides

    def _suggest(self, trial: FrozenTrial) -> dict[str, Any]:
        plan, number = self.plan, trial.number
        study = self.store.study(sampler=self.samplers.make(number))
        # QMC counts its points in the storage: counting must not interleave.
        counts = type(study.sampler).__name__ == "QMCSampler"
        with _storage.trial_lock(plan.paths) if counts else self.store.one_write():
            optuna_trial = _private.optuna_trial(study, trial)
            # Drawn now, under the trial's own seed, and not at the first parameter that is left.
            _ = optuna_trial.relative_params
            chosen: dict[str, Any] = {}
            for parameter in plan.space.parameters:
                if plan.space.active(parameter, chosen):
                    study.sampler = self.samplers.make(number, parameter.key)
                    chosen[parameter.key] = parameter.suggest(optuna_trial)
        if plan.custom_search_space is not None:
            study.sampler = self.samplers.make(number, "custom_search_space")
            plan.custom_search_space(plan.composer.config, optuna_trial)
            chosen.update(optuna_trial.params)
        return chosen

    def _child_run(self, trial: FrozenTrial, chosen: Any) -> AbstractContextManager[Any]:
        """The trial's MLflow run, or None without tracking."""
        if self.job.tracking is None:
            return nullcontext()
        from optuna_joblib_sweeper._mlflow import ChildRun

        return ChildRun.opened(self.job, self.store, trial, chosen)

    def _attempt(self, trial: FrozenTrial, running: RunningTrial, overrides: Sequence[str]) -> None:
        current.set_current(running)
        try:
            returned = self._run_task(trial.number, overrides)
        except optuna.TrialPruned:
            return self._tell(trial, TrialState.PRUNED)
        except (Exception, SystemExit) as error:  # composing failed, or the task called exit()
            if is_disk_full(error) or why_lost(self.plan.store):
                raise
            return self._fail(trial, error)
        finally:
            current.set_current(None)
        if running.stopped:
            return self._tell(trial, TrialState.PRUNED)
        values, fault = read_values(returned, self.plan.settings.directions)
        state = TrialState.FAIL if fault else TrialState.COMPLETE
        return self._tell(trial, state, values, fault)

    def _run_task(self, number: int, overrides: Sequence[str]) -> Any:
        composer, sweep_dir = self.plan.composer, str(self.plan.paths.sweep_dir)
        config, task_config = composer.compose_job(overrides, number, sweep_dir, self.job.quiet)
        # A library that an earlier trial loaded may have its own thread pool.
        if len(sys.modules) != self._loaded:
            self._loaded, self._pools = len(sys.modules), ThreadpoolController()
        with self._pools.limit(limits=self.plan.settings.threads):
            return run_job(composer.context, config, task_config, self.job.task_function)

    def _fail(self, trial: FrozenTrial, error: BaseException) -> None:
        lines = traceback.format_exception(error)
        self.store.set_trial(trial, traceback=secrets.masked("".join(lines)))
        self._tell(trial, TrialState.FAIL, None, reason_of(error))

    def _tell(
        self, trial: FrozenTrial, state: TrialState, values: Any = None, reason: str | None = None
    ) -> None:
        if reason is not None:
            self.store.set_trial(trial, reason=reason)
        study = self.store.study(sampler=self.samplers.make(trial.number, "after"))
        study.tell(trial.number, values, state=state)
