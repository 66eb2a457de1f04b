"""What `hydra.sweeper` says, checked and typed; knows nothing of how a study runs."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from optuna_joblib_sweeper.errors import SweepError

DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class MlflowSettings:
    """Where and what to track."""

    enabled: bool = False
    tracking_uri: str | None = None
    experiment: str | None = None
    artifact_location: str | None = None
    prepare: str | None = None
    log_params: bool = True
    plots: bool = True


@dataclass(frozen=True)
class ConfirmSettings:
    """How the best trials are trained again."""

    top: int = 0
    seeds: int | tuple[int, ...] = 5
    skip: int = 1
    key: str = "seed"


@dataclass(frozen=True)
class Settings:
    """The sweeper's settings; the plugin's `config.py` says what each means."""

    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    directions: tuple[str, ...]
    study_name: str | None
    storage: str | None
    params: Mapping[str, Any]
    custom_search_space: str | None
    n_trials: int | None
    timeout: float | None
    target: float | None
    patience: int | None
    max_failure_rate: float
    fail_fast: bool
    max_retries: int
    n_jobs: int
    backend: str
    threads: int
    dry_run: bool
    check: str | None
    confirm: ConfirmSettings
    on_complete: str | None
    resume_ignore: tuple[str, ...]
    command: str | None
    mlflow: MlflowSettings

    @property
    def is_grid(self) -> bool:
        """Whether every point of the space is run once."""
        return str(self.sampler.get("_target_", "")).rsplit(".", 1)[-1] == "GridSampler"

    @property
    def seed(self) -> int | None:
        """The sampler's seed."""
        seed = self.sampler.get("seed")
        return None if seed is None else int(seed)


def read_settings(raw: Mapping[str, Any]) -> Settings:
    """Check what Hydra handed over.

    Raises:
        SweepError: a value outside its range; the message names the key.
    """
    values = {key: _plain(value) for key, value in raw.items()}
    values["directions"] = _directions(values.pop("direction", "minimize"))
    values["sampler"] = values.get("sampler") or {"_target_": "optuna.samplers.TPESampler"}
    values["pruner"] = values.get("pruner") or {"_target_": "optuna.pruners.NopPruner"}
    values["params"] = values.get("params") or {}
    for name in ("sampler", "pruner", "params"):
        if not isinstance(values[name], Mapping):
            raise SweepError(f"hydra.sweeper.{name} must be a mapping, got {values[name]!r}")
    seed = values["sampler"].get("seed")
    if seed is not None and not _whole(seed):
        raise SweepError(f"hydra.sweeper.sampler.seed must be 0 or more, or null, got {seed!r}")
    values["resume_ignore"] = tuple(values.get("resume_ignore") or ())
    values["mlflow"] = MlflowSettings(**(values.get("mlflow") or {}))
    values["confirm"] = _confirm(values.get("confirm") or {})
    values["n_jobs"] = _n_jobs(values["n_jobs"], values["backend"])
    names = {field.name for field in fields(Settings)}
    settings = Settings(**{key: value for key, value in values.items() if key in names})
    _check_ranges(settings)
    return settings


def _plain(value: Any) -> Any:
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True)
    return value


def _directions(direction: Any) -> tuple[str, ...]:
    several = direction if isinstance(direction, list | tuple) else [direction]
    # Hydra's own plugin lets an enum stand for the word.
    names = tuple(str(getattr(one, "name", one)).lower() for one in several)
    if not names or set(names) - {"minimize", "maximize"}:
        raise SweepError(
            f"hydra.sweeper.direction must be minimize, maximize or a list of them, "
            f"got {direction!r}"
        )
    return names


def _confirm(raw: Mapping[str, Any]) -> ConfirmSettings:
    top, seeds = raw.get("top", 0), raw.get("seeds", 5)
    if not _whole(top):
        raise SweepError(f"hydra.sweeper.confirm.top must be 0 or more, got {top!r}")
    listed = isinstance(seeds, list) and len(seeds) > 0 and all(map(_whole, seeds))
    if not listed and not (_whole(seeds) and seeds > 0):
        raise SweepError(
            f"hydra.sweeper.confirm.seeds must be above 0, or a list of seeds, got {seeds!r}"
        )
    skip = raw.get("skip", 1)
    if not _whole(skip):
        raise SweepError(f"hydra.sweeper.confirm.skip must be 0 or more, got {skip!r}")
    return ConfirmSettings(
        top=top, seeds=tuple(seeds) if listed else seeds, skip=skip, key=str(raw.get("key", "seed"))
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _n_jobs(n_jobs: int, backend: str) -> int:
    if backend == "sequential":
        return 1
    if n_jobs < 0:
        return max((os.cpu_count() or 1) + 1 + n_jobs, 1)
    return int(n_jobs)


def _check_ranges(settings: Settings) -> None:
    rules = (
        ("n_jobs", settings.n_jobs >= 1, "at least 1, or negative to count back from the cores"),
        ("n_trials", settings.n_trials is None or settings.n_trials >= 1, "at least 1, or null"),
        ("threads", settings.threads >= 1, "at least 1"),
        ("timeout", settings.timeout is None or settings.timeout > 0, "above 0 seconds, or null"),
        ("patience", settings.patience is None or settings.patience >= 1, "at least 1, or null"),
        ("max_retries", settings.max_retries >= 0, "at least 0"),
        ("max_failure_rate", 0 <= settings.max_failure_rate <= 1, "between 0 and 1"),
        ("target", settings.target is None or math.isfinite(settings.target), "finite, or null"),
        (
            "backend",
            settings.backend not in ("threading", "multiprocessing"),
            "one that runs whole processes, such as loky, or sequential",
        ),
    )
    for name, holds, rule in rules:
        if not holds:
            value = getattr(settings, name)
            raise SweepError(f"hydra.sweeper.{name} must be {rule}, got {value}")
    if len(settings.directions) > 1:
        for name in ("target", "patience"):
            if getattr(settings, name) is not None:
                raise SweepError(
                    f"hydra.sweeper.{name} needs one objective, got {len(settings.directions)}; "
                    f"set it to null"
                )
        if settings.confirm.top:
            raise SweepError("hydra.sweeper.confirm needs one objective; set confirm.top=0")


def fixed_part(config: DictConfig, swept: list[str], ignored: tuple[str, ...]) -> str:
    """The config that a study remembers, as YAML: all but Hydra's own, the swept and `ignored`."""
    rest = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.set_struct(rest, False)
    OmegaConf.set_readonly(rest, False)
    for key in (*swept, *ignored):
        _drop(rest, key)
    return OmegaConf.to_yaml(rest, resolve=False, sort_keys=True)


def _drop(config: DictConfig, key: str) -> None:
    """Remove `key` (`a.b` or the group `a/b`, with an optional package after @)."""
    path = key.lstrip("+~").split("@")[-1].replace("/", ".")
    parent_path, _, leaf = path.rpartition(".")
    parent = OmegaConf.select(config, parent_path) if parent_path else config
    if isinstance(parent, DictConfig) and leaf in parent:
        OmegaConf.set_struct(parent, False)
        del parent[leaf]
