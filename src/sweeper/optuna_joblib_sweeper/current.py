"""What a task sees of its trial; outside a sweep an object that is false and does nothing.

The standard library alone, because every task imports it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class CurrentTrial:
    """The trial that this process runs; this base is the answer outside a sweep.

    Attributes:
        number: the trial's number in its study; in a confirmation run, that of the trial confirmed.
        params: the swept values, as they arrive in the config.
        study_name: the study.
        attempt: 0 at first, one more each time a death or an interruption made it start again.
        folder: a folder that stays the same over all attempts, for checkpoints; it exists.
        mlflow_run_id: the run that the sweeper opened for this trial, None without tracking.
        confirming: whether this is a confirmation run, in which nothing is pruned.
    """

    number: int | None = None
    params: Mapping[str, Any] = {}
    study_name: str | None = None
    attempt: int = 0
    mlflow_run_id: str | None = None
    confirming: bool = False

    @property
    def folder(self) -> Path | None:
        """None outside a sweep."""
        return None

    def __bool__(self) -> bool:
        """Whether a sweep runs this process."""
        return False

    def report(self, value: float, step: int) -> None:
        """Tell the pruner the value at `step`; nothing outside a sweep or with two objectives."""

    def should_prune(self) -> bool:
        """Whether the trial should stop now: stop, and return as usual.

        A trial that stops after this verdict counts as pruned, whatever it returns. Raising
        `optuna.TrialPruned` means the same.
        """
        return False


_current = CurrentTrial()


def current_trial() -> CurrentTrial:
    """The running trial; outside a sweep an object that is false and does nothing.

    >>> trial = current_trial()
    >>> trial.report(0.5, step=1)
    >>> bool(trial), trial.should_prune()
    (False, False)
    """
    return _current


def set_current(trial: CurrentTrial | None) -> None:
    """Make `trial` the one that this process runs; for the worker, and for tests of tasks."""
    global _current
    _current = CurrentTrial() if trial is None else trial
