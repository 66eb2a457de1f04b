"""Optuna's samplers and pruners from their configs, seeded a trial at a time."""

import inspect
import logging
import warnings
import zlib
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from hydra.utils import get_class, instantiate
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler

from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.settings import Settings, class_name

log = logging.getLogger(__name__)

_EXTRA_PACKAGES = {
    "CmaEsSampler": ("cmaes",),
    "GPSampler": ("torch", "scipy"),
    "QMCSampler": ("scipy",),
}


class SamplerFactory:
    """Makes the sampler for each draw.

    One long-lived seeded sampler would repeat its first draws after a resume. A fresh one,
    seeded from the study's seed, the trial's number and the parameter's name, makes each draw a
    function of these and of the finished trials alone.
    """

    def __init__(self, settings: Settings, space: Space) -> None:
        """Keep the config, and the points of a grid."""
        self._config = {key: value for key, value in settings.sampler.items() if key != "_partial_"}
        self._seed = settings.seed
        self._grid = space.grid() if settings.is_grid else None
        self._unseeded: BaseSampler | None = None

    def make(self, number: int, name: str = "") -> BaseSampler:
        """The sampler for parameter `name` of trial `number`; "" for what is drawn jointly."""
        if self._grid is not None:
            # Trial n gets point n: every point once, whoever takes it and however often it dies.
            point = self._grid[number] if number < len(self._grid) else {}
            return PartialFixedSampler(dict(point), RandomSampler(seed=number))
        if self._seed is None:
            self._unseeded = self._unseeded or self._build(None)
            return self._unseeded
        if class_name(self._config) == "QMCSampler":
            return self._build(self._seed)  # it walks one sequence, which another seed would change
        entropy = (self._seed, number, zlib.crc32(name.encode()))
        return self._build(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def _build(self, seed: int | None) -> BaseSampler:
        config = {**self._config, "seed": seed}
        given = {key: value for key, value in config.items() if value is not None}
        made: BaseSampler = _instantiate(given, BaseSampler, "hydra/sweeper/sampler")
        return made


def build_pruner(settings: Settings) -> BasePruner:
    """The pruner of the settings."""
    config = settings.pruner.items()
    given = {key: value for key, value in config if value is not None or key == "wrapped_pruner"}
    made: BasePruner = _instantiate(given, BasePruner, "hydra/sweeper/pruner")
    return made


def check_samplers(settings: Settings) -> None:
    """Make sampler and pruner once.

    Raises:
        SweepError: an unknown class or argument, or a package that is missing, by name.
    """
    name, other = class_name(settings.sampler), "choose another hydra/sweeper/sampler"
    for package in _EXTRA_PACKAGES.get(name, ()):
        if find_spec(package) is None:
            raise SweepError(f"{name} needs the package {package}; install it, or {other}")
    if settings.is_grid and settings.custom_search_space is not None:
        raise SweepError(f"{name} takes no hydra.sweeper.custom_search_space; {other}")
    if len(settings.directions) > 1 and name == "CmaEsSampler":
        raise SweepError(f"{name} takes one objective, got {len(settings.directions)}; use nsgaii")
    if not settings.is_grid:
        SamplerFactory(settings, Space(())).make(0)
    build_pruner(settings)


def _fitting(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` without settings that its class lacks: those of another choice that it replaced.

    A file that chooses a pruner and its settings is overruled by `hydra/sweeper/pruner=none` on
    the command line, but Hydra merges the settings into the new choice.
    """
    known = inspect.signature(get_class(str(config["_target_"]))).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    kept = {k: v for k, v in config.items() if takes_any or k in known or k.startswith("_")}
    for key in config.keys() - kept.keys():
        log.info("%s has no setting %s: left out", config["_target_"], key)
    return kept


def _instantiate(config: Mapping[str, Any], kind: type[Any], group: str) -> Any:
    try:
        with warnings.catch_warnings():
            # Half of Optuna is experimental, and would say so at every trial.
            warnings.simplefilter("ignore", ExperimentalWarning)
            made = instantiate(_fitting(config), _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        raise SweepError(f"{group}: {config.get('_target_')}: {cause}") from error
    if not isinstance(made, kind):
        raise SweepError(f"{group}: {config.get('_target_')} is no {kind.__name__}")
    return made
