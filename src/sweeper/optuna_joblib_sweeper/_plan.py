"""Everything that can be refused before a study: read, checked and composed; creates nothing."""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from optuna_joblib_sweeper import _private
from optuna_joblib_sweeper._compose import Composer, check_custom_space, check_space
from optuna_joblib_sweeper._confirm import fresh_seeds
from optuna_joblib_sweeper._fingerprint import Fingerprint, fixed_part
from optuna_joblib_sweeper._pool import check_backend
from optuna_joblib_sweeper._samplers import check_samplers
from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper._space_syntax import read_plan
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.paths import StudyPaths
from optuna_joblib_sweeper.settings import DEFAULT_TRIALS, Settings, class_name, read_settings

log = logging.getLogger(__name__)

Hook = Callable[..., Any]


@dataclass(frozen=True)
class Hooks:
    """The app's own functions that the settings name."""

    custom_search_space: Hook | None
    check: Hook | None
    on_complete: Hook | None
    mlflow_prepare: Hook | None

    @classmethod
    def read(cls, settings: Settings) -> "Hooks":
        """Find them.

        Raises:
            SweepError: there is no such function.
        """
        return cls(
            custom_search_space=_hook("custom_search_space", settings.custom_search_space),
            check=_hook("check", settings.check),
            on_complete=_hook("on_complete", settings.on_complete),
            mlflow_prepare=_hook("mlflow.prepare", settings.mlflow.prepare),
        )


@dataclass(frozen=True)
class SweepPlan:
    """A study that may start."""

    settings: Settings
    space: Space
    composer: Composer
    hooks: Hooks
    paths: StudyPaths
    fingerprint: Fingerprint
    budget: int | None
    points: int | None
    confirm_seeds: tuple[int, ...]

    def announcement(self) -> str:
        """What is about to run, in one line."""
        settings = self.settings
        trials = f"{self.budget} trials" if self.budget is not None else "trials until the timeout"
        if self.points is not None:
            trials += f" of a grid of {self.points} points"
        if settings.confirm.top:
            seeds = len(self.confirm_seeds)
            trials += f", then the best {settings.confirm.top} with {seeds} seeds"
        threads = f"{settings.threads} thread{'s' if settings.threads > 1 else ''}"
        return (
            f"Study {self.paths.study_name}: {trials}; {class_name(settings.sampler)}, "
            f"{class_name(settings.pruner)}, {settings.n_jobs} × {settings.backend}, "
            f"{threads} each; storage {self.paths.storage}"
        )


def make_plan(
    context: HydraContext, config: DictConfig, raw: Mapping[str, Any], arguments: Sequence[str]
) -> SweepPlan:
    """Read settings, space and config.

    Raises:
        SweepError: whatever a user can mend.
    """
    settings = read_settings(raw)
    hooks = Hooks.read(settings)
    _check_packages(settings)
    _warn_of_launcher(config.hydra.overrides.hydra)
    plan = read_plan(settings.params, arguments, context.config_loader, partial(_look_up, config))
    points = len(plan.space.grid()) if settings.is_grid else None
    composer = Composer(context, config, plan.fixed)
    base = _check_space(composer, plan.space, hooks)
    sweep_dir = Path(str(config.hydra.sweep.dir)).absolute()
    name = settings.study_name or _fresh_name(str(config.hydra.job.name))
    return SweepPlan(
        settings=settings,
        space=plan.space,
        composer=composer,
        hooks=hooks,
        paths=StudyPaths.read(name, sweep_dir, settings.storage),
        fingerprint=Fingerprint(
            space=str(plan.space),
            config=fixed_part(base, plan.space.keys, settings.resume_ignore),
            directions=settings.directions,
            grid=settings.is_grid,
        ),
        budget=_budget(settings, points),
        points=points,
        confirm_seeds=fresh_seeds(settings.confirm, base) if settings.confirm.top else (),
    )


def _check_packages(settings: Settings) -> None:
    check_samplers(settings)
    check_backend(settings.backend)
    if settings.mlflow.enabled and find_spec("mlflow") is None:
        raise SweepError(
            "hydra.sweeper.mlflow.enabled=true needs the package mlflow; install "
            "optuna-joblib-sweeper[mlflow], or set it to false"
        )


def _check_space(composer: Composer, space: Space, hooks: Hooks) -> DictConfig:
    if not space.parameters and hooks.custom_search_space is None:
        # Allowed, as in Hydra's own plugin: an app may draw its random numbers itself.
        log.warning(
            "nothing is swept, so all trials are given the same config; sweep something by "
            "hydra.sweeper.params, or by KEY=choice(…) on the command line"
        )
    base = check_space(composer, space, hooks.check)
    if hooks.custom_search_space is not None:
        check_custom_space(composer, space, hooks.custom_search_space, hooks.check)
    return base


_MISSING = object()


def _look_up(config: DictConfig, key: str) -> Any:
    """The option chosen of a group, else the value of a key."""
    if key in config.hydra.runtime.choices:
        return config.hydra.runtime.choices[key]
    found = OmegaConf.select(config, key, default=_MISSING)
    if found is _MISSING:
        raise KeyError(key)
    return found


def _hook(name: str, path: str | None) -> Hook | None:
    if path is None:
        return None
    try:
        found = _private.locate(path)
    except Exception as error:
        first = str(error.__cause__ or error).splitlines()[0]
        raise SweepError(f"hydra.sweeper.{name}={path}: {first}") from None
    if not callable(found):
        raise SweepError(f"hydra.sweeper.{name}={path}: not a function, but {found!r:.80}")
    hook: Hook = found
    return hook


def _warn_of_launcher(hydra_overrides: Sequence[str]) -> None:
    """An app may have a launcher for its other multiruns; one chosen now would be in vain."""
    for override in hydra_overrides:
        if override.startswith("hydra/launcher=") and override != "hydra/launcher=basic":
            log.warning(
                "%s is not used: this sweeper runs its trials itself, see "
                "hydra.sweeper.n_jobs and hydra.sweeper.backend",
                override,
            )


def _fresh_name(job_name: str) -> str:
    return f"{job_name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _budget(settings: Settings, points: int | None) -> int | None:
    if points is not None:
        return points if settings.n_trials is None else min(settings.n_trials, points)
    if settings.n_trials is None and settings.timeout is None:
        return DEFAULT_TRIALS
    return settings.n_trials
