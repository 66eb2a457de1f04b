"""What a user sees while a study runs: a bar on a terminal, a line a trial elsewhere."""

import logging

from optuna.trial import FrozenTrial, TrialState
from rich import progress
from rich.console import Console

from optuna_joblib_sweeper._record import TrialRecord
from optuna_joblib_sweeper._tally import Tally
from optuna_joblib_sweeper.secrets import masked

log = logging.getLogger(__name__)


class Display:
    """Shows how the trials of one study end."""

    def __init__(self, title: str, tally: Tally, n_jobs: int, console: Console) -> None:
        """Nothing is shown before `bar` is entered."""
        self.tally = tally
        self.n_jobs = n_jobs
        self.console = console
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[status]}"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self.bar.add_task(title, total=tally.budget, status="")
        self._refresh()

    def update(self, trial: FrozenTrial) -> None:
        """Show one more finished trial."""
        reason = TrialRecord.of(trial).reason
        if not self.console.is_terminal:
            self._log(trial)
        elif reason:
            self.console.print(f"trial {trial.number} failed: {reason}", markup=False)
        self._refresh()

    def _refresh(self) -> None:
        counts, tally = self.tally.counts, self.tally
        running = self.n_jobs if tally.left is None else min(self.n_jobs, tally.left)
        parts = [f"{counts[TrialState.COMPLETE]} done"]
        parts += [f"{counts[TrialState.PRUNED]} pruned"] if counts[TrialState.PRUNED] else []
        parts += [f"[red]{counts[TrialState.FAIL]} failed[/]"] if counts[TrialState.FAIL] else []
        parts += [f"{running} running"]
        if tally.best_value is not None:
            parts += [f"[green]best {tally.best_value:.5g} by {tally.best_number}[/]"]
        self.bar.update(self._task, completed=tally.finished, status=" · ".join(parts))

    def _log(self, trial: FrozenTrial) -> None:
        tally, best, record = self.tally, "", TrialRecord.of(trial)
        count = f"{tally.finished}/{tally.budget}" if tally.budget else f"{tally.finished}"
        if tally.best_value is not None:
            best = f" (best {tally.best_value:.6g} by {tally.best_number})"
        ends = {TrialState.FAIL: f"failed: {record.reason}", TrialState.PRUNED: "pruned"}
        what = ends.get(trial.state) or ", ".join(f"{value:.6g}" for value in trial.values)
        overrides = masked(" ".join(record.overrides))
        log.info("%s trial %d %s: %s%s", count, trial.number, overrides, what, best)
