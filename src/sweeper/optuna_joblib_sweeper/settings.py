"""The settings of `hydra.sweeper`: what each means, its default, its range.

One class is both the node that Hydra composes and what the sweeper works with. Neither Optuna nor
joblib is imported: every Hydra app of the environment loads this module.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from operator import attrgetter
from typing import Any

from omegaconf import MISSING, OmegaConf

from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.secrets import MASK, is_masked, masked

DEFAULT_TRIALS = 20
LONGEST_NAME = 200  # bytes; a file's has 255, and a confirmation's study adds to the name
_ELSEWHERE = {  # keys of other sweepers, and those that stand a level deeper
    "search_space": "params",
    "parametrization": "params",
    "max_trials": "n_trials",
    "budget": "n_trials",
    "num_workers": "n_jobs",
    "seed": "sampler.seed",
    "n_startup_trials": "sampler.n_startup_trials",
    "n_warmup_steps": "pruner.n_warmup_steps",
}


@dataclass
class MlflowSettings:
    """Tracking: one parent run a study, one child run a trial."""

    enabled: bool = False
    tracking_uri: str | None = None  # null: MLFLOW_TRACKING_URI, else ./mlflow.db
    experiment: str | None = None  # null: the study's name
    artifact_location: str | None = None  # of a new experiment; null: MLflow's own choice
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
    storage: Any = None  # null: journal in the sweep dir; path: journal; URL: database

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
    def directions(self) -> tuple[str, ...]:
        """minimize or maximize, one an objective."""
        # Hydra's own plugin lets an enum stand for the word.
        return tuple(str(getattr(one, "name", one)).lower() for one in _listed(self.direction))

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the objectives."""
        if self.objective is None:
            return unnamed(len(self.directions))
        return tuple(map(str, _listed(self.objective)))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def unnamed(count: int) -> tuple[str, ...]:
    """Names of objectives that have none."""
    return ("value",) if count == 1 else tuple(f"value {index}" for index in range(count))


def class_name(config: Mapping[str, Any]) -> str:
    """The class that a sampler's or pruner's config makes, without its module."""
    return str(config.get("_target_", "")).rsplit(".", 1)[-1]


def read_settings(raw: Mapping[str, Any]) -> Settings:
    """Check what Hydra handed over.

    Raises:
        SweepError: a value outside its range; the message names the key.
    """
    given = {key: _plain(value) for key, value in raw.items()}
    _refuse_unknown(given)
    given["sampler"] = given.get("sampler") or {"_target_": "optuna.samplers.TPESampler"}
    given["pruner"] = given.get("pruner") or {"_target_": "optuna.pruners.NopPruner"}
    given["params"] = given.get("params") or {}
    settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), given))
    assert isinstance(settings, Settings)
    settings.n_jobs = _n_jobs(settings.n_jobs, settings.backend)
    for name, holds, rule in _rules(settings):
        if not holds:
            value = attrgetter(name)(settings)
            shown = class_name(value) if name == "pruner" and value.get("_target_") else value
            raise SweepError(f"hydra.sweeper.{name} must be {rule}, got {masked(repr(shown)):.300}")
    return settings


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    """Hydra lets unknown keys pass (`_nodes`), so that each is answered in one line."""
    parts = {"": Settings, "confirm.": ConfirmSettings, "mlflow.": MlflowSettings}
    for part, known in parts.items():
        values = given.get(part.rstrip("."), {}) if part else given
        names = [one.name for one in fields(known)]
        for key in sorted(map(str, values.keys() - set(names))):
            close = [f"{part}{name}" for name in get_close_matches(key, names, n=1)]
            remedy = f"did you mean hydra.sweeper.{close[0]}?" if close else "delete it"
            if key in _ELSEWHERE:
                remedy = f"delete it and use hydra.sweeper.{_ELSEWHERE[key]}"
            raise SweepError(f"hydra.sweeper.{part}{key} is no setting of this sweeper; {remedy}")


def _n_jobs(n_jobs: int, backend: str) -> int:
    if backend == "sequential":
        return 1
    return n_jobs if n_jobs >= 0 else max((os.cpu_count() or 1) + 1 + n_jobs, 1)


def _rules(settings: Settings) -> Iterator[tuple[str, bool, str]]:
    """Each rule: the setting's name, whether its value keeps the rule, the rule in words."""
    s, confirm = settings, settings.confirm
    for name in ("sampler", "pruner", "params"):
        yield name, isinstance(getattr(s, name), Mapping), "a mapping"
    text = s.storage is None or isinstance(s.storage, str)
    yield "storage", text, "a journal's path or a database's URL, as text, or null"
    seed = s.sampler.get("seed")
    yield "sampler", seed is None or _is_whole(seed), "given a seed of 0 or more, or null"
    known = bool(s.directions) and set(s.directions) <= {"minimize", "maximize"}
    yield "direction", known, "minimize, maximize or a list of them"
    yield "objective", len(s.objectives) == len(s.directions), "null, or one name a direction"
    yield "n_trials", s.n_trials is None or s.n_trials >= 1, "at least 1, or null"
    yield "patience", s.patience is None or s.patience >= 1, "at least 1, or null"
    yield "timeout", s.timeout is None or s.timeout > 0, "above 0 seconds, or null"
    yield "target", s.target is None or math.isfinite(s.target), "finite, or null"
    yield "max_failure_rate", 0 <= s.max_failure_rate <= 1, "between 0 and 1"
    yield "n_jobs", s.n_jobs >= 1, "at least 1, or negative to count back from the cores"
    yield "threads", s.threads >= 1, "at least 1"
    yield "max_retries", s.max_retries >= 0, "at least 0"
    processes = s.backend not in ("threading", "multiprocessing")
    yield "backend", processes, "one that runs whole processes, such as loky, or sequential"
    yield "confirm.top", confirm.top >= 0, "0 or more"
    yield "confirm.skip", confirm.skip >= 0, "0 or more"
    yield "confirm.seeds", _are_seeds(confirm.seeds), "above 0, or a list of seeds"
    for name, uri in (("storage", s.storage), ("mlflow.tracking_uri", s.mlflow.tracking_uri)):
        yield name, uri is None or not is_masked(uri), f"given with the password behind {MASK}"
    named = s.study_name is None or _is_name(s.study_name)
    yield "study_name", named, f"null, or a name of 1 to {LONGEST_NAME} bytes without / and \\"
    one = len(s.directions) == 1
    pruned = class_name(s.pruner) not in ("", "NopPruner")
    yield "pruner", one or not pruned, "none where there are several objectives"
    yield "target", s.target is None or one, "null where there are several objectives"
    yield "patience", s.patience is None or one, "null where there are several objectives"
    yield "confirm.top", confirm.top == 0 or one, "0 where there are several objectives"


def _is_name(name: str) -> bool:
    """Whether files and folders of its own may bear it."""
    plain = name.isprintable() and name.strip() == name and not set(name) & set("/\\")
    return plain and name not in ("", ".", "..") and len(name.encode()) <= LONGEST_NAME


def _are_seeds(seeds: Any) -> bool:
    if isinstance(seeds, list):
        return len(seeds) > 0 and all(map(_is_whole, seeds))
    return _is_whole(seeds) and seeds > 0


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
