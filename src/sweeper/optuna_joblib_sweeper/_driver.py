"""A sweep from top to bottom, in the process that the user started."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from hydra.core.singleton import Singleton
from hydra.core.utils import configure_log
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from optuna_joblib_sweeper import _results
from optuna_joblib_sweeper._compose import task_part
from optuna_joblib_sweeper._confirm import confirmation_job, open_store, read_confirmed
from optuna_joblib_sweeper._engine import Engine
from optuna_joblib_sweeper._job import Job, Outcome
from optuna_joblib_sweeper._plan import SweepPlan, make_plan
from optuna_joblib_sweeper._progress import Display
from optuna_joblib_sweeper._record import parent_params
from optuna_joblib_sweeper._resolvers import shippable_resolvers
from optuna_joblib_sweeper._results import Confirmed
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper._tally import Tally
from optuna_joblib_sweeper.errors import Interrupted, SweepError
from optuna_joblib_sweeper.processes import descendants, identity
from optuna_joblib_sweeper.signals import interrupts_wait, signals_interrupt

if TYPE_CHECKING:
    from optuna_joblib_sweeper._mlflow import ParentRun

log = logging.getLogger(__name__)

SHOWN_TRIALS = 5


def run_sweep(
    context: HydraContext,
    task_function: Callable[..., Any],
    config: DictConfig,
    raw_settings: Mapping[str, Any],
    arguments: Sequence[str],
) -> None:
    """Run, or go on with, the study that the config describes.

    Raises:
        SweepError: whatever a user can mend; nothing was created then.
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM; the same command goes on.
    """
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = make_plan(context, config, raw_settings, arguments)
    console = Console(highlight=False)
    console.print(plan.announcement(), markup=False, soft_wrap=True)
    if plan.settings.dry_run:
        return
    try:
        with plan.spec.sole_driver(), signals_interrupt():
            Sweep(plan, task_function, config, console).run()
    except Interrupted as interruption:
        raise SystemExit(interruption.exit_code) from None


class Sweep:
    """One start of one study."""

    def __init__(
        self,
        plan: SweepPlan,
        task_function: Callable[..., Any],
        config: DictConfig,
        console: Console,
    ) -> None:
        """Create or resume the study, and note how this start was configured."""
        self.plan = plan
        self.console = console
        self.keep = descendants()
        plan.spec.mend()
        try:
            plan.sweep_dir.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(config, plan.sweep_dir / "multirun.yaml")
        except OSError as error:
            raise SweepError(f"hydra.sweep.dir={plan.sweep_dir} can't be used: {error}") from None
        self.store = StudyStore.open(plan.spec, plan.study_name, plan.memory, plan.sweep_dir)
        self.parent: ParentRun | None = None
        self.task_function = task_function
        self.tally = Tally(plan.settings, plan.budget, self.store.trials())

    def run(self) -> None:
        """Trials, confirmation, results, and the app's own last word."""
        with self._tracked():
            engine = self._engine(self._job(), self.store, self.tally)
            engine.recover()
            if self.parent is not None:
                self.parent.close_children()
            reason = self._run_trials(engine, self.plan.study_name)
            if reason:
                self.console.print(f"Stopped: {reason}.", markup=False)
            self._finish(engine.job)

    @contextmanager
    def _tracked(self) -> Iterator[None]:
        """Hold the parent run open, and close it with what really happened."""
        try:
            with interrupts_wait():
                self._open_parent()
            yield
        except BaseException as error:
            if self.parent is not None:
                self.parent.close_children()
                status = "KILLED" if isinstance(error, Interrupted) else "FAILED"
                self.parent.close(status, f"{type(error).__name__}: {error}".splitlines()[0])
            raise
        if self.parent is not None:
            self.parent.close("FINISHED")

    def _open_parent(self) -> None:
        plan = self.plan
        if not plan.settings.mlflow.enabled:
            return
        # MLflow takes seconds to import, so only who tracks waits for it.
        from optuna_joblib_sweeper._mlflow import ParentRun

        lines = str(plan.space).splitlines()
        params = parent_params(plan.settings, lines, plan.budget, plan.points)
        self.parent = ParentRun.open(
            plan.settings.mlflow, self.store, plan.hooks.mlflow_prepare, params
        )

    def _job(self) -> Job:
        plan = self.plan
        return Job(
            composer=plan.composer,
            task_function=self.task_function,
            singletons=Singleton.get_state(),
            resolvers=shippable_resolvers(),
            settings=plan.settings,
            space=plan.space,
            spec=plan.spec,
            study_name=plan.study_name,
            budget=plan.budget,
            custom_search_space=plan.hooks.custom_search_space,
            confirmation=None,
            tracking=self.parent.link(plan.settings.mlflow.log_params) if self.parent else None,
            sweep_dir=str(plan.sweep_dir),
            folder=str(self.store.attrs().get("folder", plan.sweep_dir)),
            driver=identity(),
            # Elsewhere the workers belong to a cluster, and outlive a driver by right.
            driver_pid=os.getpid() if plan.settings.backend == "loky" else None,
            quiet=self.console.is_terminal,
        )

    def _engine(self, job: Job, store: StudyStore, tally: Tally) -> Engine:
        return Engine(store, job, tally, self._observe, self.keep)

    def _run_trials(self, engine: Engine, title: str) -> str | None:
        """Run an engine behind a progress bar; after an interruption nothing is left running."""
        job = engine.job
        self.display = Display(title, engine.tally, job.settings.n_jobs, self.console)
        try:
            with self.display.shown():
                return engine.run()
        except SweepError:
            raise  # the trials came to their ends
        except BaseException as error:
            engine.release()
            if not isinstance(error, Interrupted):
                raise
            finished = engine.tally.finished
            self.console.print(
                f"Interrupted: {finished} trials of {title} are finished; the same command goes on."
                if self.plan.settings.study_name
                else f"Interrupted: {finished} trials of {title} are finished; go on with "
                f"hydra.sweeper.study_name={title} hydra.sweeper.storage={job.spec}",
                markup=False,
                soft_wrap=True,
            )
            raise

    def _observe(self, outcome: Outcome) -> None:
        self.display.update(outcome)
        if self.parent is not None and self.display.tally is self.tally:
            self.parent.observe(self.tally)

    def _finish(self, job: Job) -> None:
        plan = self.plan
        failure = self.tally.too_many_failures()
        if failure:
            raise SweepError(failure)
        complete = self.store.trials((TrialState.COMPLETE,))
        if not complete:
            if self.parent is not None:
                self.parent.log_results(None, {}, None, [], plots=False)
            counts = {state.name.lower(): n for state, n in self.tally.counts.items() if n}
            raise SweepError(
                f"study {plan.study_name} has no complete trial: {counts or 'none ran'}; each "
                f"failed trial keeps its reason, see the log in {plan.sweep_dir}"
            )
        several = len(plan.settings.directions) > 1
        study = self.store.study()
        best = _distinct(study.best_trials) if several else self._ranked(complete)
        confirmed = self._confirm(job, best) if plan.settings.confirm.top else None
        if confirmed is not None:
            best = self._crown(best, confirmed)
        self._leave_results(best, several, confirmed)
        self._complete(best, several)

    def _ranked(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        sign = -1 if self.plan.settings.directions[0] == "maximize" else 1
        return sorted(trials, key=lambda trial: (sign * trial.values[0], trial.number))

    def _confirm(self, job: Job, best: Sequence[FrozenTrial]) -> Confirmed:
        candidates = best[: self.plan.settings.confirm.top]
        repeat = confirmation_job(job, candidates, self.plan.confirm_seeds)
        store = open_store(repeat, self.plan.memory)
        tally = Tally(repeat.settings, repeat.budget, store.trials())
        engine = self._engine(repeat, store, tally)
        engine.recover()
        self._run_trials(engine, "confirming")
        return read_confirmed(store)

    def _crown(self, best: list[FrozenTrial], confirmed: Confirmed) -> list[FrozenTrial]:
        """The confirmed trials by their means, then the others; tells how much luck there was."""
        sign = -1 if self.plan.settings.directions[0] == "maximize" else 1
        proven = [trial for trial in best if trial.number in confirmed.values]
        proven.sort(key=lambda trial: sign * confirmed.mean(trial.number))
        if proven:
            winner = proven[0]
            mean, sweep = confirmed.mean(winner.number), winner.values[0]
            seeds = len(confirmed.values[winner.number])
            self.console.print(
                f"Confirmed: trial {winner.number} with {sweep:.6g} in the sweep, "
                f"{mean:.6g} in the mean of {seeds} fresh seeds ({mean - sweep:+.2g}).",
                markup=False,
                soft_wrap=True,
            )
            self.store.set_attr("confirmed", {str(k): list(v) for k, v in confirmed.values.items()})
        return proven + [trial for trial in best if trial not in proven]

    def _leave_results(
        self, best: Sequence[FrozenTrial], several: bool, confirmed: Confirmed | None
    ) -> None:
        plan = self.plan
        found = _results.results(best, plan.space, several, confirmed)
        path = plan.sweep_dir / "optimization_results.yaml"
        OmegaConf.save(OmegaConf.create(found), path)
        shown = best if several else best[:SHOWN_TRIALS]
        _results.print_table(self.console, shown, plan.space, confirmed)
        winner = best[0]
        overlay = _results.write_overlay(
            plan.sweep_dir / "best",
            plan.study_name,
            plan.composer,
            winner,
            plan.settings.command,
        )
        self.console.print(f"Results: {path}", markup=False, soft_wrap=True)
        self.console.print(
            f"Train {'trial ' + str(winner.number) if several else 'the winner'} again: "
            f"{overlay.command}",
            markup=False,
            soft_wrap=True,
        )
        if self.parent is not None:
            config = plan.composer.compose(winner.user_attrs["overrides"])
            self.parent.log_results(
                winner,
                plan.space.decoded(winner.params),
                OmegaConf.to_yaml(task_part(config)),
                [Path(path), overlay.path],
                plan.settings.mlflow.plots,
            )

    def _complete(self, best: Sequence[FrozenTrial], several: bool) -> None:
        """Hand the study to the app, once for each winner: a resume may find nothing new."""
        on_complete = self.plan.hooks.on_complete
        numbers = [trial.number for trial in (best if several else best[:1])]
        if on_complete is None or self.store.attrs().get("completed") == numbers:
            return
        run_id = self.parent.run_id if self.parent is not None else None
        on_complete(self.store.study(), list(best) if several else best[0], run_id)
        self.store.set_attr("completed", numbers)


def _distinct(front: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The front with each point once: a sampler may propose the same one again."""
    points: dict[tuple[Any, ...], FrozenTrial] = {}
    for trial in front:
        points.setdefault((*trial.values, *sorted(map(str, trial.params.items()))), trial)
    return list(points.values())
