"""What tests of an app that is swept need: a trial that keeps what it is told, and waiting.

It refuses to know how a study runs.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna_joblib_sweeper.current import CurrentTrial, set_current


class FakeTrial(CurrentTrial):
    """A trial that keeps what is reported to it, and stops or dies where it is told to.

    Attributes:
        reports: what was reported, by step.
    """

    def __init__(
        self,
        number: int = 0,
        *,
        params: Mapping[str, Any] = {},
        folder: Path | None = None,
        attempt: int = 0,
        mlflow_run_id: str | None = None,
        confirming: bool = False,
        prune_at: int | None = None,
        die_at: int | None = None,
    ) -> None:
        """Make a trial of the study `fake`.

        Args:
            prune_at: from this step on it should stop.
            die_at: a report of this step raises KeyboardInterrupt, as an interruption would.
        """
        self.number = number
        self.params = params
        self.study_name = "fake"
        self.attempt = attempt
        self.mlflow_run_id = mlflow_run_id
        self.confirming = confirming
        self.reports: dict[int, float] = {}
        self._folder = folder
        self._prune_at = prune_at
        self._die_at = die_at

    def __bool__(self) -> bool:
        """True, as inside a sweep."""
        return True

    @property
    def folder(self) -> Path | None:
        """The one given; it is made at the first look."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def report(self, value: float, step: int) -> None:
        """Keep the value.

        Raises:
            KeyboardInterrupt: at the step `die_at`.
        """
        if step == self._die_at:
            raise KeyboardInterrupt
        self.reports[step] = value

    def should_prune(self) -> bool:
        """Whether `prune_at` is reached."""
        return self._prune_at is not None and max(self.reports, default=-1) >= self._prune_at

    @contextmanager
    def running(self) -> Iterator["FakeTrial"]:
        """Be what `current_trial()` returns inside the block."""
        set_current(self)
        try:
            yield self
        finally:
            set_current(None)


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Return once `condition` holds.

    Raises:
        TimeoutError: it did not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition did not hold within {seconds:g} s")
        time.sleep(0.02)
