"""Everything that can be refused before a study: read, checked and composed; creates nothing."""

import contextlib
import copy
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from optuna_joblib_sweeper import (
    _confirm,
    _fingerprint,
    _pool,
    _samplers,
    _space_syntax,
    mlflow_stores,
)
from optuna_joblib_sweeper._code import AppCode
from optuna_joblib_sweeper._compose import Composer, SpaceCheck
from optuna_joblib_sweeper._job import StudyPlan
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.paths import StudyPaths
from optuna_joblib_sweeper.settings import Settings, class_name, read_settings

log = logging.getLogger(__name__)

Hook = Callable[..., Any] | None
_HOOKS = ("custom_search_space", "check", "on_complete")
_MISSING = object()


def make_plan(
    context: HydraContext,
    config: DictConfig,
    task_function: Callable[..., Any],
    raw: Mapping[str, Any],
    arguments: Sequence[str],
) -> tuple[StudyPlan, Mapping[str, Hook]]:
    """Read settings, space and config.

    Returns:
        The study, and the app's own functions by the settings that name them.

    Raises:
        SweepError: whatever a user can mend.
    """
    settings = read_settings(raw)
    hooks = _hooks(settings, task_function)
    _check_packages(settings)
    _check_store(settings)
    _warn_of_launcher(config)
    loader, look_up = context.config_loader, partial(_look_up, config)
    read = _space_syntax.read_plan(settings.params, arguments, loader, look_up)
    folder = _study_folder(config)
    space, composer = read.space, Composer(context, config, read.fixed, folder)
    points = len(space.grid()) if settings.is_grid else None
    suggest_more, check = hooks["custom_search_space"], hooks["check"]
    if not space.parameters and suggest_more is None:
        # Allowed, as in Hydra's own plugin: an app may draw its random numbers itself.
        remedy = "sweep something by hydra.sweeper.params, or by KEY=choice(…) as an argument"
        log.warning("nothing is swept, so all trials are given the same config; %s", remedy)
    space_check = SpaceCheck(composer, space, check)
    base = space_check.compose_all()
    if suggest_more is not None:
        space_check.try_custom(suggest_more)
    job = re.sub(r"[^\w.-]+", "-", config.hydra.job.name)[:50]
    fresh = f"{job}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    name = settings.study_name or fresh
    rest = _fingerprint.fixed_part(base, space.keys, settings.resume_ignore)
    directions = ", ".join(settings.directions)
    plan = StudyPlan(
        settings=settings,
        space=space,
        composer=composer,
        paths=StudyPaths.read(name, folder, settings.storage),
        fingerprint=_fingerprint.Fingerprint(str(space), rest, directions, settings.is_grid),
        points=points,
        confirm_seeds=_confirm.fresh_seeds(settings.confirm, base) if settings.confirm.top else (),
        custom_search_space=suggest_more,
    )
    return plan, hooks


def announcement(plan: StudyPlan) -> str:
    """What is about to run, in one line."""
    settings = plan.settings
    trials = f"{plan.budget} trials" if plan.budget is not None else "trials until the timeout"
    if plan.points is not None:
        trials += f" of a grid of {plan.points} points"
    if settings.confirm.top:
        trials += f", then the best {settings.confirm.top} with {len(plan.confirm_seeds)} seeds"
    parts = f"{class_name(settings.sampler)}, {class_name(settings.pruner)}"
    threads = f"{settings.threads} thread{'s' if settings.threads > 1 else ''} each"
    workers = f"{settings.n_jobs} × {settings.backend}, {threads}"
    name, storage = plan.paths.study_name, plan.paths.storage
    return f"Study {name}: {trials}; {parts}, {workers}; storage {storage}"


def _check_packages(settings: Settings) -> None:
    _samplers.check_samplers(settings)
    _pool.check_backend(settings.backend)
    if settings.mlflow.enabled and find_spec("mlflow") is None:
        remedy = "install optuna-joblib-sweeper[mlflow], or set it to false"
        raise SweepError(f"hydra.sweeper.mlflow.enabled=true needs the package mlflow; {remedy}")


def _check_store(settings: Settings) -> None:
    """Find out before the study exists that its store can't be used."""
    uri = mlflow_stores.absolute_store(settings.mlflow.tracking_uri)
    try:
        if settings.mlflow.enabled:
            mlflow_stores.look_at(uri)
    except OSError as error:
        key = "hydra.sweeper.mlflow.tracking_uri"
        raise SweepError(f"{key}={uri} can't be used: {error}") from None


def _look_up(config: DictConfig, key: str) -> Any:
    """The option chosen of a group, else the value of a key."""
    choices = config.hydra.runtime.choices
    found = choices[key] if key in choices else OmegaConf.select(config, key, default=_MISSING)
    if found is _MISSING:
        raise KeyError(key)
    return found


def _hooks(settings: Settings, task_function: Callable[..., Any]) -> dict[str, Hook]:
    """The functions that the settings name, by the setting.

    Raises:
        SweepError: one is not the app's own.
    """
    app, paths = AppCode.of(task_function), {name: getattr(settings, name) for name in _HOOKS}
    # As under `python app.py`, a space may be shaped by a module of the current folder.
    also = {"custom_search_space": Path.cwd()}
    return {
        name: None if path is None else app.function(f"hydra.sweeper.{name}", path, also.get(name))
        for name, path in paths.items()
    }


def _study_folder(config: DictConfig) -> Path:
    """`hydra.sweep.dir`; of one that differs from trial to trial, what all have in common."""
    with contextlib.suppress(OmegaConfBaseException):
        return Path(str(config.hydra.sweep.dir))
    folders = []
    for number in range(2):
        job = copy.deepcopy(config)
        with read_write(job.hydra):
            job.hydra.job.num, job.hydra.job.id = number, str(number)
        folders.append(str(job.hydra.sweep.dir))
        OmegaConf.copy_cache(from_config=job, to_config=config)  # times of day, for example
    return Path(os.path.commonpath(folders))


def _warn_of_launcher(config: DictConfig) -> None:
    """An app may have a launcher for its other multiruns; one chosen now would be in vain."""
    # As they were typed: `hydra.sweep.subdir=${hydra.job.num}` has a value in a trial alone.
    overrides: Any = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    for override in overrides:
        if override.startswith("hydra/launcher=") and override != "hydra/launcher=basic":
            log.warning("%s is not used: see hydra.sweeper.n_jobs and .backend", override)
