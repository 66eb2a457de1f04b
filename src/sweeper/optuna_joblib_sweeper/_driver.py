"""A sweep from top to bottom, in the process that the user started."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import optuna
from hydra.core.singleton import Singleton
from hydra.core.utils import configure_log
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from optuna_joblib_sweeper import _outputs, _private
from optuna_joblib_sweeper._compose import task_part
from optuna_joblib_sweeper._confirm import confirmation_job, confirmed_values, open_store
from optuna_joblib_sweeper._engine import Engine
from optuna_joblib_sweeper._job import Job, Outcome
from optuna_joblib_sweeper._plan import SweepPlan, make_plan
from optuna_joblib_sweeper._progress import Display
from optuna_joblib_sweeper._record import swept_parameter
from optuna_joblib_sweeper._storage import mend, sole_driver
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper._tally import Tally
from optuna_joblib_sweeper.errors import Interrupted, SweepError
from optuna_joblib_sweeper.processes import descendants, identity
from optuna_joblib_sweeper.result import SweepResult, TrialResult
from optuna_joblib_sweeper.settings import class_name
from optuna_joblib_sweeper.signals import interrupts_wait, signals_interrupt

if TYPE_CHECKING:
    from optuna_joblib_sweeper._mlflow import ParentRun


def run_sweep(
    context: HydraContext,
    task_function: Callable[..., Any],
    config: DictConfig,
    raw_settings: Mapping[str, Any],
    arguments: Sequence[str],
) -> None:
    """Run, or resume, the study that the config describes.

    Raises:
        SweepError: whatever a user can mend; nothing was created then.
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM; the same command resumes.
    """
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = make_plan(context, config, raw_settings, arguments)
    console = Console(highlight=False)
    console.print(plan.announcement(), markup=False, soft_wrap=True)
    if plan.settings.dry_run:
        return
    try:
        with sole_driver(plan.paths), signals_interrupt():
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
        """Create or resume the study, and record how this start was configured."""
        self.plan = plan
        self.console = console
        self.keep = descendants()
        mend(plan.paths.journal)
        try:
            plan.paths.sweep_dir.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(config, plan.paths.composed)
        except OSError as error:
            folder = plan.paths.sweep_dir
            raise SweepError(f"hydra.sweep.dir={folder} can't be used: {error}") from None
        self.store = StudyStore.open(plan.paths, plan.fingerprint)
        self._record_start()
        self.parent: ParentRun | None = None
        self.task_function = task_function
        self.tally = Tally(plan.settings, plan.budget, self.store.trials())

    def _record_start(self) -> None:
        settings = self.plan.settings
        parameters = [
            swept_parameter(one.key, one.distribution, one.values)
            for one in self.plan.space.parameters
        ]
        self.store.set_record(
            parameters=[asdict(parameter) for parameter in parameters],
            objectives=list(settings.objectives),
            sampler=class_name(settings.sampler),
            pruner=class_name(settings.pruner),
            seed=settings.seed,
            n_trials=self.plan.budget,
            n_jobs=settings.n_jobs,
        )

    def run(self) -> None:
        """Trials, confirmation, results, and the app's own hook."""
        with self._tracked():
            engine = self._engine(self._job(), self.store, self.tally)
            engine.recover()
            if self.parent is not None:
                self.parent.close_children()
            reason = self._run_trials(engine, self.store.name)
            if reason:
                self._print(f"Stopped: {reason}.")
            self._finish(engine.job)

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)

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
        if plan.settings.mlflow.enabled:
            # MLflow takes seconds to import, so only who tracks waits for it.
            from optuna_joblib_sweeper._mlflow import ParentRun

            prepare = plan.hooks.mlflow_prepare
            self.parent = ParentRun.open(plan.settings, self.store, prepare, plan.points)

    def _job(self) -> Job:
        plan = self.plan
        return Job(
            composer=plan.composer,
            task_function=self.task_function,
            singletons=Singleton.get_state(),
            resolvers=_private.app_resolvers(),
            settings=plan.settings,
            space=plan.space,
            paths=self.store.paths,
            budget=plan.budget,
            custom_search_space=plan.hooks.custom_search_space,
            confirmation=None,
            tracking=self.parent.link if self.parent else None,
            driver=identity(),
            # Elsewhere the workers belong to a cluster, and outlive a driver by right.
            driver_pid=os.getpid() if plan.settings.backend == "loky" else None,
            quiet=self.console.is_terminal,
        )

    def _engine(self, job: Job, store: StudyStore, tally: Tally) -> Engine:
        return Engine(store, job, tally, self._observe, self.keep)

    def _run_trials(self, engine: Engine, title: str) -> str | None:
        """Run an engine behind a progress bar; after an interruption nothing is left running."""
        self.display = Display(title, engine.tally, engine.job.settings.n_jobs, self.console)
        try:
            with self.display.shown():
                return engine.run()
        except SweepError:
            raise  # the trials came to their ends
        except BaseException as error:
            engine.release()
            if isinstance(error, Interrupted):
                self._print_interruption(engine.tally.finished, title)
            raise

    def _print_interruption(self, finished: int, title: str) -> None:
        how = "run the same command to resume"
        if not self.plan.settings.study_name:
            storage = self.store.paths.storage
            how = (
                f"resume with hydra.sweeper.study_name={self.store.name} "
                f"hydra.sweeper.storage={storage}"
            )
        self._print(f"Interrupted: {finished} trials of {title} are finished; {how}.")

    def _observe(self, outcome: Outcome) -> None:
        self.display.update(outcome)
        if self.parent is not None and self.display.tally is self.tally:
            self.parent.observe(self.tally)

    def _finish(self, job: Job) -> None:
        failure = self.tally.too_many_failures()
        if failure:
            raise SweepError(failure)
        result = self.store.result()
        if not result.winners:
            if self.parent is not None:
                self.parent.log_result(result, None, plots=False)
            counts = {state.name.lower(): n for state, n in self.tally.counts.items() if n}
            raise SweepError(
                f"study {self.store.name} has no complete trial: {counts or 'none ran'}; each "
                f"failed trial keeps its reason, see the log in {self.plan.paths.sweep_dir}"
            )
        if self.plan.settings.confirm.top:
            self._confirm(job, result.ranked()[: self.plan.settings.confirm.top])
        winner = self.store.result().winners[0]
        self._write_winner(winner)
        result = self.store.result()
        self._write_results(result)
        if self.parent is not None:
            config = task_part(self.plan.composer.compose(winner.overrides))
            plots = self.plan.settings.mlflow.plots
            self.parent.log_result(result, OmegaConf.to_yaml(config), plots)
        self._complete(result)

    def _confirm(self, job: Job, candidates: Sequence[TrialResult]) -> None:
        """Train the candidates again with fresh seeds, and print how much luck there was."""
        repeat = confirmation_job(job, candidates, self.plan.confirm_seeds)
        store = open_store(repeat, self.plan.fingerprint)
        tally = Tally(repeat.settings, repeat.budget, store.trials())
        engine = self._engine(repeat, store, tally)
        engine.recover()
        self._run_trials(engine, "confirming")
        self.store.set_record(confirmed=confirmed_values(store))
        winner = self.store.result().winners[0]
        mean = winner.confirmed_mean
        if mean is not None:
            value, seeds = winner.values[0], len(winner.confirmed)
            self._print(
                f"Confirmed: trial {winner.number} with {value:.6g} in the sweep, "
                f"{mean:.6g} in the mean of {seeds} fresh seeds ({mean - value:+.2g})."
            )

    def _write_winner(self, winner: TrialResult) -> None:
        paths, plan = self.plan.paths, self.plan
        command, overlay = _outputs.winner_files(
            paths, plan.composer, winner, plan.settings.command
        )
        paths.overlay.parent.mkdir(parents=True, exist_ok=True)
        paths.overlay.write_text(overlay)
        self.store.set_record(winner_command=command, winner_overlay=overlay)

    def _write_results(self, result: SweepResult) -> None:
        paths = self.plan.paths
        OmegaConf.save(OmegaConf.create(_outputs.results(result)), paths.results)
        _outputs.print_table(self.console, result)
        self._print(f"Results: {paths.results}")
        several = len(result.directions) > 1
        who = f"trial {result.winners[0].number}" if several else "the winner"
        self._print(f"Train {who} again: {result.winner_command}")

    def _complete(self, result: SweepResult) -> None:
        """Hand the study to the app, once for each winner: a resume may find nothing new."""
        on_complete = self.plan.hooks.on_complete
        numbers = [trial.number for trial in result.winners]
        if on_complete is not None and self.store.record().completed != numbers:
            on_complete(result)
            self.store.set_record(completed=numbers)
