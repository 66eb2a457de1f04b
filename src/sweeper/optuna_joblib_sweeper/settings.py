"""The settings of `hydra.sweeper`: what each means, its default, its range.

One class is both the node that Hydra composes and what the sweeper works with. Neither Optuna nor
joblib is imported: every Hydra app of the environment loads this module.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, OmegaConf

from optuna_joblib_sweeper.errors import SweepError

DEFAULT_TRIALS = 20
DIRECTIONS = ("minimize", "maximize")


@dataclass
class MlflowSettings:
    """Tracking: one parent run a study, one child run a trial."""

    enabled: bool = False
    tracking_uri: str | None = None  # null: MLFLOW_TRACKING_URI, else ./mlflow.db
    experiment: str | None = None  # null: the study's name
    artifact_location: str | None = None  # of a new experiment; null: MLflow's own choice
    prepare: str | None = None  # function(tracking_uri) that makes the store, called first
    log_params: bool = True  # the swept values as params of the child run
    plots: bool = True  # figures of the study as PNG on the parent run


@dataclass
class ConfirmSettings:
    """After the study, train the best few again with fresh seeds; the best mean wins."""

    top: int = 0  # how many trials; 0: no confirmation
    seeds: Any = 5  # a count, or the list of seeds
    skip: int = 1  # how many seeds a trial used, from the config's on: a count starts after them
    key: str = "seed"  # the config key that holds the seed


@dataclass
class Settings:
    """Every setting of the sweeper, with its default."""

    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}, {"pruner": "none"}])
    _target_: str = "hydra_plugins.optuna_joblib_sweeper.sweeper.OptunaJoblibSweeper"
    _recursive_: bool = False  # samplers are made in the workers, one a trial

    sampler: Any = MISSING  # missing, not null: a null would wipe out what the defaults chose
    pruner: Any = MISSING
    direction: Any = "minimize"  # minimize, maximize, or a list of them: several objectives
    objective: Any = None  # names of what the task returns, for tables and figures

    study_name: str | None = None  # null: a fresh study; a name: resume that one if it exists
    storage: str | None = None  # null: journal in the sweep dir; path: journal; URL: database

    params: Any = None  # the space: Hydra's sweep syntax, a list, or {low, high, log, step, when}
    custom_search_space: str | None = None  # function(config, trial) that suggests more

    n_trials: int | None = None  # finished trials over all starts; null: 20, or the whole grid
    timeout: float | None = None  # seconds, after which no trial starts
    target: float | None = None  # stop once a value is as good
    patience: int | None = None  # stop after so many trials without improvement
    max_failure_rate: float = 1.0  # stop once more than this fraction of the budget failed
    fail_fast: bool = False  # stop at the first failed trial
    max_retries: int = 2  # how often a trial that kills its worker is tried again

    n_jobs: int = 2  # workers; negative counts back from the cores
    backend: str = "loky"  # any of joblib's that runs processes; sequential for a debugger
    threads: int = 1  # BLAS and OpenMP threads of each worker

    dry_run: bool = False  # print what would run, and stop
    check: str | None = None  # function(config) that refuses a bad config before the study
    confirm: ConfirmSettings = field(default_factory=ConfirmSettings)
    on_complete: str | None = None  # function(result: SweepResult), once for each winner
    resume_ignore: list[str] = field(default_factory=list)  # config keys that may change
    command: str | None = None  # how the user calls the app; null: as it was called
    mlflow: MlflowSettings = field(default_factory=MlflowSettings)

    @property
    def is_grid(self) -> bool:
        """Whether every point of the space is run once."""
        return class_name(self.sampler) == "GridSampler"

    @property
    def seed(self) -> int | None:
        """The sampler's seed."""
        seed = self.sampler.get("seed")
        return None if seed is None else int(seed)

    @property
    def directions(self) -> tuple[str, ...]:
        """minimize or maximize, one an objective."""
        several = self.direction if isinstance(self.direction, list | tuple) else [self.direction]
        # Hydra's own plugin lets an enum stand for the word.
        return tuple(str(getattr(one, "name", one)).lower() for one in several)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the objectives."""
        given, count = self.objective, len(self.directions)
        if given is None:
            return ("value",) if count == 1 else tuple(f"value {index}" for index in range(count))
        return tuple(map(str, given if isinstance(given, list | tuple) else [given]))


def class_name(config: Mapping[str, Any]) -> str:
    """The class that a sampler's or pruner's config makes, without its module."""
    return str(config.get("_target_", "")).rsplit(".", 1)[-1]


def read_settings(raw: Mapping[str, Any]) -> Settings:
    """Check what Hydra handed over.

    Raises:
        SweepError: a value outside its range; the message names the key.
    """
    given = {key: _plain(value) for key, value in raw.items()}
    given["sampler"] = given.get("sampler") or {"_target_": "optuna.samplers.TPESampler"}
    given["pruner"] = given.get("pruner") or {"_target_": "optuna.pruners.NopPruner"}
    given["params"] = given.get("params") or {}
    merged = OmegaConf.merge(OmegaConf.structured(Settings), given)
    settings = OmegaConf.to_object(merged)
    assert isinstance(settings, Settings)
    settings.n_jobs = _n_jobs(settings.n_jobs, settings.backend)
    for name, value, holds, rule in _rules(settings):
        if not holds:
            raise SweepError(f"hydra.sweeper.{name} must be {rule}, got {value!r}")
    if len(settings.directions) > 1:
        _refuse_several(settings)
    return settings


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _n_jobs(n_jobs: int, backend: str) -> int:
    if backend == "sequential":
        return 1
    return n_jobs if n_jobs >= 0 else max((os.cpu_count() or 1) + 1 + n_jobs, 1)


def _rules(settings: Settings) -> Iterator[tuple[str, Any, bool, str]]:
    """Each rule: the setting's name, its value, whether it keeps the rule, the rule in words."""
    for name in ("sampler", "pruner", "params"):
        value = getattr(settings, name)
        yield name, value, isinstance(value, Mapping), "a mapping"
    seed, known = settings.sampler.get("seed"), set(settings.directions) <= set(DIRECTIONS)
    yield "sampler.seed", seed, seed is None or _is_whole(seed), "0 or more, or null"
    count, direction = len(settings.directions), settings.direction
    yield "direction", direction, known and count > 0, "minimize, maximize or a list of them"
    names = "one name a direction, or null"
    yield "objective", settings.objective, len(settings.objectives) == count, names
    for name in ("n_trials", "patience"):
        value = getattr(settings, name)
        yield name, value, value is None or value >= 1, "at least 1, or null"
    seconds, target, rate = settings.timeout, settings.target, settings.max_failure_rate
    yield "timeout", seconds, seconds is None or seconds > 0, "above 0 seconds, or null"
    yield "target", target, target is None or math.isfinite(target), "finite, or null"
    yield "max_failure_rate", rate, 0 <= rate <= 1, "between 0 and 1"
    jobs = "at least 1, or negative to count back from the cores"
    yield "n_jobs", settings.n_jobs, settings.n_jobs >= 1, jobs
    yield "threads", settings.threads, settings.threads >= 1, "at least 1"
    yield "max_retries", settings.max_retries, settings.max_retries >= 0, "at least 0"
    processes = "one that runs whole processes, such as loky, or sequential"
    backend = settings.backend
    yield "backend", backend, backend not in ("threading", "multiprocessing"), processes
    confirm = settings.confirm
    for name in ("top", "skip"):
        value = getattr(confirm, name)
        yield f"confirm.{name}", value, value >= 0, "0 or more"
    seeds = "above 0, or a list of seeds"
    yield "confirm.seeds", confirm.seeds, _are_seeds(confirm.seeds), seeds


def _are_seeds(seeds: Any) -> bool:
    if isinstance(seeds, list):
        return len(seeds) > 0 and all(map(_is_whole, seeds))
    return _is_whole(seeds) and seeds > 0


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _refuse_several(settings: Settings) -> None:
    for name in ("target", "patience"):
        if getattr(settings, name) is not None:
            count = len(settings.directions)
            raise SweepError(
                f"hydra.sweeper.{name} needs one objective, got {count}; set it to null"
            )
    if settings.confirm.top:
        raise SweepError("hydra.sweeper.confirm needs one objective; set confirm.top=0")
