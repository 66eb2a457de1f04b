"""One trial in a worker process: take → sample → compose → run → tell.

joblib carries only a token; all that matters goes through the study's storage. So each result is
told before the worker's next trial is sampled, and a worker's death loses nothing that was told.
"""

import contextlib
import logging
import math
import os
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, Trial, TrialState
from threadpoolctl import threadpool_limits

from optuna_joblib_sweeper import _set_current
from optuna_joblib_sweeper._compose import Composer
from optuna_joblib_sweeper._config import Settings
from optuna_joblib_sweeper._processes import follow_driver
from optuna_joblib_sweeper._samplers import SamplerFactory, build_pruner
from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper._storage import StorageSpec
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper._tally import stops_early
from optuna_joblib_sweeper._trial import RunningTrial

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackingLink:
    """Where a worker finds the study's MLflow runs."""

    tracking_uri: str
    experiment_id: str
    parent_run_id: str
    log_params: bool


@dataclass(frozen=True)
class Confirmation:
    """Turns a point of a confirmation study into the overrides of the trial that it repeats."""

    sources: Mapping[int, Sequence[str]]
    key: str

    def overrides(self, chosen: Mapping[str, Any]) -> list[str]:
        """The confirmed trial's overrides, then the fresh seed."""
        return [*self.sources[chosen["trial"]], f"{self.key}={chosen['seed']}"]


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs; pickled once and sent with each token."""

    composer: Composer
    task_function: Callable[..., Any]
    singletons: Mapping[Any, Any]
    resolvers: Mapping[str, Callable[..., Any]]
    settings: Settings
    space: Space
    spec: StorageSpec
    study_name: str
    budget: int | None
    custom_search_space: Callable[..., Any] | None
    confirmation: Confirmation | None
    tracking: TrackingLink | None
    sweep_dir: str
    folder: str
    driver: str
    driver_pid: int | None
    quiet: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    number: int
    state: TrialState
    values: tuple[float, ...] | None
    reason: str | None
    overrides: tuple[str, ...]


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
        self.store = StudyStore(job.spec, job.study_name)
        grid = job.space.grid() if job.settings.is_grid else None
        self.samplers = SamplerFactory(job.settings, grid)

    def run(self, number: int | None) -> Outcome | None:
        """Take a trial and see it to its end; None once the study should stop."""
        # Asked here as well: this worker's last result is in the storage, but the driver, which
        # hands out tokens ahead of results, may not have seen it.
        if stops_early(self.job.settings, self.job.budget, self.store.trials()):
            return None
        trial = self.store.take(number, self.job.budget, self.job.driver)
        if trial is None:
            return None
        try:
            chosen, overrides = self._sample(trial)
        except Exception as error:
            self.store.set_trial_attr(trial, "traceback", traceback.format_exc())
            return self._tell(trial, TrialState.FAIL, None, _reason(error), [])
        with self._child_run(trial, chosen, overrides) as child:
            running = self._running(trial, chosen, child.run_id if child else None)
            outcome = self._attempt(trial, running, overrides)
            if child:
                child.close(outcome, running.attempt, self.job.settings.threads)
        return outcome

    def _sample(self, trial: FrozenTrial) -> tuple[dict[str, Any], list[str]]:
        """The suggested values and the overrides; those of an earlier attempt if there are any."""
        known = trial.user_attrs.get("overrides")
        if known is not None:
            return dict(trial.params), list(known)
        job, number = self.job, trial.number
        study = self.store.study(sampler=self.samplers.make(number))
        # QMC counts its points in the storage: counting must not interleave.
        sampler_name = type(study.sampler).__name__
        with job.spec.ask_lock() if sampler_name == "QMCSampler" else nullcontext():
            optuna_trial = Trial(study, trial._trial_id)
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
        expand = job.confirmation or job.space
        overrides = expand.overrides(chosen)
        self.store.set_trial_attr(trial, "overrides", overrides)
        return chosen, overrides

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
            folder=Path(job.folder) / "trials" / job.study_name / str(trial.number),
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

        with ChildRun.opened(self.job, self.store, trial, chosen, overrides) as child:
            yield child

    def _attempt(
        self, trial: FrozenTrial, running: RunningTrial, overrides: Sequence[str]
    ) -> Outcome:
        job = self.job
        _set_current(running)
        try:
            result = self._run_task(trial, overrides)
            state, values, reason = _verdict(result, running, job.settings.directions)
        except (Exception, SystemExit) as error:  # composing failed, or the task called exit()
            self.store.set_trial_attr(trial, "traceback", traceback.format_exc())
            state, values, reason = TrialState.FAIL, None, _reason(error)
        else:
            if state == TrialState.FAIL and isinstance(result._return_value, Exception):
                lines = traceback.format_exception(result._return_value)
                self.store.set_trial_attr(trial, "traceback", "".join(lines))
        finally:
            _set_current(None)
        return self._tell(trial, state, values, reason, overrides)

    def _run_task(self, trial: FrozenTrial, overrides: Sequence[str]) -> JobReturn:
        job = self.job
        config = job.composer.compose_job(overrides, trial.number, job.sweep_dir, job.quiet)
        # Here, not once: a library that the first trial loads has its own thread pool.
        with threadpool_limits(limits=job.settings.threads):
            return run_job(
                hydra_context=job.composer.context,
                task_function=job.task_function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )

    def _tell(
        self,
        trial: FrozenTrial,
        state: TrialState,
        values: tuple[float, ...] | None,
        reason: str | None,
        overrides: Sequence[str],
    ) -> Outcome:
        if reason is not None:
            self.store.set_trial_attr(trial, "reason", reason)
        study = self.store.study(sampler=self.samplers.make(trial.number, "after"))
        study.tell(trial.number, list(values) if values else None, state=state)
        return Outcome(trial.number, state, values, reason, tuple(overrides))


def _verdict(
    result: JobReturn, running: RunningTrial, directions: Sequence[str]
) -> tuple[TrialState, tuple[float, ...] | None, str | None]:
    """State, values and, for a failure, the reason."""
    returned = result._return_value
    if result.status != JobStatus.COMPLETED:
        if isinstance(returned, optuna.TrialPruned):
            return TrialState.PRUNED, None, None
        return TrialState.FAIL, None, _reason(returned)
    if running.pruned:
        return TrialState.PRUNED, None, None
    values, fault = read_values(returned, directions)
    return (TrialState.FAIL if fault else TrialState.COMPLETE), values, fault


def read_values(
    returned: Any, directions: Sequence[str]
) -> tuple[tuple[float, ...] | None, str | None]:
    """The objective values that a task returned, or what is wrong with them.

    An infinity on the bad side counts as a bad value; NaN and a too good infinity are faults.
    """
    wanted = len(directions)
    try:
        values = (float(returned),) if wanted == 1 else tuple(float(value) for value in returned)
    except (TypeError, ValueError):
        what = "one number" if wanted == 1 else f"{wanted} numbers"
        return None, f"the task must return {what}, got {returned!r:.200}"
    if len(values) != wanted:
        return None, f"the task must return {wanted} numbers, got {len(values)}"
    for value, direction in zip(values, directions, strict=True):
        too_good = math.inf if direction == "maximize" else -math.inf
        if math.isnan(value) or value == too_good:
            return None, f"the task must return finite numbers, got {value}"
    return values, None


def _reason(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".strip().rstrip(":")
    return text.splitlines()[0][:500]


def shippable_resolvers() -> dict[str, Callable[..., Any]]:
    """OmegaConf resolvers that the app registered; workers never run the app's main module."""
    import cloudpickle
    from omegaconf.basecontainer import BaseContainer

    found = {}
    for name, resolver in getattr(BaseContainer, "_resolvers", {}).items():
        if name.startswith("oc.") or name in ("now", "hydra", "python_version"):
            continue
        wrapped = _unwrapped(resolver)
        with contextlib.suppress(Exception):
            cloudpickle.dumps(wrapped)
            found[name] = wrapped
    return found


def _unwrapped(resolver: Callable[..., Any]) -> Callable[..., Any]:
    """The function that was registered, out of OmegaConf's wrapper around it."""
    code = getattr(resolver, "__code__", None)
    cells = getattr(resolver, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars if code else (), cells, strict=False):
        if name == "resolver":
            inner: Callable[..., Any] = cell.cell_contents
            return inner
    return resolver
