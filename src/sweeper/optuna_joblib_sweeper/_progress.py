"""What a user sees while a study runs: a bar on a terminal, a line a trial elsewhere."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.trial import TrialState
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from optuna_joblib_sweeper._job import Outcome
from optuna_joblib_sweeper._tally import Tally

log = logging.getLogger(__name__)


class Display:
    """Shows the outcomes of one study."""

    def __init__(self, title: str, tally: Tally, n_jobs: int, console: Console) -> None:
        """Nothing is shown before `shown`."""
        self.tally = tally
        self.n_jobs = n_jobs
        self.console = console
        self._title = title
        self._began = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.fields[whole]}"),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the bar on the screen."""
        whole = self.tally.budget
        with self._progress:
            self._task = self._progress.add_task(
                self._title, total=whole, whole=whole or "∞", status="", left=""
            )
            self._refresh()
            yield

    def update(self, outcome: Outcome) -> None:
        """Show one more finished trial."""
        if self.console.is_terminal:
            if outcome.reason:
                self.console.print(f"trial {outcome.number} failed: {outcome.reason}", markup=False)
        else:
            self._log(outcome)
        self._refresh()

    def _refresh(self) -> None:
        self._progress.update(
            self._task, completed=self.tally.finished, status=self._status(), left=self._left()
        )

    def _status(self) -> str:
        counts, tally = self.tally.counts, self.tally
        running = self.n_jobs if tally.left is None else min(self.n_jobs, tally.left)
        parts = [f"{counts[TrialState.COMPLETE]} done"]
        parts += [f"{counts[TrialState.PRUNED]} pruned"] if counts[TrialState.PRUNED] else []
        parts += [f"[red]{counts[TrialState.FAIL]} failed[/]"] if counts[TrialState.FAIL] else []
        parts += [f"{running} running"]
        if tally.best_value is not None:
            parts += [f"[green]best {tally.best_value:.5g} by {tally.best_number}[/]"]
        return " · ".join(parts)

    def _left(self) -> str:
        new = self.tally.finished - self.tally.earlier
        if not new or not self.tally.left:
            return ""
        seconds = (time.monotonic() - self._began) / new * self.tally.left
        minutes, seconds = divmod(round(seconds), 60)
        return f"{minutes}:{seconds:02d} left"

    def _log(self, outcome: Outcome) -> None:
        of = f"/{self.tally.budget}" if self.tally.budget else ""
        best = self.tally.best_value
        best_text = "" if best is None else f" (best {best:.6g} by {self.tally.best_number})"
        if outcome.state == TrialState.FAIL:
            what = f"failed: {outcome.reason}"
        elif outcome.state == TrialState.PRUNED:
            what = "pruned"
        else:
            what = ", ".join(f"{value:.6g}" for value in outcome.values or ())
        log.info(
            "%d%s trial %d %s: %s%s",
            self.tally.finished,
            of,
            outcome.number,
            " ".join(outcome.overrides),
            what,
            best_text,
        )
