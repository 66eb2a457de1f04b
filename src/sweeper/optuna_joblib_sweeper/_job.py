"""What a worker is sent: plain records, pickled once a study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna_joblib_sweeper._compose import Composer
from optuna_joblib_sweeper._fingerprint import Fingerprint
from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper.paths import StudyPaths
from optuna_joblib_sweeper.settings import DEFAULT_TRIALS, Settings


@dataclass(frozen=True)
class Confirmation:
    """Turns a point of a confirmation study into the overrides of the trial that it repeats."""

    sources: Mapping[int, Sequence[str]]
    key: str

    def overrides(self, chosen: Mapping[str, Any]) -> list[str]:
        """The confirmed trial's overrides, then the fresh seed."""
        return [*self.sources[chosen["trial"]], f"{self.key}={chosen['seed']}"]


@dataclass(frozen=True)
class StudyPlan:
    """A study that may start.

    Attributes:
        points: how many there are, of a grid.
        confirm_seeds: those with which the best trials are trained again.
        confirmation: of a study that confirms another one.
    """

    settings: Settings
    space: Space
    composer: Composer
    paths: StudyPaths
    fingerprint: Fingerprint
    points: int | None
    confirm_seeds: tuple[int, ...]
    custom_search_space: Callable[..., Any] | None
    confirmation: Confirmation | None = None

    @property
    def budget(self) -> int | None:
        """How many trials finish over all starts; None: as many as time allows."""
        n_trials = self.settings.n_trials
        if self.points is not None:
            return min(self.points, n_trials or self.points)
        return DEFAULT_TRIALS if n_trials is None and self.settings.timeout is None else n_trials


@dataclass(frozen=True)
class TrackingLink:
    """Where a worker finds the study's MLflow runs."""

    tracking_uri: str
    experiment_id: str
    parent_run_id: str


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs; pickled once and sent with each token."""

    plan: StudyPlan
    task_function: Callable[..., Any]
    singletons: Mapping[Any, Any]
    resolvers: Mapping[str, Any]
    tracking: TrackingLink | None
    driver: Mapping[str, str]
    driver_pid: int | None
    quiet: bool
