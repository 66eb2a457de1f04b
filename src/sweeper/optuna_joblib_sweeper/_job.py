"""What a worker is sent: plain records, pickled once a study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna_joblib_sweeper._compose import Composer
from optuna_joblib_sweeper._fingerprint import Fingerprint
from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper.mlflow_stores import absolute_store
from optuna_joblib_sweeper.paths import StudyPaths, sqlite_file
from optuna_joblib_sweeper.settings import DEFAULT_TRIALS, Settings


@dataclass(frozen=True)
class StudyPlan:
    """A study that may start.

    Attributes:
        points: how many there are, of a grid.
        confirm_seeds: those with which the best trials are trained again.
        confirms: of a study that confirms trials of another one, their overrides by number.
    """

    settings: Settings
    space: Space
    composer: Composer
    paths: StudyPaths
    fingerprint: Fingerprint
    points: int | None
    confirm_seeds: tuple[int, ...]
    custom_search_space: Callable[..., Any] | None
    confirms: Mapping[int, Sequence[str]] | None = None

    def overrides(self, chosen: Mapping[str, Any]) -> list[str]:
        """A trial's part of the command line; a confirmed trial's own, then the fresh seed."""
        if self.confirms is None:
            return self.space.overrides(chosen)
        seed = f"{self.settings.confirm.key}={chosen['seed']}"
        return [*self.confirms[chosen["trial"]], seed]

    @property
    def store(self) -> str | None:
        """The URI of the MLflow store, if the study is tracked."""
        settings = self.settings.mlflow
        return absolute_store(settings.tracking_uri) if settings.enabled else None

    @property
    def folders(self) -> list[Path]:
        """Where the study writes."""
        store = sqlite_file(self.settings.mlflow.tracking_uri or "")
        return [*self.paths.folders, *([store.parent] if store else [])]

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
    run_id: str


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs; pickled once and sent with each token.

    Attributes:
        whole: whether nothing of the app's is left out that its own script would register.
    """

    plan: StudyPlan
    task_function: Callable[..., Any]
    singletons: Mapping[str, Any]
    whole: bool
    tracking: TrackingLink | None
    driver: Mapping[str, str]
    driver_pid: int | None
    quiet: bool
