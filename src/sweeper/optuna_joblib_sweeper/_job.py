"""What a worker is sent, and what it sends back: plain records, pickled once a study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from optuna_joblib_sweeper._compose import Composer
from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper.paths import StudyPaths
from optuna_joblib_sweeper.settings import Settings


@dataclass(frozen=True)
class TrackingLink:
    """Where a worker finds the study's MLflow runs."""

    tracking_uri: str
    experiment_id: str
    parent_run_id: str


@dataclass(frozen=True)
class Confirmation:
    """Turns a point of a confirmation study into the overrides of the trial that it repeats."""

    sources: Mapping[int, Sequence[str]]
    key: str

    def overrides(self, chosen: Mapping[str, Any]) -> list[str]:
        """The confirmed trial's overrides, then the fresh seed."""
        return [*self.sources[chosen["trial"]], f"{self.key}={chosen['seed']}"]


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs; pickled once and sent with each token."""

    composer: Composer
    task_function: Callable[..., Any]
    singletons: Mapping[Any, Any]
    resolvers: Mapping[str, Callable[..., Any]]
    settings: Settings
    space: Space
    paths: StudyPaths
    budget: int | None
    custom_search_space: Callable[..., Any] | None
    confirmation: Confirmation | None
    tracking: TrackingLink | None
    driver: Mapping[str, str]
    driver_pid: int | None
    quiet: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    number: int
    state: TrialState
    values: tuple[float, ...] | None
    reason: str | None
    overrides: tuple[str, ...]
