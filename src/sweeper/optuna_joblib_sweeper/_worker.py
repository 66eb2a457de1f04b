"""One trial in a worker process: take → sample → compose → run → tell.

joblib carries only a token; all that matters goes through the study's storage. So each result is
told before the worker's next trial is sampled, and a worker's death loses nothing that was told.
"""

import os
import pickle
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import optuna
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from optuna_joblib_sweeper import _private
from optuna_joblib_sweeper._job import Job, Outcome
from optuna_joblib_sweeper._record import TrialRecord
from optuna_joblib_sweeper._samplers import SamplerFactory, build_pruner
from optuna_joblib_sweeper._storage import trial_lock
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper._tally import stops_early
from optuna_joblib_sweeper._trial import RunningTrial
from optuna_joblib_sweeper._verdict import verdict
from optuna_joblib_sweeper.current import set_current
from optuna_joblib_sweeper.errors import reason_of
from optuna_joblib_sweeper.processes import follow_driver


def run_token(job_key: str, pickled_job: bytes, number: int | None) -> Outcome | None:
    """Run one trial: the waiting one called `number`, or whichever comes next.

    Returns:
        None if nothing is left to run, so a token that a cluster runs twice does no harm.
    """
    session = _sessions.get(job_key)
    if session is None:
        _sessions.clear()
        session = _sessions[job_key] = Session(pickle.loads(pickled_job))
    return session.run(number)


_sessions: dict[str, "Session"] = {}


class Session:
    """A worker's standing: one per process and study."""

    def __init__(self, job: Job) -> None:
        """Set the process up for the study."""
        if job.driver_pid is not None and job.driver_pid != os.getpid():
            follow_driver(job.driver_pid)
        setup_globals()
        Singleton.set_state(dict(job.singletons))
        for name, resolver in job.resolvers.items():
            if not OmegaConf.has_resolver(name):
                OmegaConf.register_new_resolver(name, resolver)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.job = job
        self.store = StudyStore(job.paths)
        grid = job.space.grid() if job.settings.is_grid else None
        self.samplers = SamplerFactory(job.settings, grid)

    def run(self, number: int | None) -> Outcome | None:
        """Take a trial and see it to its end; None once the study should stop."""
        # Looked at here as well: this worker's last result is in the storage, but the driver,
        # which hands out tokens ahead of results, may not have seen it.
        if stops_early(self.job.settings, self.job.budget, self.store.trials()):
            return None
        trial = self.store.take(number, self.job.budget, self.job.driver)
        if trial is None:
            return None
        try:
            chosen, overrides = self._sample(trial)
        except Exception as error:
            return self._fail(trial, error, [])
        with self._child_run(trial, chosen, overrides) as child:
            running = self._running(trial, chosen, child.run_id if child else None)
            outcome = self._attempt(trial, running, overrides)
            if child:
                child.close(outcome, running.attempt, self.job.settings.threads)
        return outcome

    def _sample(self, trial: FrozenTrial) -> tuple[dict[str, Any], Sequence[str]]:
        """The suggested values and the overrides; those of an earlier attempt if there are any."""
        if TrialRecord.of(trial).proposal is not None:
            return dict(trial.params), TrialRecord.of(trial).overrides
        job = self.job
        chosen = self._suggest(trial)
        overrides = (job.confirmation or job.space).overrides(chosen)
        proposal = {"overrides": overrides, "params": job.space.decoded(chosen)}
        self.store.set_trial(trial, proposal=proposal)
        return chosen, overrides

    def _suggest(self, trial: FrozenTrial) -> dict[str, Any]:
        job, number = self.job, trial.number
        study = self.store.study(sampler=self.samplers.make(number))
        # QMC counts its points in the storage: counting must not interleave.
        counts = type(study.sampler).__name__ == "QMCSampler"
        with trial_lock(job.paths) if counts else nullcontext():
            optuna_trial = _private.optuna_trial(study, trial)
            # Drawn now, under the trial's own seed, and not at the first parameter that is left.
            _ = optuna_trial.relative_params
            chosen: dict[str, Any] = {}
            for parameter in job.space.parameters:
                if job.space.active(parameter, chosen):
                    study.sampler = self.samplers.make(number, parameter.key)
                    chosen[parameter.key] = parameter.suggest(optuna_trial)
        if job.custom_search_space is not None:
            study.sampler = self.samplers.make(number, "custom_search_space")
            job.custom_search_space(job.composer.config, optuna_trial)
            chosen.update(optuna_trial.params)
        return chosen

    def _running(
        self, trial: FrozenTrial, chosen: Mapping[str, Any], run_id: str | None
    ) -> RunningTrial:
        job = self.job
        confirming = job.confirmation is not None
        one_objective = len(job.settings.directions) == 1
        return RunningTrial(
            self.store,
            trial,
            build_pruner(job.settings) if one_objective and not confirming else None,
            number=chosen["trial"] if confirming else trial.number,
            params=job.space.decoded(chosen),
            mlflow_run_id=run_id,
            confirming=confirming,
        )

    @contextmanager
    def _child_run(
        self, trial: FrozenTrial, chosen: Mapping[str, Any], overrides: Sequence[str]
    ) -> Iterator[Any]:
        """The trial's MLflow run, or None without tracking."""
        if self.job.tracking is None:
            yield None
            return
        from optuna_joblib_sweeper._mlflow import ChildRun

        with ChildRun.opened(self.job, self.store, trial, chosen) as child:
            yield child

    def _attempt(
        self, trial: FrozenTrial, running: RunningTrial, overrides: Sequence[str]
    ) -> Outcome:
        set_current(running)
        try:
            job_return = self._run_task(trial, overrides)
            state, values, reason = verdict(job_return, running, self.job.settings.directions)
        except (Exception, SystemExit) as error:  # composing failed, or the task called exit()
            return self._fail(trial, error, overrides)
        finally:
            set_current(None)
        raised = _private.returned(job_return)
        if state == TrialState.FAIL and isinstance(raised, Exception):
            return self._fail(trial, raised, overrides)
        return self._tell(trial, state, values, reason, overrides)

    def _run_task(self, trial: FrozenTrial, overrides: Sequence[str]) -> JobReturn:
        job = self.job
        config = job.composer.compose_job(
            overrides, trial.number, str(job.paths.sweep_dir), job.quiet
        )
        # Here, not once: a library that the first trial loads has its own thread pool.
        with threadpool_limits(limits=job.settings.threads):
            return run_job(
                hydra_context=job.composer.context,
                task_function=job.task_function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )

    def _fail(self, trial: FrozenTrial, error: BaseException, overrides: Sequence[str]) -> Outcome:
        self.store.set_trial(trial, traceback="".join(traceback.format_exception(error)))
        return self._tell(trial, TrialState.FAIL, None, reason_of(error), overrides)

    def _tell(
        self,
        trial: FrozenTrial,
        state: TrialState,
        values: tuple[float, ...] | None,
        reason: str | None,
        overrides: Sequence[str],
    ) -> Outcome:
        if reason is not None:
            self.store.set_trial(trial, reason=reason)
        study = self.store.study(sampler=self.samplers.make(trial.number, "after"))
        study.tell(trial.number, list(values) if values else None, state=state)
        return Outcome(trial.number, state, values, reason, tuple(overrides))
