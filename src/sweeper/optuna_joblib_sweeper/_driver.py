"""A sweep from top to bottom, in the process that the user started."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import optuna
from hydra.core.utils import configure_log
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial
from rich.console import Console

from optuna_joblib_sweeper import (
    _confirm,
    _outputs,
    _plan,
    _pool,
    _private,
    _storage,
    _worker,
    processes,
    secrets,
)
from optuna_joblib_sweeper._engine import Engine, sent
from optuna_joblib_sweeper._job import Job, StudyPlan
from optuna_joblib_sweeper._progress import Display
from optuna_joblib_sweeper._record import damage_in_a_line, draw_figures
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper._tally import Tally
from optuna_joblib_sweeper._values import override_text
from optuna_joblib_sweeper.errors import SweepError, halted_in_a_line, is_disk_full
from optuna_joblib_sweeper.result import SweepResult, TrialResult
from optuna_joblib_sweeper.settings import class_name
from optuna_joblib_sweeper.signals import Interrupted, signals_interrupt

if TYPE_CHECKING:
    from optuna_joblib_sweeper._mlflow import ParentRun


def run_sweep(plugin: Any, raw: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Run, or resume, the study that the config describes.

    Args:
        plugin: what Hydra has set up: its `hydra_context`, `config` and `task_function`.
        raw: the settings as Hydra read them.

    Raises:
        SweepError: whatever a user can mend; nothing was created then.
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM; the same command resumes.
    """
    config, context = plugin.config, plugin.hydra_context
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan, hooks = _plan.make_plan(context, config, plugin.task_function, raw, arguments)
    _storage.refuse_unusable(plan.paths)
    sweep = Sweep(plan, hooks, plugin.task_function)
    sweep.print(_plan.announcement(plan))
    if plan.settings.dry_run:
        _storage.refuse_second_driver(plan.paths)
        return StudyStore.refuse_start(plan.paths, plan.fingerprint)
    try:
        with (
            halted_in_a_line(plan.folders, plan.store),
            _storage.sole_driver(plan.paths),
            signals_interrupt(),
        ):
            sweep.open(config)
            sweep.run()
    except Interrupted as interruption:
        raise SystemExit(interruption.exit_code) from None


@dataclass
class Sweep:
    """One start of one study."""

    plan: StudyPlan
    hooks: Mapping[str, _plan.Hook]
    task_function: Callable[..., Any]
    console: Console = field(default_factory=lambda: Console(highlight=False))
    keep: set[Any] = field(default_factory=processes.descendants)
    store: StudyStore = field(init=False)
    parent: "ParentRun | None" = None

    def print(self, line: str) -> None:
        """Print a line as it is, however long, but for passwords."""
        self.console.print(secrets.masked(line), markup=False, soft_wrap=True)

    def open(self, config: DictConfig) -> None:
        """Create or resume the study, and record how this start was configured."""
        plan, settings = self.plan, self.plan.settings
        _storage.mend(plan.paths)
        try:
            plan.paths.sweep_dir.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(secrets.masked_copy(config), plan.paths.composed)
        except OSError as error:
            if is_disk_full(error):
                raise
            folder = plan.paths.sweep_dir
            raise SweepError(f"hydra.sweep.dir={folder} can't be used: {error}") from None
        self.store = StudyStore.open(plan.paths, plan.fingerprint)
        self.plan = replace(plan, paths=self.store.paths)
        self.store.set_record(
            parameters=[asdict(parameter.swept()) for parameter in plan.space.parameters],
            objectives=list(settings.objectives),
            sampler=class_name(settings.sampler),
            pruner=class_name(settings.pruner),
            seed=settings.sampler.get("seed"),
            n_trials=plan.budget,
            n_jobs=settings.n_jobs,
        )

    def run(self) -> None:
        """Trials, confirmation, results, and the app's own hook."""
        with ExitStack() as stack:
            with self._workers_started():
                self.parent = stack.enter_context(self._tracked())
            reason = self._run_trials(self.plan, self.store, self.store.name)
            if reason:
                self.print(f"Stopped: {reason}.")
            result = self.store.result()
            if not result.winners:
                self._refuse_empty(result)
            if self.plan.settings.confirm.top:
                self._confirm(result.ranked()[: self.plan.settings.confirm.top])
            with self._figures_drawn():
                self._write(self.store.result().winners[0])
                self._complete(self.store.result())

    @contextmanager
    def _workers_started(self) -> Iterator[None]:
        """MLflow takes seconds to import: so the workers of a tracked study do it meanwhile."""
        settings, budget = self.plan.settings, self.plan.budget
        tally = Tally(settings, budget, self.store.trials())
        if not settings.mlflow.enabled or tally.left == 0:
            yield
            return
        prepare = partial(_worker.prepare, *sent(self._job(self.plan)))
        try:
            with _pool.started(prepare, settings.n_jobs, settings):
                yield
        except BaseException:
            processes.kill_descendants(self.keep)
            raise

    def _tracked(self) -> "AbstractContextManager[ParentRun | None]":
        """The study's MLflow run, or None without tracking."""
        if not self.plan.settings.mlflow.enabled:
            return nullcontext()
        # MLflow takes seconds to import, so only who tracks waits for it.
        from optuna_joblib_sweeper._mlflow import ParentRun

        return ParentRun.opened(self.plan, self.store)

    def _job(self, plan: StudyPlan) -> Job:
        state, whole = _private.singletons()
        return Job(
            plan=plan,
            task_function=self.task_function,
            singletons=state,
            whole=whole,
            tracking=self.parent.link if self.parent else None,
            driver=processes.identity(),
            # Elsewhere the workers belong to a cluster, and outlive a driver by right.
            driver_pid=os.getpid() if plan.settings.backend == "loky" else None,
            quiet=self.console.is_terminal,
        )

    def _run_trials(self, plan: StudyPlan, store: StudyStore, title: str) -> str | None:
        """Run a study behind a progress bar; after an interruption nothing is left running.

        Returns:
            Why it stopped before the end of the budget, if it did.
        """
        engine = Engine(store, self._job(plan), self.keep)
        display = Display(title, engine.tally, plan.settings.n_jobs, self.console)

        def observe(trial: FrozenTrial) -> None:
            display.update(trial)
            if self.parent is not None and store is self.store:
                self.parent.observe(engine.tally)

        engine.observe = observe
        try:
            with display.bar:
                engine.recover()
                if self.parent is not None and self.parent.resumed and store is self.store:
                    self.parent.close_children()
                return engine.run()
        except BaseException as error:
            engine.release()
            if isinstance(error, Interrupted):
                self._print_interruption(engine.tally.finished, title)
            raise

    def _print_interruption(self, finished: int, title: str) -> None:
        how = "run the same command to resume"
        if not self.plan.settings.study_name:
            how = f"resume with {self._named()}"
        self.print(f"Interrupted: {finished} trials of {title} are finished; {how}.")

    def _named(self) -> str:
        """The overrides that make a study without a name of its own the same one again."""
        study, storage = self.store.name, override_text(self.store.paths.storage)
        pair = (f"hydra.sweeper.study_name={study}", f"hydra.sweeper.storage={storage}")
        return shlex.join(pair)

    def _print_failures(self, result: SweepResult) -> None:
        """Failed trials end no study by default, so they are said."""
        failed = result.of("fail")
        if failed:
            limit = f"hydra.sweeper.max_failure_rate={self.plan.settings.max_failure_rate:g}"
            what = f"{len(failed)} of {len(result.trials)} trials failed, which {limit} allows"
            self.print(f"{what}; the first, trial {failed[0].number}: {failed[0].reason}")

    def _refuse_empty(self, result: SweepResult) -> None:
        if self.parent is not None:
            self.parent.log_result(result, None)
        what = f"study {result.name} has no complete trial of {len(result.trials)}"
        failed = result.of("fail")
        if not failed:
            raise SweepError(f"{what}: all were pruned; choose another hydra/sweeper/pruner")
        first = f"the first to fail was trial {failed[0].number}: {failed[0].reason}"
        raise SweepError(f"{what}, {len(failed)} failed; {first}")

    def _confirm(self, candidates: Sequence[TrialResult]) -> None:
        """Train the candidates again with fresh seeds, and print how much luck there was."""
        plan = _confirm.confirmation_plan(self.plan, candidates)
        store = StudyStore.open(plan.paths, plan.fingerprint)
        self._run_trials(plan, store, "confirming")
        with damage_in_a_line(plan.paths.storage, store.name):
            self.store.set_record(confirmed=_confirm.confirmed_values(store))
        winner = self.store.result().winners[0]
        mean, value, seeds = winner.confirmed_mean, winner.values[0], len(winner.confirmed)
        if mean is not None:
            luck = f"{mean:.6g} in the mean of {seeds} fresh seeds ({mean - value:+.2g})"
            self.print(f"Confirmed: trial {winner.number} with {value:.6g} in the sweep, {luck}.")

    def _write(self, winner: TrialResult) -> None:
        """The winner's overlay, the results file, the table, the parent run."""
        plan, settings = self.plan, self.plan.settings
        command, overlay = _outputs.winner_files(plan, winner)
        plan.paths.overlay.parent.mkdir(parents=True, exist_ok=True)
        plan.paths.overlay.write_text(overlay)
        self.store.set_record(winner_command=command, winner_overlay=overlay)
        result = self.store.result()
        OmegaConf.save(OmegaConf.create(_outputs.results(result)), plan.paths.results)
        _outputs.print_table(self.console, result)
        self.print(f"Results: {plan.paths.results}")
        who = f"trial {winner.number}" if len(result.directions) > 1 else "the winner"
        self.print(f"Train {who} again: {command}")
        if not settings.study_name:
            self.print(f"The same command starts a new study; resume this one with {self._named()}")
        self._print_failures(result)
        if self.parent is not None:
            config = secrets.masked_copy(plan.composer.compose_again(winner.overrides)[1])
            self.parent.log_result(result, OmegaConf.to_yaml(config))

    @contextmanager
    def _figures_drawn(self) -> Iterator[None]:
        """A worker draws the figures of the parent run while results are written."""
        settings, paths = self.plan.settings, self.store.paths
        if self.parent is None or not settings.mlflow.plots:
            _private.close_workers()
            yield
            return
        with TemporaryDirectory() as folder:
            draw = partial(draw_figures, paths.storage, self.store.name)
            with _pool.aside(draw, folder, settings.n_jobs, settings):
                yield
            _private.close_workers()  # they end while the run is closed
            self.parent.log_figures(folder)

    def _complete(self, result: SweepResult) -> None:
        """Hand the study to the app, once for each winner: a resume may find nothing new."""
        on_complete = self.hooks["on_complete"]
        if self.parent is not None:  # the record has it without a password
            result = replace(result, tracking_uri=self.parent.link.tracking_uri)
        numbers = [trial.number for trial in result.winners]
        if on_complete is not None and self.store.record().completed != numbers:
            on_complete(result)
            self.store.set_record(completed=numbers)
