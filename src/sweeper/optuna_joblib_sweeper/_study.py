"""The study in its storage: created or resumed, trials taken, lost trials given back.

A lost trial (its worker died, or its driver) goes back to WAITING with number and parameters kept,
so a study interrupted and resumed has the very trials of one that ran straight through.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

from optuna import create_study
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from optuna_joblib_sweeper._fingerprint import Fingerprint
from optuna_joblib_sweeper._journal import Journal
from optuna_joblib_sweeper._private import trial_id
from optuna_joblib_sweeper._record import (
    StudyRecord,
    TrialRecord,
    damage_in_a_line,
    sweep_result,
)
from optuna_joblib_sweeper._storage import has_studies, open_storage, read_storage, trial_lock
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.paths import StudyPaths
from optuna_joblib_sweeper.processes import may_be_alive
from optuna_joblib_sweeper.result import SweepResult


class StudyStore:
    """One study, seen from one process."""

    def __init__(self, paths: StudyPaths, storage: BaseStorage | None = None) -> None:
        """Connect to a study that exists."""
        self.storage = storage or open_storage(paths.storage)
        self.name = paths.study_name
        self.study_id = self.storage.get_study_id_from_name(self.name)
        self.paths = paths
        recorded = self.record().folder
        self.paths = paths.rooted(recorded) if recorded else paths

    @classmethod
    def open(cls, paths: StudyPaths, fingerprint: Fingerprint) -> "StudyStore":
        """Create the study, or resume it if it has the same fingerprint.

        Raises:
            SweepError: the study was built with something else; the message shows the difference.
        """
        storage, name = open_storage(paths.storage), paths.study_name
        if name not in {study.study_name for study in storage.get_all_studies()}:
            # Another driver on the same database may be as fast.
            create_study(
                storage=storage, study_name=name, directions=fingerprint.goals, load_if_exists=True
            )
        store = cls(paths, storage)
        if store._is_unfinished(fingerprint):
            # The fingerprint last: with it the study is built.
            store.set_record(folder=paths.recorded_root, fingerprint=asdict(fingerprint))
            store = cls(paths, storage)
        store.refuse_change(fingerprint)
        return store

    @classmethod
    def refuse_start(cls, paths: StudyPaths, fingerprint: Fingerprint) -> None:
        """Refuse what `open` would refuse, and create nothing.

        Raises:
            SweepError: the storage can't be used, or the study was built with something else.
        """
        if not has_studies(paths.storage):
            return
        storage = read_storage(paths.storage)
        if paths.study_name in {study.study_name for study in storage.get_all_studies()}:
            store = cls(paths, storage)
            if not store._is_unfinished(fingerprint):
                store.refuse_change(fingerprint)

    def _is_unfinished(self, fingerprint: Fingerprint) -> bool:
        """Whether a start was killed before it had built the study, and nobody used it since."""
        goals = self.storage.get_study_directions(self.study_id)
        bare = self.record().fingerprint is None and not self.trials()
        return bare and goals == fingerprint.goals

    def refuse_change(self, now: Fingerprint) -> None:
        """Refuse to go on with a study of another fingerprint, or one that is damaged.

        Raises:
            SweepError: the message shows the difference.
        """
        with damage_in_a_line(self.paths.storage, self.name):
            self.result()
            self.abandoned()
            stored = self.record().fingerprint
        other = "choose another hydra.sweeper.study_name"
        if stored is None:
            raise SweepError(
                f"study {self.name} was built by an earlier version, or by another program; {other}"
            )
        difference = Fingerprint(**stored).difference(now)
        if difference:
            built = f"study {self.name} was built with another space or config (- then, + now)"
            raise SweepError(f"{built}; undo the change, or {other}\n{difference}")

    def record(self) -> StudyRecord:
        """What the storage keeps of the study.

        Raises:
            SweepError: it is damaged.
        """
        with damage_in_a_line(self.paths.storage, self.name):
            return StudyRecord.read(self.storage.get_study_user_attrs(self.study_id))

    def set_record(self, **values: Any) -> None:
        """Change fields of the record."""
        for key, value in values.items():
            if getattr(self.record(), key) != value:
                self.storage.set_study_user_attr(self.study_id, key, value)

    def result(self) -> SweepResult:
        """The study as plain values, as `load_study` would read it."""
        return sweep_result(self.study(), self.paths.storage)

    def study(self, **parts: Any) -> Study:
        """An Optuna study, fresh: the object caches trials for as long as it lives."""
        return Study(study_name=self.name, storage=self.storage, **parts)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """All trials, or those in `states`; not to be changed."""
        return self.storage.get_all_trials(self.study_id, deepcopy=False, states=states or None)

    def trial(self, number: int) -> FrozenTrial:
        """The trial as it is now."""
        find = self.storage.get_trial_id_from_study_id_trial_number
        return self.storage.get_trial(find(self.study_id, number))

    def trial_of(self, study: str, number: str) -> FrozenTrial | None:
        """A trial of this or another study in the storage; None if there is none."""
        try:
            study_id = self.storage.get_study_id_from_name(study)
            find = self.storage.get_trial_id_from_study_id_trial_number
            return self.storage.get_trial(find(study_id, int(number)))
        except (KeyError, ValueError):
            return None

    def take(self, number: int | None, budget: int | None, driver: Mapping[str, str]) -> int | None:
        """Take a trial to run: a waiting one, else a new one.

        Args:
            number: take this waiting trial and no other.
            driver: who answers for the trial from now on.

        Returns:
            Its number; None if the budget is used up.
        """
        with trial_lock(self.paths):
            trials = self.trials()
            for trial in [one for one in trials if one.state is TrialState.WAITING]:
                if number in (None, trial.number) and self._start(trial):
                    self.set_trial(trial, driver=dict(driver))
                    return trial.number
            if number is not None or (budget is not None and len(trials) >= budget):
                return None
            # Created with its driver: a worker may be killed between two writes.
            owned = create_trial(state=TrialState.RUNNING, user_attrs={"driver": dict(driver)})
            made = self.storage.create_new_trial(self.study_id, template_trial=owned)
            return self.storage.get_trial(made).number

    def _start(self, trial: FrozenTrial) -> bool:
        try:
            return self.storage.set_trial_state_values(trial_id(trial), TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def report(self, trial: FrozenTrial, step: int, value: float) -> None:
        """Store what a running trial reports."""
        self.storage.set_trial_intermediate_value(trial_id(trial), step, value)

    def set_trial(self, trial: FrozenTrial, **values: Any) -> None:
        """Change fields of the record of a trial that is not finished."""
        for key, value in values.items():
            self.storage.set_trial_user_attr(trial_id(trial), key, value)

    def one_write(self) -> AbstractContextManager[None]:
        """Write what the block changes of a trial at its end, and at once where that is known."""
        return self.storage.one_write() if isinstance(self.storage, Journal) else nullcontext()

    def running(self, driver: Mapping[str, str]) -> list[FrozenTrial]:
        """Trials in flight for which `driver` answers."""
        running = self.trials(TrialState.RUNNING)
        return [trial for trial in running if TrialRecord.of(trial).driver == driver]

    def abandoned(self) -> list[FrozenTrial]:
        """Trials in flight whose driver is dead."""
        running = self.trials(TrialState.RUNNING)
        return [trial for trial in running if not may_be_alive(TrialRecord.of(trial).driver)]

    def suspects(self) -> list[FrozenTrial]:
        """Waiting trials that a worker died with, to be run alone."""
        waiting = self.trials(TrialState.WAITING)
        return [trial for trial in waiting if TrialRecord.of(trial).suspect]

    def give_back(self, trial: FrozenTrial, **changes: Any) -> None:
        """Make a lost trial wait again, as its next attempt."""
        self.set_trial(trial, attempt=TrialRecord.of(trial).attempt + 1, **changes)
        self.storage.set_trial_state_values(trial_id(trial), TrialState.WAITING)

    def give_up(self, trial: FrozenTrial, reason: str) -> None:
        """Fail a trial for good."""
        self.set_trial(trial, reason=reason)
        self.storage.set_trial_state_values(trial_id(trial), TrialState.FAIL)
