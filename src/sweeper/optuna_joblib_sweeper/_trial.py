"""What a task sees of its trial: reports go to the storage, the pruner's verdict comes back."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from optuna_joblib_sweeper._private import trial_id
from optuna_joblib_sweeper._record import TrialRecord
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper.current import CurrentTrial


class RunningTrial(CurrentTrial):
    """The answer of `current_trial()` inside a trial."""

    def __init__(
        self,
        store: StudyStore,
        trial: FrozenTrial,
        pruner: BasePruner | None,
        *,
        number: int,
        params: Mapping[str, Any],
        mlflow_run_id: str | None,
        confirming: bool,
    ) -> None:
        """Without a `pruner` nothing is reported or pruned."""
        self.number = number
        self.params = params
        self.study_name = store.name
        self.attempt = TrialRecord.of(trial).attempt
        self.mlflow_run_id = mlflow_run_id
        self.confirming = confirming
        self._store = store
        self._id = trial_id(trial)
        self._pruner = pruner
        self._folder = store.paths.trial_folder(trial.number)
        self._reported: set[int] = set()
        self._stopped = False

    def __bool__(self) -> bool:
        """True: a sweep runs this process."""
        return True

    @property
    def folder(self) -> Path:
        """Made at the first look, so that tasks without checkpoints leave no empty folders."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    @property
    def pruned(self) -> bool:
        """Whether the pruner stopped the task, and it reported nothing after that."""
        return self._stopped

    def report(self, value: float, step: int) -> None:
        """Store `value` at `step`; an earlier attempt's value at the same step is replaced."""
        if self._pruner is None:
            return
        self._stopped = False  # the task continued regardless
        self._reported.add(int(step))
        self._store.storage.set_trial_intermediate_value(self._id, int(step), float(value))

    def should_prune(self) -> bool:
        """The pruner's verdict on the last step that this attempt reported."""
        if self._pruner is None or not self._reported:
            return False
        trial = copy.copy(self._store.storage.get_trial(self._id))
        # Steps beyond, from an attempt that came further and died, are not what is judged now.
        last = max(self._reported)
        trial.intermediate_values = {
            step: value for step, value in trial.intermediate_values.items() if step <= last
        }
        study = self._store.study(pruner=self._pruner)
        self._stopped = bool(self._pruner.prune(study, trial))
        return self._stopped
