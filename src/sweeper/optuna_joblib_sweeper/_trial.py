"""A trial while its task runs: reports go to the storage, the pruner's verdict comes back.

And at the end: what a task may return.
"""

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from optuna_joblib_sweeper._job import StudyPlan
from optuna_joblib_sweeper._record import TrialRecord
from optuna_joblib_sweeper._samplers import build_pruner
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper.current import CurrentTrial


class RunningTrial(CurrentTrial):
    """The answer of `current_trial()` inside a trial."""

    def __init__(self, plan: StudyPlan, store: StudyStore, trial: FrozenTrial, chosen: Any) -> None:
        """Know the trial by the values `chosen` for it; a confirmation by what it confirms."""
        self.confirming = plan.confirms is not None
        self.number = chosen["trial"] if self.confirming else trial.number
        self.params = plan.space.decoded(chosen)
        self.study_name = store.name
        self.attempt = TrialRecord.of(trial).attempt
        self.stopped = False  # by the pruner, with nothing reported after that
        prunes = len(plan.settings.directions) == 1 and not self.confirming
        self._pruner = build_pruner(plan.settings) if prunes else None
        self._store = store
        self._trial = trial
        self._reported: set[int] = set()

    def __bool__(self) -> bool:
        """True: a sweep runs this process."""
        return True

    @property
    def folder(self) -> Path:
        """Made at the first look, so that tasks without checkpoints make no empty folders."""
        folder = self._store.paths.trial_folder(self._trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def report(self, value: float, step: int) -> None:
        """Store `value` at `step`; an earlier attempt's value at the same step is replaced."""
        if self._pruner is not None:
            self.stopped = False  # the task continued regardless
            self._reported.add(int(step))
            self._store.report(self._trial, int(step), float(value))

    def should_prune(self) -> bool:
        """The pruner's verdict on the last step that this attempt reported."""
        if self._pruner is None or not self._reported:
            return False
        trial = copy.copy(self._store.trial(self._trial.number))
        # Steps beyond, from an attempt that came further and died, are not what is judged now.
        reports, last = trial.intermediate_values.items(), max(self._reported)
        trial.intermediate_values = {step: value for step, value in reports if step <= last}
        self.stopped = bool(self._pruner.prune(self._store.study(pruner=self._pruner), trial))
        return self.stopped


def read_values(returned: Any, directions: Sequence[str]) -> tuple[Any, str | None]:
    """The objective values that a task returned, as a tuple, or what is wrong with them.

    NaN and infinities are faults: no sampler learns from them, and no store keeps them.
    """
    count = len(directions)
    numbers = "one number" if count == 1 else f"{count} numbers"
    try:
        values = (float(returned),) if count == 1 else tuple(map(float, returned))
    except Exception:  # whatever the conversion of the task's own object raises
        return None, f"the task must return {numbers}, got {returned!r:.200}"
    if len(values) != count:
        return None, f"the task must return {numbers}, got {len(values)}"
    unusable = [value for value in values if not math.isfinite(value)]
    if unusable:
        return None, f"the task must return finite numbers, got {unusable[0]}"
    return values, None
