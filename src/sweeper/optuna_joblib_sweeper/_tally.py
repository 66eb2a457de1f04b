"""The count of a study's finished trials: what is best, and whether to stop."""

import time
from collections.abc import Callable, Sequence

from optuna.trial import FrozenTrial, TrialState

from optuna_joblib_sweeper._record import TrialRecord
from optuna_joblib_sweeper.settings import Settings

Trials = Sequence[FrozenTrial]


class Tally:
    """Counts finished trials over all starts of a study."""

    def __init__(self, settings: Settings, budget: int | None, trials: Trials) -> None:
        """Start from the trials that are finished already."""
        self.settings = settings
        self.budget = budget
        self.counts = dict.fromkeys(TrialState, 0)
        self.best_value: float | None = None
        self.best_number: int | None = None
        self.first_failure: str | None = None
        self._since_best = 0
        self._started = time.monotonic()
        finished = [trial for trial in trials if trial.state.is_finished()]
        for trial in sorted(finished, key=lambda trial: str(trial.datetime_complete)):
            self.add(trial)

    @property
    def finished(self) -> int:
        """All that counts against the budget."""
        return sum(self.counts.values())

    @property
    def left(self) -> int | None:
        """How many trials the budget still has; None: no end."""
        return None if self.budget is None else max(self.budget - self.finished, 0)

    def add(self, trial: FrozenTrial) -> None:
        """Count one finished trial."""
        self.counts[trial.state] += 1
        if trial.state == TrialState.FAIL:
            reason = f"trial {trial.number}: {TrialRecord.of(trial).reason}"
            self.first_failure = self.first_failure or reason
            return
        self._since_best += 1
        one_objective = len(self.settings.directions) == 1
        if trial.state == TrialState.COMPLETE and one_objective and self._is_best(trial.values[0]):
            self.best_value, self.best_number = trial.values[0], trial.number
            self._since_best = 0

    def _is_best(self, value: float) -> bool:
        return self.best_value is None or self._better(value, self.best_value)

    def _better(self, one: float, other: float) -> bool:
        return one > other if self.settings.directions[0] == "maximize" else one < other

    def stop_reason(self) -> str | None:
        """Why no further trial should start, but for the budget."""
        settings = self.settings
        if settings.timeout is not None and time.monotonic() - self._started > settings.timeout:
            return f"timeout of {settings.timeout:g} s"
        best, target = self.best_value, settings.target
        if target is not None and best is not None and not self._better(target, best):
            return f"target {target:g} reached by trial {self.best_number}"
        if settings.patience is not None and self._since_best >= settings.patience:
            return f"no improvement in {self._since_best} trials"
        return None

    def too_many_failures(self) -> str | None:
        """Why the study has failed: more than the allowed fraction of the budget."""
        failed, rate = self.counts[TrialState.FAIL], self.settings.max_failure_rate
        if failed and self.settings.fail_fast:
            return f"fail_fast: {self.first_failure}"
        whole = self.budget or max(self.finished, 10)
        if rate < 1 and failed > rate * whole:
            allowed = f"max_failure_rate={rate:g} of {whole} allows {int(rate * whole)}"
            first = self.first_failure
            return f"{failed} of {self.finished} trials failed, {allowed}; first: {first}"
        return None


def stops_early(settings: Settings, budget: int | None, read: Callable[[], Trials]) -> bool:
    """Whether the finished trials alone, budget and clock apart, say that no more should start."""
    rules = (settings.target, settings.patience, settings.fail_fast or None)
    if settings.max_failure_rate == 1 and all(rule is None for rule in rules):
        return False
    tally = Tally(settings, budget, read())
    return tally.too_many_failures() is not None or tally.stop_reason() is not None
