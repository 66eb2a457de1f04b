"""The study in its storage: created or resumed, trials taken, lost trials given back.

A lost trial (its worker died, or its driver) goes back to WAITING with number and parameters kept,
so a study interrupted and resumed has the very trials of one that ran straight through.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from optuna_joblib_sweeper._storage import StorageSpec
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.processes import may_be_alive

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Memory:
    """What a study must not change between two starts."""

    space: str
    config: str
    directions: tuple[str, ...]
    grid: bool

    def text(self) -> str:
        """All of it, to be compared line by line."""
        parts = [
            f"direction: {', '.join(self.directions)}",
            f"grid: {str(self.grid).lower()}",
            *(f"space: {line}" for line in self.space.splitlines()),
            *self.config.splitlines(),
        ]
        return "\n".join(parts)


class StudyStore:
    """One study, seen from one process."""

    def __init__(self, spec: StorageSpec, name: str, storage: BaseStorage | None = None) -> None:
        """Connect to a study that exists."""
        self.spec = spec
        self.name = name
        self.storage = storage or spec.open()
        self.study_id = self.storage.get_study_id_from_name(name)

    @classmethod
    def open(cls, spec: StorageSpec, name: str, memory: Memory, folder: Path) -> "StudyStore":
        """Create the study, or resume it if it remembers the same space and config.

        Args:
            folder: where the trials of a new study keep their own folders.

        Raises:
            SweepError: the study was built with something else; the message shows the difference.
        """
        storage = spec.open()
        if name not in {study.study_name for study in storage.get_all_studies()}:
            optuna.create_study(
                study_name=name,
                storage=storage,
                directions=[StudyDirection[name.upper()] for name in memory.directions],
                load_if_exists=True,  # another driver on the same database may be as fast
            )
            store = cls(spec, name, storage)
            store.set_attr("memory", memory.text())
            store.set_attr("folder", str(folder))
            return store
        store = cls(spec, name, storage)
        store._refuse_change(memory)
        return store

    def _refuse_change(self, memory: Memory) -> None:
        before, now = self.attrs().get("memory"), memory.text()
        if before is None:
            raise SweepError(
                f"study {self.name} in {self.spec} was not built by this sweeper; choose another "
                f"hydra.sweeper.study_name"
            )
        if before == now:
            return
        diff = difflib.unified_diff(before.splitlines(), now.splitlines(), lineterm="", n=0)
        changed = [
            f"{line[0]} {line[1:]}" for line in diff if not line.startswith(("---", "+++", "@@"))
        ]
        raise SweepError(
            f"study {self.name} was built with another space or config (- then, + now); undo the "
            f"change, or choose another hydra.sweeper.study_name\n" + "\n".join(changed)
        )

    def attrs(self) -> dict[str, Any]:
        """The study's user attributes."""
        return self.storage.get_study_user_attrs(self.study_id)

    def set_attr(self, key: str, value: Any) -> None:
        """Set a user attribute of the study."""
        self.storage.set_study_user_attr(self.study_id, key, value)

    def trials(self, states: Iterable[TrialState] | None = None) -> list[FrozenTrial]:
        """The trials, not to be changed."""
        return self.storage.get_all_trials(
            self.study_id, deepcopy=False, states=None if states is None else tuple(states)
        )

    def study(self, **parts: Any) -> Study:
        """An Optuna study, fresh: the object caches trials for as long as it lives."""
        return Study(study_name=self.name, storage=self.storage, **parts)

    def take(
        self, number: int | None, budget: int | None, driver: Mapping[str, str]
    ) -> FrozenTrial | None:
        """Take a trial to run: a waiting one, else a new one; None if the budget is used up.

        Args:
            number: take this waiting trial and no other.
            driver: who answers for the trial from now on.
        """
        with self.spec.ask_lock():
            trials = self.trials()
            for trial in trials:
                wanted = trial.number == number if number is not None else True
                if wanted and trial.state == TrialState.WAITING and self._start(trial):
                    self.set_trial_attr(trial, "driver", dict(driver))
                    return self.storage.get_trial(trial._trial_id)
            if number is not None or (budget is not None and len(trials) >= budget):
                return None
            # Born with its owner: a worker killed between two writes would leave nobody's trial.
            owned = create_trial(state=TrialState.RUNNING, user_attrs={"driver": dict(driver)})
            trial_id = self.storage.create_new_trial(self.study_id, template_trial=owned)
            return self.storage.get_trial(trial_id)

    def _start(self, trial: FrozenTrial) -> bool:
        try:
            return self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def set_trial_attr(self, trial: FrozenTrial, key: str, value: Any) -> None:
        """Set a user attribute of a trial that is not finished."""
        self.storage.set_trial_user_attr(trial._trial_id, key, value)

    def running(self, driver: Mapping[str, str] | None = None) -> list[FrozenTrial]:
        """Trials in flight: those of `driver`, or of every driver that is dead."""
        return [
            trial
            for trial in self.trials((TrialState.RUNNING,))
            if (owner := trial.user_attrs.get("driver", {})) == driver
            or (driver is None and not may_be_alive(owner))
        ]

    def suspects(self) -> list[FrozenTrial]:
        """Waiting trials that a worker died with, to be run alone."""
        return [t for t in self.trials((TrialState.WAITING,)) if t.user_attrs.get("suspect")]

    def give_back(self, trial: FrozenTrial, **marks: Any) -> None:
        """Make a lost trial wait again, as its next attempt."""
        marks["attempt"] = int(trial.user_attrs.get("attempt", 0)) + 1
        for key, value in marks.items():
            self.set_trial_attr(trial, key, value)
        self.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def give_up(self, trial: FrozenTrial, reason: str) -> None:
        """Fail a trial for good."""
        self.set_trial_attr(trial, "reason", reason)
        self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
